// Hugging Face tokenizer directories, read. The three forms are in Tokenizer::read's comment.
#include <algorithm>
#include <filesystem>
#include <set>
#include <unordered_set>

#include "base/error.h"
#include "base/io/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/utf8.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"

namespace ov {
namespace {

bool is_file(const std::string& path) { return std::filesystem::is_regular_file(path); }

[[noreturn]] void wrong(const std::string& where, const std::string& expected, const Json& found) {
  input_error(where, ": expected ", expected, ", found ", kind_name(found.kind()));
}

// A value and the place it stands at, so that an error can name both: "dir/tokenizer.json: model.vocab".
struct JsonAt {
  const Json& json;
  std::string where;

  JsonAt key(const std::string& name) const {
    const Json* v = find(name);
    if (!v) input_error(where, ": key '", name, "' is missing");
    return {*v, where + separator() + name};
  }
  const Json* find(const std::string& name) const {
    if (!json.is_object()) wrong(where, "an object", json);
    return json.find(name);
  }
  std::string string() const {
    if (!json.is_string()) wrong(where, "a string", json);
    return json.as_string();
  }
  std::int64_t integer() const {
    if (!json.is_integer()) wrong(where, "an integer", json);
    return json.as_int();
  }
  bool flag(const std::string& name, bool otherwise) const {
    const Json* v = find(name);
    if (!v) return otherwise;
    if (!v->is_boolean()) wrong(where + separator() + name, "a boolean", *v);
    return v->as_bool();
  }
  const std::vector<Json>& items() const {
    if (!json.is_array()) wrong(where, "an array", json);
    return json.items();
  }
  std::string separator() const { return where.ends_with(".json") ? ": " : "."; }
};

std::vector<Bpe::Entry> read_vocabulary(const JsonAt& vocab) {
  if (!vocab.json.is_object()) wrong(vocab.where, "an object of symbol: id", vocab.json);
  std::vector<Bpe::Entry> entries;
  for (const auto& [text, id] : vocab.json.members()) {
    if (!id.is_integer()) wrong(vocab.where + vocab.separator() + "'" + shown(text) + "'", "an integer", id);
    entries.emplace_back(text, id.as_int());
  }
  return entries;
}

Merge parse_merge(std::string_view line, const std::string& where) {
  const auto blank = line.find(' ');
  if (blank == 0 || blank == std::string_view::npos || blank + 1 == line.size() ||
      line.find(' ', blank + 1) != std::string_view::npos)
    input_error(where, ": expected two symbols with a blank between them, found '", shown(line), "'");
  return {std::string(line.substr(0, blank)), std::string(line.substr(blank + 1))};
}

// merges.txt: "#version: 0.2", then one "left right" a line; empty lines are passed over.
std::vector<Merge> read_merges_file(const std::string& path) {
  const std::string text = read_file(path);
  std::vector<Merge> merges;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    ++number;
    begin = end + 1;
    if (line.empty() || line.starts_with("#version")) continue;
    merges.push_back(parse_merge(line, cat(path, ":", number)));
  }
  return merges;
}

// model.merges: "left right", or ["left", "right"] as tokenizers 0.20 and later write it.
std::vector<Merge> read_merges(const JsonAt& list) {
  std::vector<Merge> merges;
  for (const Json& item : list.items()) {
    const std::string where = cat(list.where, "[", merges.size(), "]");
    if (item.is_string()) {
      merges.push_back(parse_merge(item.as_string(), where));
    } else if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
      merges.push_back({item[0].as_string(), item[1].as_string()});
    } else {
      wrong(where, "\"left right\" or [\"left\", \"right\"]", item);
    }
  }
  return merges;
}

// A key of a part of tokenizer.json and the values, as JSON, with which it means what is implemented here; none: any
// value will do, since it changes no id. A first value "?" allows the key to be absent.
struct Accepted {
  std::string key;
  std::vector<std::string> values;
};

