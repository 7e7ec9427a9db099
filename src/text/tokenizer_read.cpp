// Hugging Face tokenizer directories, read. The three forms are in Tokenizer::read's comment.
#include <filesystem>
#include <set>
#include <unordered_set>

#include "base/error.h"
#include "base/io/file.h"
#include "base/json.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace ov {
namespace {

bool is_file(const std::string& path) { return std::filesystem::is_regular_file(path); }

[[noreturn]] void wrong(const std::string& where, const std::string& expected, const Json& found) {
  input_error(where, ": expected ", expected, ", found ", kind_name(found.kind()));
}

// A value and the place it stands at, so that an error can name both: "dir/tokenizer.json: model.vocab".
struct Place {
  const Json& json;
  std::string where;

  Place key(const std::string& name) const {
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

std::vector<Bpe::Entry> read_vocabulary(const Place& vocab) {
  if (!vocab.json.is_object()) wrong(vocab.where, "an object of symbol: id", vocab.json);
  std::vector<Bpe::Entry> entries;
  for (const auto& [text, id] : vocab.json.members()) {
    if (!id.is_integer()) wrong(vocab.where + vocab.separator() + "'" + text + "'", "an integer", id);
    entries.emplace_back(text, id.as_int());
  }
  return entries;
}

Merge parse_merge(std::string_view line, const std::string& where) {
  const auto blank = line.find(' ');
  if (blank == 0 || blank == std::string_view::npos || blank + 1 == line.size() ||
      line.find(' ', blank + 1) != std::string_view::npos)
    input_error(where, ": expected two symbols with a blank between them, found '", valid_utf8(line), "'");
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
std::vector<Merge> read_merges(const Place& list) {
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

// One entry of tokenizer.json's added_tokens or of tokenizer_config.json's added_tokens_decoder.
AddedToken read_added(const Place& token, std::int64_t id) {
  AddedToken t{id, token.key("content").string(), token.flag("special", false)};
  for (const char* flag : {"lstrip", "rstrip", "single_word"})
    if (token.flag(flag, false))
      input_error(token.where, ": token '", t.text, "' has ", flag, " set, which is not implemented");
  if (token.flag("normalized", false) && !is_ascii(t.text))
    input_error(token.where, ": token '", t.text,
                "' is matched in normalised text, which is implemented for ASCII only");
  return t;
}

void refuse_other_models(const Place& file) {
  const Place model = file.key("model");
  if (const Json* type = model.find("type"); type && !(type->is_string() && type->as_string() == "BPE"))
    input_error(model.where, ".type: expected \"BPE\", found ", type->dump());
  for (const char* flag : {"ignore_merges", "byte_fallback"})
    if (model.flag(flag, false)) input_error(model.where, ".", flag, ": true is not implemented");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const Json* v = model.find(affix); v && v->is_string() && !v->as_string().empty())
      input_error(model.where, ".", affix, ": expected null or \"\", found ", v->dump());

  // Another split of the text into words would give other ids without a word of warning.
  const Json* pre = file.find("pre_tokenizer");
  const std::string expected = Json(qwen2_pattern).dump();
  if (!pre || pre->dump().find("{\"Regex\":" + expected + "}") == std::string::npos)
    input_error(file.where, ": pre_tokenizer: expected a Split by Qwen2's pattern ", expected, ", found ",
                pre ? pre->dump() : "nothing");
}

bool reads_nfc(const Place& file) {
  const Json* normaliser = file.find("normalizer");
  if (!normaliser || normaliser->is_null()) return false;
  const Json* type = normaliser->is_object() ? normaliser->find("type") : nullptr;
  if (type && type->is_string() && type->as_string() == "NFC") return true;
  input_error(file.where, ": normalizer: expected null or {\"type\": \"NFC\"}, found ", normaliser->dump());
}

// "<|im_end|>", or an object whose "content" is that, or null.
std::string token_name(const Place& file, const char* key) {
  const Json* v = file.find(key);
  if (!v || v->is_null()) return "";
  return v->is_object() ? file.key(key).key("content").string() : file.key(key).string();
}

void read_tokenizer_json(const std::string& path, Tokenizer::Parts& parts) {
  const Json json = Json::read(path);
  const Place file{json, path};
  refuse_other_models(file);
  parts.normalise = reads_nfc(file);
  parts.vocabulary = read_vocabulary(file.key("model").key("vocab"));
  parts.merges = read_merges(file.key("model").key("merges"));
  if (!file.find("added_tokens")) return;
  const Place list = file.key("added_tokens");
  for (std::size_t i = 0; i < list.items().size(); ++i) {
    const Place token{list.json[i], cat(list.where, "[", i, "]")};
    parts.added.push_back(read_added(token, token.key("id").integer()));
  }
}

// tokenizer_config.json's table: {"151643": {"content": "<|endoftext|>", ...}, ...}.
void read_added_tokens_decoder(const Place& table, Tokenizer::Parts& parts) {
  if (!table.json.is_object()) wrong(table.where, "an object of id: token", table.json);
  for (const auto& [key, token] : table.json.members()) {
    if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != std::string::npos)
      input_error(table.where, ": expected ids as keys, found '", key, "'");
    parts.added.push_back(read_added({token, table.where + "." + key}, std::stoll(key)));
  }
}

// added_tokens.json has text: id only; what special_tokens_map.json lists is special.
void read_added_tokens_json(const std::string& directory, Tokenizer::Parts& parts) {
  std::set<std::string> special;
  const std::string map_path = directory + "/special_tokens_map.json";
  const Json map = is_file(map_path) ? Json::read(map_path) : Json::object();
  const Place map_file{map, map_path};
  for (const char* key : {"bos_token", "eos_token", "pad_token", "unk_token"})
    special.insert(token_name(map_file, key));
  if (map_file.find("additional_special_tokens"))
    for (const Json& t : map_file.key("additional_special_tokens").items())
      special.insert(t.is_object() ? Place{t, map_path}.key("content").string() : Place{t, map_path}.string());

  const std::string path = directory + "/added_tokens.json";
  const Json json = Json::read(path);
  if (!json.is_object()) wrong(path, "an object of token: id", json);
  for (const auto& [text, id] : json.members())
    parts.added.push_back({Place{id, path + ": '" + text + "'"}.integer(), text, special.count(text) > 0});
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
  const Place config_file{config, path("tokenizer_config.json")};
  if (!whole && config_file.find("added_tokens_decoder"))
    read_added_tokens_decoder(config_file.key("added_tokens_decoder"), parts);
  else if (!whole && is_file(path("added_tokens.json"))) read_added_tokens_json(directory, parts);

  const auto present = [&](const std::string& text) {
    for (const AddedToken& t : parts.added)
      if (t.text == text) return true;
    return false;
  };
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
