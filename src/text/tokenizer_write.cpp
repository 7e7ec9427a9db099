// Hugging Face tokenizer directories, written: the seven files that Transformers 4.55 writes for a Qwen2 tokenizer.
#include <algorithm>

#include "base/io/file.h"
#include "base/json.h"
#include "text/chat_template.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"

namespace ov {
namespace {

// vocab.json and tokenizer.json name a symbol by its text, in order of its id.
Json vocabulary_json(const Bpe& bpe) {
  std::vector<Json::Member> members;
  for (std::int64_t id = 0; id < bpe.id_limit(); ++id)
    if (const std::string* text = bpe.text(id)) members.emplace_back(*text, id);
  return Json::object(std::move(members));
}

// How an added token is matched: anywhere, without eating blanks, in the raw text.
std::vector<Json::Member> matching(const std::string& text, bool alphabetical) {
  if (alphabetical)
    return {{"content", text}, {"lstrip", false}, {"normalized", false}, {"rstrip", false}, {"single_word", false}};
  return {{"content", text}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}};
}

Json byte_level(std::vector<Json::Member> flags) {
  flags.insert(flags.begin(), {"type", "ByteLevel"});
  return Json::object(std::move(flags));
}

Json tokenizer_json(const Tokenizer& t) {
  Json added = Json::array();
  for (const AddedToken& token : t.added_tokens()) {
    auto members = matching(token.text, false);
    members.insert(members.begin(), {"id", token.id});
    members.emplace_back("special", token.special);
    added.push(Json::object(std::move(members)));
  }
  Json merges = Json::array();
  for (const Merge& m : t.bpe().merges()) merges.push(std::vector<std::string>{m.left, m.right});

  Json words = Json::array();
  words.push(Json::object({{"type", "Split"},
                           {"pattern", Json::object({{"Regex", qwen2_pattern}})},
                           {"behavior", "Isolated"},
                           {"invert", false}}));
  words.push(byte_level({{"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}));

  const Json model = Json::object({{"type", "BPE"},
                                   {"dropout", Json()},
                                   {"unk_token", Json()},
                                   {"continuing_subword_prefix", ""},
                                   {"end_of_word_suffix", ""},
                                   {"fuse_unk", false},
                                   {"byte_fallback", false},
                                   {"ignore_merges", false},
                                   {"vocab", vocabulary_json(t.bpe())},
                                   {"merges", std::move(merges)}});
  return Json::object(
      {{"version", "1.0"},
       {"truncation", Json()},
       {"padding", Json()},
       {"added_tokens", std::move(added)},
       {"normalizer", t.normalises() ? Json::object({{"type", "NFC"}}) : Json()},
       {"pre_tokenizer", Json::object({{"type", "Sequence"}, {"pretokenizers", std::move(words)}})},
       {"post_processor", byte_level({{"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}})},
       {"decoder", byte_level({{"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}})},
       {"model", model}});
}

// The text of an added token, or null.
Json name_of(const Tokenizer& t, std::optional<std::int64_t> id) {
  for (const AddedToken& token : t.added_tokens())
    if (id == token.id) return token.text;
  return Json();
}

Json additional_special_tokens(const Tokenizer& t) {
  Json list = Json::array();
  for (const AddedToken& token : t.added_tokens())
    if (token.special && token.id != t.eos() && token.id != t.pad()) list.push(token.text);
  return list;
}

Json tokenizer_config_json(const Tokenizer& t) {
  Json decoder = Json::object();
  for (const AddedToken& token : t.added_tokens()) {
    auto members = matching(token.text, true);
    members.emplace_back("special", token.special);
    decoder.set(std::to_string(token.id), Json::object(std::move(members)));
  }
  return Json::object({{"added_tokens_decoder", std::move(decoder)},
                       {"additional_special_tokens", additional_special_tokens(t)},
                       {"bos_token", Json()},
                       {"clean_up_tokenization_spaces", false},
                       {"eos_token", name_of(t, t.eos())},
                       {"errors", "replace"},
                       {"extra_special_tokens", Json::object()},
                       {"model_max_length", 131072},
                       {"pad_token", name_of(t, t.pad())},
                       {"split_special_tokens", false},
                       {"tokenizer_class", "Qwen2Tokenizer"},
                       {"unk_token", Json()}});
}

Json special_tokens_map_json(const Tokenizer& t) {
  Json map = Json::object({{"additional_special_tokens", additional_special_tokens(t)}});
  if (const Json eos = name_of(t, t.eos()); eos.is_string())
    map.set("eos_token", Json::object(matching(eos.as_string(), true)));
  if (const Json pad = name_of(t, t.pad()); pad.is_string())
    map.set("pad_token", Json::object(matching(pad.as_string(), true)));
  return map;
}

Json added_tokens_json(const Tokenizer& t) {
  std::vector<Json::Member> members;
  for (const AddedToken& token : t.added_tokens()) members.emplace_back(token.text, token.id);
  std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return Json::object(std::move(members));
}

std::string merges_txt(const Tokenizer& t) {
  std::string text = "#version: 0.2\n";
  for (const Merge& m : t.bpe().merges()) text += m.left + ' ' + m.right + '\n';
  return text;
}

}  // namespace

void Tokenizer::write(const std::string& directory) const {
  const auto put = [&](const char* name, const std::string& content) {
    write_durably(directory + "/" + name, content);
  };
  put("vocab.json", vocabulary_json(bpe()).dump());
  put("merges.txt", merges_txt(*this));
  put("tokenizer.json", tokenizer_json(*this).dump(2));
  put("tokenizer_config.json", tokenizer_config_json(*this).dump(2) + "\n");
  put("special_tokens_map.json", special_tokens_map_json(*this).dump(2) + "\n");
  put("added_tokens.json", added_tokens_json(*this).dump(2) + "\n");
  put("chat_template.jinja", chat_template(true));
}

}  // namespace ov