// What in this object is not so: "behavior is \"Removed\", expected \"Isolated\"". A key that is not listed could
// change ids in a way nobody here knows of. "" when all is well.
std::string difference(const Json& part, const std::vector<Accepted>& accepted) {
  if (!part.is_object()) return cat("found ", kind_name(part.kind()), ", expected an object");
  std::vector<std::string> keys;
  for (const Accepted& a : accepted) keys.push_back(a.key);
  for (const auto& [key, value] : part.members())
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      return cat("key '", shown(key), "' is not implemented", did_you_mean(key, keys));
  for (const auto& [key, values] : accepted) {
    const Json* v = part.find(key);
    if (values.empty() || (!v && values[0] == "?")) continue;
    if (!v) return cat("key '", key, "' is missing");
    if (std::find(values.begin(), values.end(), v->dump()) == values.end())
      return cat(key, " is ", v->shown(), ", expected ", values.back());
  }
  return "";
}

// The parts of a Sequence, or the part itself.
std::vector<Json> parts_of(const Json* part, const char* list) {
  if (!part || part->is_null()) return {};
  const Json* type = part->is_object() ? part->find("type") : nullptr;
  const Json* items = type && type->dump() == "\"Sequence\"" ? part->find(list) : nullptr;
  return items && items->is_array() ? items->items() : std::vector<Json>{*part};
}

// One entry of tokenizer.json's added_tokens or of tokenizer_config.json's added_tokens_decoder.
AddedToken read_added(const JsonAt& token, std::int64_t id) {
  if (const std::string fault = difference(token.json, {{"id", {}},
                                                        {"content", {}},
                                                        {"special", {}},
                                                        {"lstrip", {}},
                                                        {"rstrip", {}},
                                                        {"single_word", {}},
                                                        {"normalized", {}},
                                                        {"__type", {}}});
      !fault.empty())
    input_error(token.where, ": ", fault);
  AddedToken t{id, token.key("content").string(), token.flag("special", false)};
  for (const char* flag : {"lstrip", "rstrip", "single_word"})
    if (token.flag(flag, false))
      input_error(token.where, ": token '", t.text, "' has ", flag, " set, which is not implemented");
  if (token.flag("normalized", false) && !is_ascii(t.text))
    input_error(token.where, ": token '", t.text,
                "' is matched in normalised text, which is implemented for ASCII only");
  return t;
}

// Everything in the file either has the one meaning that is implemented or is refused by name: another split of the
// text, another model or a token put in front would give other ids without a word of warning.
void refuse_other_parts(const JsonAt& file) {
  const auto refuse = [&](const char* key, const std::string& expected, const std::string& fault) {
    if (!fault.empty()) input_error(file.where, ": ", key, ": expected ", expected, "; ", fault);
  };
  const JsonAt model = file.key("model");
  if (const Json* type = model.find("type"); type && !(type->is_string() && type->as_string() == "BPE"))
    input_error(model.where, ".type: expected \"BPE\", found ", type->shown());
  for (const char* flag : {"ignore_merges", "byte_fallback"})
    if (model.flag(flag, false)) input_error(model.where, ".", flag, ": true is not implemented");
  const std::vector<std::string> none = {"?", "\"\"", "null"};
  refuse("model", "byte-level BPE as of Qwen2",
         difference(model.json, {{"type", {}},
                                 {"ignore_merges", {}},
                                 {"byte_fallback", {}},
                                 {"vocab", {}},
                                 {"merges", {}},
                                 {"unk_token", {}},
                                 {"fuse_unk", {}},  // every byte has a symbol: nothing is unknown
                                 {"dropout", {"?", "0.0", "0", "null"}},
                                 {"continuing_subword_prefix", none},
                                 {"end_of_word_suffix", none}}));
  refuse("the file", "the parts that are implemented",
         difference(file.json, {{"version", {}},
                                {"truncation", {"?", "null"}},
                                {"padding", {"?", "null"}},
                                {"added_tokens", {}},
                                {"normalizer", {}},
                                {"pre_tokenizer", {}},
                                {"post_processor", {}},
                                {"decoder", {}},
                                {"model", {}}}));

  const std::vector<Accepted> split = {{"type", {"\"Split\""}},
                                       {"pattern", {"{\"Regex\":" + Json(qwen2_pattern).dump() + "}"}},
                                       {"behavior", {"\"Isolated\""}},
                                       {"invert", {"false"}}},
                              bytes = {{"type", {"\"ByteLevel\""}},
                                       {"add_prefix_space", {"false"}},
                                       {"trim_offsets", {}},
                                       {"use_regex", {"false"}}},
                              any_bytes = {{"type", {"\"ByteLevel\""}},
                                           {"add_prefix_space", {}},
                                           {"trim_offsets", {}},
                                           {"use_regex", {}}};
  const std::vector<Json> words = parts_of(file.find("pre_tokenizer"), "pretokenizers");
  const std::string words_expected =
      "a Split by Qwen2's pattern, isolated, and then ByteLevel without a prefix or regex";
  if (words.size() != 2) refuse("pre_tokenizer", words_expected, cat("found ", words.size(), " parts"));
  refuse("pre_tokenizer", words_expected, difference(words[0], split));
  refuse("pre_tokenizer", words_expected, difference(words[1], bytes));

  // These two change no id: one moves offsets, the other is what decode() does. A template may only repeat the text.
  for (const Json& part : parts_of(file.find("post_processor"), "processors")) {
    const Json* single = part.is_object() ? part.find("single") : nullptr;
    const bool repeats = single && single->is_array() && single->size() == 1 && (*single)[0].is_object() &&
                         (*single)[0].find("Sequence");
    if (!repeats) refuse("post_processor", "ByteLevel, since no token is added to a text", difference(part, any_bytes));
  }
  for (const Json& part : parts_of(file.find("decoder"), "decoders"))
    refuse("decoder", "ByteLevel", difference(part, any_bytes));
}

