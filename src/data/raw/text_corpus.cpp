#include "data/raw/text_corpus.h"

#include <algorithm>

#include "base/error.h"
#include "base/sha256.h"
#include "base/text.h"

namespace ov {
namespace {

// Puts a sample's segments together from pieces that are encoded one by one.
class Builder {
 public:
  explicit Builder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void open(std::int64_t prefix) {
    sample_.segments.push_back({static_cast<std::int64_t>(sample_.ids.size()), 0, prefix});
  }
  void token(std::int64_t id, bool learnt) {
    sample_.ids.push_back(id);
    sample_.labels.push_back(learnt ? id : ignored_label);
    ++sample_.segments.back().length;
  }
  // `skip`: how many of its first tokens are not learnt.
  void text(std::string_view text, bool learnt, std::int64_t skip = 0) {
    for (const std::int64_t id : tokenizer_.encode(text, false)) token(id, learnt && skip-- <= 0);
  }
  Sample take() { return std::move(sample_); }

 private:
  const Tokenizer& tokenizer_;
  Sample sample_;
};

std::int64_t end_of_text(const Tokenizer& tokenizer) {
  const auto id = tokenizer.token_id("<|endoftext|>");
  if (!id) input_error("the tokenizer has no token '<|endoftext|>', which ends a document");
  return *id;
}

Sample document(const std::string& text, const Tokenizer& tokenizer) {
  Builder b(tokenizer);
  b.open(-1);
  b.text(text, true, 1);
  b.token(end_of_text(tokenizer), true);
  return b.take();
}

Sample questions(const TextRecord& r, const Tokenizer& tokenizer, LearnPrefix learn) {
  const ChatTokens chat = ChatTokens::of(tokenizer);
  Builder b(tokenizer);
  b.open(-1);
  b.token(chat.im_start, false);
  b.text(cat("system\n", default_system_prompt), false);
  b.token(chat.im_end, false);
  b.text("\n", false);
  b.token(chat.im_start, false);
  b.text("user\n", false);
  b.text(r.prefix, learn != LearnPrefix::none, learn == LearnPrefix::but_first);
  for (const auto& [question, answer] : r.turns) {
    b.open(0);
    b.text((r.prefix.empty() ? "" : "\n") + question, false);
    b.token(chat.im_end, false);
    b.text("\n", false);
    b.token(chat.im_start, false);
    b.text("assistant\n", false);
    b.text(answer, true);
    b.token(chat.im_end, true);
  }
  return b.take();
}

const std::string& string_of(const Json& json, const char* key, const std::string& where) {
  static const std::string none;
  const Json* value = json.find(key);
  if (!value || value->is_null()) return none;
  if (!value->is_string())
    reject(RejectReason::malformed_record, where, ": \"", key, "\": expected a string, found ",
           kind_name(value->kind()));
  return value->as_string();
}

}  // namespace

TextRecord read_text_record(const Json& json, const std::string& where) {
  if (!json.is_object())
    reject(RejectReason::malformed_record, where, ": expected an object, found ", kind_name(json.kind()));
  TextRecord r{where, string_of(json, "text", where), string_of(json, "prefix", where), {}};
  const Json* turns = json.find("turns");
  if (!turns || turns->is_null()) return r;
  if (!turns->is_array())
    reject(RejectReason::malformed_record, where, ": \"turns\": expected an array, found ", kind_name(turns->kind()));
  for (const Json& turn : turns->items()) {
    const std::string at = cat(where, ": turn ", r.turns.size() + 1);
    if (!turn.is_object() || !turn.find("question") || !turn.find("answer"))
      reject(RejectReason::malformed_record, at, ": expected an object with \"question\" and \"answer\"");
    r.turns.push_back({string_of(turn, "question", at), string_of(turn, "answer", at)});
  }
  return r;
}

Sample text_sample(const TextRecord& r, const Tokenizer& tokenizer, const TextCorpusOptions& options) {
  Sample s;
  if (!options.plain && !r.turns.empty()) {
    for (std::size_t i = 0; i < r.turns.size(); ++i)
      if (blank(r.turns[i].answer)) reject(RejectReason::no_answer, r.where, ": turn ", i + 1, ": the answer is empty");
    s = questions(r, tokenizer, options.learn_prefix);
  } else {
    const std::string& text = r.text.empty() ? r.prefix : r.text;
    if (blank(text)) reject(RejectReason::empty_text, r.where, ": there is no text to learn from");
    s = document(text, tokenizer);
  }
  if (const auto n = static_cast<std::int64_t>(s.ids.size()); n > options.max_tokens)
    reject(RejectReason::over_length, r.where, ": ", n, " tokens, more than train.max_tokens ", options.max_tokens);
  return s;
}

TextCorpus::TextCorpus(TextCorpusOptions options, const Tokenizer& tokenizer)
    : options_(std::move(options)), tokenizer_(tokenizer) {
  ChatTokens::of(tokenizer_), end_of_text(tokenizer_);
  if (options_.files.empty()) input_error("data.text: no file is named");
  for (const std::string& path : options_.files) {
    files_.emplace_back(path);
    first_.push_back(first_.back() + files_.back().size());
  }
  if (size() == 0) input_error(path(), ": holds no record");
}

std::string TextCorpus::fingerprint() const {
  std::string all;
  for (const JsonRecords& file : files_) all += file.fingerprint() + "\n";
  return sha256(all);
}

std::size_t TextCorpus::file_of(std::int64_t index) const {
  if (index < 0 || index >= size()) input_error(path(), ": record ", index, " of ", size());
  return static_cast<std::size_t>(std::upper_bound(first_.begin(), first_.end(), index) - first_.begin()) - 1;
}

TextRecord TextCorpus::read(std::int64_t index) const {
  const std::size_t file = file_of(index);
  const std::int64_t record = index - first_[file];
  return read_text_record(files_[file].read(record), files_[file].where(record));
}

Sample TextCorpus::sample(std::int64_t index) const {
  Sample s = text_sample(read(index), tokenizer_, options_);
  s.source = options_.files[file_of(index)];
  return s;
}

}  // namespace ov
