#include "text/tokenizer.h"

#include <algorithm>
#include <array>
#include <mutex>

#include "base/error.h"
#include "base/utf8.h"
#include "text/pretokenize.h"

namespace ov {
namespace {

struct NamedToken {
  const char* text;
  bool special;
};

// tokenizer_config.json of Qwen/Qwen2.5-VL-7B-Instruct, ids 151643 to 151664.
constexpr NamedToken qwen2_tokens[] = {
    {"<|endoftext|>", true},      {"<|im_start|>", true},     {"<|im_end|>", true},      {"<|object_ref_start|>", true},
    {"<|object_ref_end|>", true}, {"<|box_start|>", true},    {"<|box_end|>", true},     {"<|quad_start|>", true},
    {"<|quad_end|>", true},       {"<|vision_start|>", true}, {"<|vision_end|>", true},  {"<|vision_pad|>", true},
    {"<|image_pad|>", true},      {"<|video_pad|>", true},    {"<tool_call>", false},    {"</tool_call>", false},
    {"<|fim_prefix|>", false},    {"<|fim_middle|>", false},  {"<|fim_suffix|>", false}, {"<|fim_pad|>", false},
    {"<|repo_name|>", false},     {"<|file_sep|>", false}};

// Enough that as many encoding threads each find a free one; a thread that does not works with a fresh one.
constexpr std::size_t workspaces = 16;

}  // namespace

std::vector<AddedToken> qwen2_added_tokens(std::int64_t first_id) {
  std::vector<AddedToken> tokens;
  for (const auto& [text, special] : qwen2_tokens) tokens.push_back({first_id++, text, special});
  return tokens;
}

struct Tokenizer::Shared {
  struct Slot {
    std::mutex mutex;
    Bpe::Workspace workspace;
  };

  Bpe bpe;
  std::vector<AddedToken> added;                       // by id
  std::array<std::vector<std::size_t>, 256> starting;  // added tokens by first byte, the longest first
  std::int64_t size = 0;
  bool normalise = true;
  std::optional<std::int64_t> eos, pad;
  mutable std::array<Slot, workspaces> slots;

  Shared(Parts p, const std::string& where) : bpe(std::move(p.vocabulary), std::move(p.merges), where) {
    added = std::move(p.added);
    normalise = p.normalise;
    size = bpe.id_limit();
    std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
    for (std::size_t i = 0; i < added.size(); ++i) add(i, where);
    for (auto& list : starting)
      std::stable_sort(list.begin(), list.end(),
                       [&](std::size_t a, std::size_t b) { return added[a].text.size() > added[b].text.size(); });
    eos = named(p.eos, "eos_token", where);
    pad = named(p.pad, "pad_token", where);
  }

  void add(std::size_t i, const std::string& where) {
    const AddedToken& t = added[i];
    if (t.text.empty()) input_error(where, ": added token ", t.id, " has no text");
    if (t.id < 0 || t.id > INT32_MAX) input_error(where, ": added token '", t.text, "' has id ", t.id);
    if (i > 0 && added[i - 1].id == t.id)
      input_error(where, ": id ", t.id, " belongs to both '", added[i - 1].text, "' and '", t.text, "'");
    for (const std::size_t j : starting[static_cast<unsigned char>(t.text[0])])
      if (added[j].text == t.text)
        input_error(where, ": added token '", t.text, "' has two ids, ", added[j].id, " and ", t.id);
    if (const std::string* symbol = bpe.text(t.id); symbol && *symbol != t.text)
      input_error(where, ": id ", t.id, " of the added token '", t.text, "' belongs to the symbol '", *symbol, "'");
    starting[static_cast<unsigned char>(t.text[0])].push_back(i);
    size = std::max(size, t.id + 1);
  }

  const AddedToken* find(std::string_view text) const {
    if (text.empty()) return nullptr;
    for (const std::size_t i : starting[static_cast<unsigned char>(text[0])])
      if (added[i].text == text) return &added[i];
    return nullptr;
  }

  const AddedToken* find(std::int64_t id) const {
    const auto at =
        std::lower_bound(added.begin(), added.end(), id, [](const AddedToken& t, std::int64_t v) { return t.id < v; });
    return at != added.end() && at->id == id ? &*at : nullptr;
  }

  std::optional<std::int64_t> named(const std::string& text, const char* key, const std::string& where) const {
    if (text.empty()) return std::nullopt;
    if (const AddedToken* t = find(text)) return t->id;
    if (const auto id = bpe.id(text)) return id;
    input_error(where, ": ", key, " '", text, "' is not a token");
  }

  // The longest added token that starts at text[at].
  const AddedToken* match(std::string_view text, std::size_t at) const {
    for (const std::size_t i : starting[static_cast<unsigned char>(text[at])])
      if (text.substr(at, added[i].text.size()) == added[i].text) return &added[i];
    return nullptr;
  }

  void encode_ordinary(std::string_view text, Bpe::Workspace& w, std::vector<std::int64_t>& ids) const {
    std::string normal;
    if (normalise && !is_ascii(text)) text = normal = nfc(text);
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = word_end(text, begin);
      bpe.encode(text.substr(begin, end - begin), w, ids);
      begin = end;
    }
  }

  void encode(std::string_view text, bool match_added, Bpe::Workspace& w, std::vector<std::int64_t>& ids) const {
    std::size_t begin = 0;
    for (std::size_t at = 0; match_added && at < text.size();) {
      const AddedToken* token = match(text, at);
      if (!token) {
        ++at;
        continue;
      }
      encode_ordinary(text.substr(begin, at - begin), w, ids);
      ids.push_back(token->id);
      begin = at += token->text.size();
    }
    encode_ordinary(text.substr(begin), w, ids);
  }
};

Tokenizer::Tokenizer(Parts parts, const std::string& where)
    : shared_(std::make_shared<const Shared>(std::move(parts), where)) {}

std::vector<std::int64_t> Tokenizer::encode(std::string_view text, bool match_added) const {
  std::string repaired;
  if (!is_ascii(text)) text = repaired = valid_utf8(text);
  std::vector<std::int64_t> ids;
  for (auto& slot : shared_->slots) {
    const std::unique_lock lock(slot.mutex, std::try_to_lock);
    if (!lock) continue;
    shared_->encode(text, match_added, slot.workspace, ids);
    return ids;
  }
  Bpe::Workspace own;
  shared_->encode(text, match_added, own, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int64_t> ids, bool skip_special) const {
  std::string out;
  for (const std::int64_t id : ids) {
    if (const AddedToken* t = shared_->find(id)) {
      if (!t->special || !skip_special) out += t->text;
    } else if (const std::string* bytes = shared_->bpe.bytes(id)) {
      out += *bytes;
    }
  }
  return is_ascii(out) ? out : valid_utf8(out);
}

std::optional<std::int64_t> Tokenizer::token_id(std::string_view text) const {
  if (const AddedToken* t = shared_->find(text)) return t->id;
  return shared_->bpe.id(text);
}

std::int64_t Tokenizer::vocab_size() const { return shared_->size; }
const Bpe& Tokenizer::bpe() const { return shared_->bpe; }
bool Tokenizer::normalises() const { return shared_->normalise; }
const std::vector<AddedToken>& Tokenizer::added_tokens() const { return shared_->added; }
std::optional<std::int64_t> Tokenizer::eos() const { return shared_->eos; }
std::optional<std::int64_t> Tokenizer::pad() const { return shared_->pad; }

}  // namespace ov
