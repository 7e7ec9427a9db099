// The two steps that may ask an endpoint, over all records of a batch at once: questions in other words, and records
// in the other language (data_curation's "instruction rewriting" and "bilingual conversion").
//
// Which records: drawn by id. How a record is translated: by the phrase bank where that holds every text of it, else by
// the endpoint, if there is one, else not. The record says what was done:
//
//   lang                 the language that it is in now
//   meta.rewritten       the model that put the question in other words
//   meta.translated      "phrases", or the model; meta.translated_from: the language before
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "instruct/phrases.h"
#include "instruct/templates.h"
#include "instruct/writer.h"

namespace ov::instruct {

struct BilingualOptions {
  std::array<double, languages.size()> share{};  // of the records that are in the other language, to become this one
  bool phrases = true, endpoint = true;          // by what
};

// One record of a batch, and what a step says of it.
struct Visit {
  Record* record;
  Notes notes;
};

class Rewording {
 public:
  // `writer` may be null.
  Rewording(std::shared_ptr<const TemplateBank> bank, std::shared_ptr<const PhraseBank> phrases,
            std::shared_ptr<Writer> writer, double share, const BilingualOptions& bilingual, std::uint64_t seed)
      : bank_(std::move(bank)),
        phrases_(std::move(phrases)),
        writer_(std::move(writer)),
        share_(share),
        bilingual_(bilingual),
        seed_(seed) {}

  void rewrite(std::vector<Visit>& batch) const;
  void translate(std::vector<Visit>& batch) const;
  const Writer* writer() const { return writer_.get(); }

 private:
  bool draws(const char* purpose, const Record& r, double share) const;

  std::shared_ptr<const TemplateBank> bank_;
  std::shared_ptr<const PhraseBank> phrases_;
  std::shared_ptr<Writer> writer_;
  double share_;
  BilingualOptions bilingual_;
  std::uint64_t seed_;
};

}  // namespace ov::instruct
