// The tokenizer: byte-level BPE with Qwen2's pre-tokeniser, and added tokens that are found in the raw text first.
//
//   encode   broken UTF-8 becomes U+FFFD; the text is cut at added tokens (leftmost, longest); every stretch between
//   is
//            brought to NFC, split into words (text/pretokenize.h), and each word is merged (text/bpe.h).
//            Nothing is added in front or behind: no BOS, no EOS, no blank.
//   decode   the bytes of the ids, one after another; what is not valid UTF-8 becomes U+FFFD. An id without a token
//            (the rows that pad an embedding) gives nothing. skip_special leaves out tokens marked special, and only
//            those: <tool_call>, <|fim_prefix|> and the like stay (as Qwen2.5-VL marks its added tokens).
//
// An object is cheap to copy (copies share the tables) and safe to use from many threads at once.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe.h"

namespace ov {

struct AddedToken {
  std::int64_t id = 0;
  std::string text;
  bool special = false;
};

// Qwen2's 22 added tokens in their order, <|endoftext|> = first_id .. <|file_sep|> = first_id + 21; the first 14 are
// special.
std::vector<AddedToken> qwen2_added_tokens(std::int64_t first_id);

class Tokenizer {
 public:
  // What the parts are together; the files below give them. eos and pad are texts of added tokens, or empty.
  struct Parts {
    std::vector<Bpe::Entry> vocabulary;
    std::vector<Merge> merges;
    std::vector<AddedToken> added;
    std::string eos, pad;
    bool normalise = true;  // NFC
  };
  // `where` names the source in errors. Throws input_error on parts that contradict each other.
  Tokenizer(Parts parts, const std::string& where);

  // A Hugging Face directory: tokenizer.json, or vocab.json and merges.txt; with or without tokenizer_config.json,
  // special_tokens_map.json and added_tokens.json. Throws input_error that names file and key.
  static Tokenizer read(const std::string& directory);

  // merges.txt alone: ids are the 256 bytes in byte_order(), then each merge's result in file order where it is new.
  // `added` ids must follow (qwen2_added_tokens(151643) for the real vocabulary).
  static Tokenizer from_merges(const std::string& merges_file, std::vector<AddedToken> added = {});

  // vocab.json, merges.txt, tokenizer.json, tokenizer_config.json, special_tokens_map.json, added_tokens.json and
  // chat_template.jinja into an existing directory, as Transformers reads them. Throws machine_error when a write
  // fails.
  void write(const std::string& directory) const;

  // match_added false: text that looks like an added token is encoded as ordinary text.
  std::vector<std::int64_t> encode(std::string_view text, bool match_added = true) const;
  std::string decode(std::span<const std::int64_t> ids, bool skip_special = true) const;

  // Of an added token's text, else of a symbol's text ("Ġthe").
  std::optional<std::int64_t> token_id(std::string_view text) const;
  std::int64_t vocab_size() const;  // one past the largest id, added tokens included
  const Bpe& bpe() const;
  bool normalises() const;
  const std::vector<AddedToken>& added_tokens() const;  // by id
  std::optional<std::int64_t> eos() const, pad() const;

 private:
  struct Shared;
  std::shared_ptr<const Shared> shared_;
};

}  // namespace ov