bool reads_nfc(const JsonAt& file) {
  const std::vector<Json> parts = parts_of(file.find("normalizer"), "normalizers");
  for (const Json& part : parts)
    if (const std::string fault = difference(part, {{"type", {"\"NFC\""}}}); !fault.empty())
      input_error(file.where, ": normalizer: expected null or {\"type\": \"NFC\"}; ", fault);
  return !parts.empty();
}

// "<|im_end|>", or an object whose "content" is that, or null.
std::string token_name(const JsonAt& file, const char* key) {
  const Json* v = file.find(key);
  if (!v || v->is_null()) return "";
  return v->is_object() ? file.key(key).key("content").string() : file.key(key).string();
}

void read_tokenizer_json(const std::string& path, Tokenizer::Parts& parts) {
  const Json json = Json::read(path);
  const JsonAt file{json, path};
  refuse_other_parts(file);
  parts.normalise = reads_nfc(file);
  parts.vocabulary = read_vocabulary(file.key("model").key("vocab"));
  parts.merges = read_merges(file.key("model").key("merges"));
  if (!file.find("added_tokens")) return;
  const JsonAt list = file.key("added_tokens");
  for (std::size_t i = 0; i < list.items().size(); ++i) {
    const JsonAt token{list.json[i], cat(list.where, "[", i, "]")};
    parts.added.push_back(read_added(token, token.key("id").integer()));
  }
}

// tokenizer_config.json's table: {"151643": {"content": "<|endoftext|>", ...}, ...}.
void read_added_tokens_decoder(const JsonAt& table, Tokenizer::Parts& parts) {
  if (!table.json.is_object()) wrong(table.where, "an object of id: token", table.json);
  for (const auto& [key, token] : table.json.members()) {
    if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != std::string::npos)
      input_error(table.where, ": expected ids as keys, found '", key, "'");
    parts.added.push_back(read_added({token, table.where + "." + key}, std::stoll(key)));
  }
}

// Where tokenizer.json and tokenizer_config.json both list a token, they must say the same of it.
void compare_added(const JsonAt& table, const Tokenizer::Parts& parts) {
  Tokenizer::Parts other;
  read_added_tokens_decoder(table, other);
  for (const AddedToken& t : other.added) {
    const auto same = std::find_if(parts.added.begin(), parts.added.end(),
                                   [&](const AddedToken& a) { return a.id == t.id || a.text == t.text; });
    if (same == parts.added.end() || same->id != t.id || same->text != t.text || same->special != t.special)
      input_error(table.where, ".", t.id, ": token '", shown(t.text),
                  "' is not in tokenizer.json, or another one there");
  }
}

