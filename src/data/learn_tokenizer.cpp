#include "data/learn_tokenizer.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/io/file.h"
#include "base/text.h"
#include "base/utf8.h"
#include "data/raw/json_records.h"
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
    const auto file = MappedFile::open(path);
    const std::string_view text = file->text();
    const std::size_t zero = text.find('\0');
    const std::string kind = looks_like(text.substr(0, 512));
    const bool binary = zero != text.npos || utf8_prefix(text) < text.size();
    if (kind.starts_with("a Git LFS") || (binary && !kind.empty() && kind != "JSON text"))
      input_error(path, ": looks like ", kind, "; expected text in UTF-8");
    require_utf8(text, path);
    if (zero != text.npos) input_error(path, ": byte ", zero, " is a zero byte: expected text in UTF-8");
    const std::string_view start = trimmed(text.substr(0, 4096));
    if (path.ends_with(".jsonl") || (path.ends_with(".json") && start.starts_with('['))) {
      const JsonRecords records(file);
      for (std::int64_t i = 0; i < records.size(); ++i) record(records.read(i));
    } else if (path.ends_with(".json")) {
      record(Json::parse(text, path));
    } else {
      trainer_.add(text);
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
    const std::string_view tag = image_tag;
    std::string plain;
    for (std::size_t at = 0, end = 0; end < text.size(); at = end + tag.size()) {
      end = std::min(text.find(tag, at), text.size());
      plain.append(text, at, end - at);
    }
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
