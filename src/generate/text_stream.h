// An answer as it is written: tokens go in, text comes out as soon as it is certain.
//
// Held back are the bytes of a character that is not complete, and what may yet become a stop string, also where its
// letters come in several tokens. All pieces together are what Tokenizer::decode makes of the tokens, up to the first
// stop string, which is not part of it.
#pragma once
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace ov {

// What a token decodes to; a special one to "" if asked so, an id without a token to "". Not always whole characters.
std::string token_bytes(const Tokenizer& tokenizer, std::int64_t id, bool skip_special = true);

class TextStream {
 public:
  // `stop`: none of them empty.
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stop)
      : tokenizer_(tokenizer), stop_(std::move(stop)) {}
  std::string add(std::int64_t id);  // text that is certain now; "" once stopped
  std::string finish();              // what was held back, when no token follows
  bool stopped() const { return stopped_; }

 private:
  std::size_t certain() const;                     // bytes of held_
  std::string take(std::size_t bytes, bool last);  // of begun_
  Tokenizer tokenizer_;
  std::vector<std::string> stop_;
  std::string begun_, held_;  // bytes of a character that is not complete; text, as decode has it
  bool stopped_ = false;
};

}  // namespace ov