// added_tokens.json has text: id only; what special_tokens_map.json lists is special.
void read_added_tokens_json(const std::string& directory, Tokenizer::Parts& parts) {
  std::set<std::string> special;
  const std::string map_path = directory + "/special_tokens_map.json";
  const Json map = is_file(map_path) ? Json::read(map_path) : Json::object();
  const JsonAt map_file{map, map_path};
  for (const char* key : {"bos_token", "eos_token", "pad_token", "unk_token"})
    special.insert(token_name(map_file, key));
  if (map_file.find("additional_special_tokens"))
    for (const Json& t : map_file.key("additional_special_tokens").items())
      special.insert(t.is_object() ? JsonAt{t, map_path}.key("content").string() : JsonAt{t, map_path}.string());

  const std::string path = directory + "/added_tokens.json";
  const Json json = Json::read(path);
  if (!json.is_object()) wrong(path, "an object of token: id", json);
  for (const auto& [text, id] : json.members())
    parts.added.push_back({JsonAt{id, path + ": '" + text + "'"}.integer(), text, special.count(text) > 0});
}

}  // namespace

Tokenizer Tokenizer::read(const std::string& directory) {
  const auto path = [&](const char* name) { return directory + "/" + name; };
  const bool whole = is_file(path("tokenizer.json"));
  if (!whole && !(is_file(path("vocab.json")) && is_file(path("merges.txt"))))
    input_error(directory, ": no tokenizer: expected tokenizer.json, or vocab.json and merges.txt");

  Parts parts;
  if (whole) {
    read_tokenizer_json(path("tokenizer.json"), parts);
  } else {
    const Json vocab = Json::read(path("vocab.json"));
    parts.vocabulary = read_vocabulary({vocab, path("vocab.json")});
    parts.merges = read_merges_file(path("merges.txt"));
  }
  const bool has_config = is_file(path("tokenizer_config.json"));
  const Json config = has_config ? Json::read(path("tokenizer_config.json")) : Json::object();
  const JsonAt config_file{config, path("tokenizer_config.json")};
  if (!whole && config_file.find("added_tokens_decoder"))
    read_added_tokens_decoder(config_file.key("added_tokens_decoder"), parts);
  else if (!whole && is_file(path("added_tokens.json"))) read_added_tokens_json(directory, parts);

  const auto present = [&](const std::string& text) {
    for (const AddedToken& t : parts.added)
      if (t.text == text) return true;
    return false;
  };
  // What these would add to a text, the Qwen2 tokenizer adds nowhere.
  for (const char* flag : {"add_prefix_space", "add_bos_token", "add_eos_token", "split_special_tokens"})
    if (const Json* v = config_file.find(flag); v && v->dump() == "true")
      input_error(config_file.where, ": ", flag, ": true is not implemented");
  if (whole && config_file.find("added_tokens_decoder")) compare_added(config_file.key("added_tokens_decoder"), parts);
  parts.eos = token_name(config_file, "eos_token");
  parts.pad = token_name(config_file, "pad_token");
  // Without a word on it, Qwen2's own roles.
  if (parts.eos.empty() && present("<|im_end|>")) parts.eos = "<|im_end|>";
  if (parts.pad.empty() && present("<|endoftext|>")) parts.pad = "<|endoftext|>";
  return Tokenizer(std::move(parts), whole ? path("tokenizer.json") : path("vocab.json"));
}

Tokenizer Tokenizer::from_merges(const std::string& merges_file, std::vector<AddedToken> added) {
  Parts parts;
  parts.merges = read_merges_file(merges_file);
  for (const unsigned char b : byte_order()) {
    const char byte = static_cast<char>(b);
    parts.vocabulary.emplace_back(symbol_text({&byte, 1}), static_cast<std::int64_t>(parts.vocabulary.size()));
  }
  std::unordered_set<std::string> results;
  for (const Merge& m : parts.merges)
    if (results.insert(m.left + m.right).second)
      parts.vocabulary.emplace_back(m.left + m.right, static_cast<std::int64_t>(parts.vocabulary.size()));
  parts.added = std::move(added);
  for (const AddedToken& t : parts.added) {
    if (t.text == "<|im_end|>") parts.eos = t.text;
    if (t.text == "<|endoftext|>") parts.pad = t.text;
  }
  return Tokenizer(std::move(parts), merges_file);
}

}  // namespace ov
