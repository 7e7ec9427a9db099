#include "data/learn_tokenizer.h"

#include <set>

#include "base/error.h"
#include "base/io/file.h"
#include "store/jsonl.h"
#include "text/bpe_train.h"
#include "text/chat.h"
#include "text/conversation.h"

namespace ov {
namespace {

constexpr std::int64_t bytes = 256;

class Counter {
 public:
  explicit Counter(const std::vector<std::string>& added) : added_(added) {}

  void file(const std::string& path) {
    if (path.ends_with(".jsonl")) {
      JsonlReader reader(path);
      for (Json line; reader.next(&line);) record(line);
    } else if (path.ends_with(".json")) {
      const Json json = Json::read(path);
      if (json.is_array())
        for (const Json& r : json.items()) record(r);
      else record(json);
    } else {
      trainer_.add(MappedFile::open(path)->text());
    }
  }
  const BpeTrainer& trainer() const { return trainer_; }

 private:
  void record(const Json& json) {
    turns_ = 0;
    walk(json);
    if (turns_ > 0) trainer_.add(cat("system\n", default_system_prompt));
  }

  void walk(const Json& json) {
    if (json.is_array())
      for (const Json& item : json.items()) walk(item);
    if (!json.is_object()) return;
    for (const auto& [key, value] : json.members()) {
      if (value.is_string()) member(key, value.as_string());
      else walk(value);
    }
  }

  void member(const std::string& key, const std::string& text) {
    if (key == "from" || key == "role") return role(text == "human" ? "user" : text == "gpt" ? "assistant" : text);
    if (key != "text" && key != "prefix" && key != "question" && key != "answer" && key != "value" && key != "content")
      return;
    std::string plain = text;
    const std::string tag = image_tag;
    for (std::size_t at; (at = plain.find(tag)) != plain.npos;) plain.erase(at, tag.size());
    add_between_tokens(plain);
    if (key == "question") role("user");
    if (key == "answer") role("assistant");
  }

  // What stands between added tokens is encoded by itself.
  void add_between_tokens(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
      std::size_t end = text.size(), next = end;
      for (const std::string& token : added_)
        if (const std::size_t found = text.find(token, at); found < end) end = found, next = found + token.size();
      trainer_.add(text.substr(at, end - at));
      at = next;
    }
  }

  void role(const std::string& name) {
    trainer_.add(name);
    ++turns_;
  }

  const std::vector<std::string>& added_;
  BpeTrainer trainer_;
  std::int64_t turns_ = 0;  // of this record
};

}  // namespace

Tokenizer learn_tokenizer(const LearnTokenizerOptions& options) {
  if (options.vocabulary < bytes)
    input_error("bpe.vocabulary: expected at least ", bytes, ", the bytes, found ", options.vocabulary);
  if (options.files.empty()) input_error("data.text: no file is named");
  for (const std::string& token : options.added)
    if (token.empty()) input_error("bpe.added: an added token is empty");
  Counter counter(options.added);
  for (const std::string& path : options.files) counter.file(path);
  if (counter.trainer().words() == 0) input_error(options.files.front(), ": there is no text to learn from");

  Tokenizer::Parts parts;
  std::set<std::string> known;
  const auto add = [&](const std::string& symbol) {
    if (known.insert(symbol).second) parts.vocabulary.emplace_back(symbol, parts.vocabulary.size());
  };
  for (const unsigned char b : byte_order()) {
    const char byte = static_cast<char>(b);
    add(symbol_text({&byte, 1}));
  }
  parts.merges = counter.trainer().train(options.vocabulary - bytes, options.min_count);
  for (const Merge& m : parts.merges) add(m.left + m.right);
  parts.added = qwen2_added_tokens(static_cast<std::int64_t>(parts.vocabulary.size()));
  for (const std::string& token : options.added)
    parts.added.push_back({parts.added.back().id + 1, token, /*special=*/false});
  parts.eos = "<|im_end|>";
  parts.pad = "<|endoftext|>";
  return {std::move(parts), "the learnt tokenizer"};
}

}  // namespace ov
