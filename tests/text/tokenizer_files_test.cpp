#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/io/file.h"
#include "base/json.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "text/tokenizer.h"

using namespace ov;
using namespace ov::test;
using Ids = std::vector<std::int64_t>;
constexpr auto npos = std::string::npos;

namespace {

const char* const written[] = {"vocab.json",
                               "merges.txt",
                               "tokenizer.json",
                               "added_tokens.json",
                               "special_tokens_map.json",
                               "tokenizer_config.json",
                               "chat_template.jinja"};

void put(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

// Copies files of a directory, all that Tokenizer::write writes or those named.
void copy(const std::string& from, const std::string& to, const std::vector<std::string>& names) {
  for (const std::string& name : names) std::filesystem::copy_file(from + "/" + name, to + "/" + name);
}

std::string message_of_read(const std::string& directory) {
  return thrown([&] { Tokenizer::read(directory); });
}

// tokenizer.json of the reference with one piece of text replaced.
std::string damaged(const std::string& old, const std::string& replacement) {
  std::string text = read_file("tests/golden/tokenizer/tokenizer.json");
  const auto at = text.find(old);
  REQUIRE(at != std::string::npos);
  return text.replace(at, old.size(), replacement);
}

// The same with one of its parts replaced.
std::string changed(const std::string& key, const std::string& value) {
  Json json = Json::read("tests/golden/tokenizer/tokenizer.json");
  json.set(key, Json::parse(value, ""));
  return json.dump();
}

bool same_model(const Tokenizer& a, const Tokenizer& b) {
  if (a.bpe().id_limit() != b.bpe().id_limit() || a.bpe().merges().size() != b.bpe().merges().size()) return false;
  for (std::int64_t id = 0; id < a.bpe().id_limit(); ++id)
    if (*a.bpe().text(id) != *b.bpe().text(id)) return false;
  return true;
}

bool same_added(const Tokenizer& a, const Tokenizer& b) {
  if (a.added_tokens().size() != b.added_tokens().size()) return false;
  for (std::size_t i = 0; i < a.added_tokens().size(); ++i) {
    const AddedToken &x = a.added_tokens()[i], &y = b.added_tokens()[i];
    if (x.id != y.id || x.text != y.text || x.special != y.special) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("what is written is byte for byte what Transformers wrote for the same tokenizer") {
  const ScratchDirectory out;
  Tokenizer::read("tests/golden/tokenizer").write(out.path());
  for (const char* name :
       {"vocab.json", "merges.txt", "tokenizer.json", "added_tokens.json", "special_tokens_map.json"}) {
    CAPTURE(name);
    CHECK(read_file(out / name) == read_file(std::string("tests/golden/tokenizer/") + name));
  }
  // The configuration differs in one value: the reference's model_max_length means "not known".
  const Json ours = Json::read(out / "tokenizer_config.json");
  const Json theirs = Json::read("tests/golden/tokenizer/tokenizer_config.json");
  REQUIRE(ours.size() == theirs.size());
  for (std::size_t i = 0; i < ours.size(); ++i) {
    CHECK(ours.members()[i].first == theirs.members()[i].first);
    if (ours.members()[i].first != "model_max_length")
      CHECK(ours.members()[i].second.dump() == theirs.members()[i].second.dump());
  }
  CHECK(read_file(out / "chat_template.jinja") != read_file("tests/golden/tokenizer/chat_template.jinja"));
}

TEST_CASE("data/tokenizer is the 256 bytes and Qwen2's 22 added tokens, as write() has it") {
  const Tokenizer t = Tokenizer::read("data/tokenizer");
  CHECK(t.vocab_size() == 278);
  CHECK(t.bpe().id_limit() == 256);
  CHECK(t.token_id("<|endoftext|>") == 256);
  CHECK(t.token_id("<|im_start|>") == 257);
  CHECK(t.token_id("<|im_end|>") == 258);
  CHECK(t.token_id("<|image_pad|>") == 268);
  CHECK(t.token_id("<|file_sep|>") == 277);
  CHECK(t.eos() == 258);
  CHECK(t.pad() == 256);
  CHECK(t.added_tokens()[13].special);
  CHECK(!t.added_tokens()[14].special);
  const ScratchDirectory out;
  t.write(out.path());
  for (const char* name : written) {
    CAPTURE(name);
    CHECK(read_file(out / name) == read_file(std::string("data/tokenizer/") + name));
  }
}

TEST_CASE("every form of directory gives the same tokenizer") {
  const std::string golden = "tests/golden/tokenizer";
  const Tokenizer whole = Tokenizer::read(golden);

  const ScratchDirectory json, config, added, bare, old;
  copy(golden, json.path(), {"tokenizer.json"});
  copy(golden, config.path(), {"vocab.json", "merges.txt", "tokenizer_config.json"});
  copy(golden, added.path(), {"vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json"});
  copy(golden, bare.path(), {"vocab.json", "merges.txt"});
  for (const ScratchDirectory* d : {&json, &config, &added}) {
    const Tokenizer t = Tokenizer::read(d->path());
    CHECK(same_model(t, whole));
    CHECK(same_added(t, whole));
    CHECK(t.eos() == whole.eos());
    CHECK(t.pad() == whole.pad());
  }
  const Tokenizer without = Tokenizer::read(bare.path());
  CHECK(same_model(without, whole));
  CHECK(without.added_tokens().empty());
  CHECK(without.encode("<|im_end|>").size() > 1);
  CHECK(!without.eos());

  // Merges as "left right", the form before tokenizers 0.20.
  Json file = Json::read(golden + "/tokenizer.json");
  Json model = file.at("model"), merges = Json::array();
  for (const Json& m : model.at("merges").items()) merges.push(m[0].as_string() + " " + m[1].as_string());
  model.set("merges", merges);
  file.set("model", model);
  put(old / "tokenizer.json", file.dump());
  CHECK(same_model(Tokenizer::read(old.path()), whole));
}

TEST_CASE("the real vocabulary goes through files unchanged, with Windows line ends and without") {
  const ScratchDirectory out;
  const Tokenizer t = Tokenizer::from_merges("tests/golden/qwen_vocab/merges.txt", qwen2_added_tokens(151643));
  t.write(out.path());
  const Tokenizer back = Tokenizer::read(out.path());
  CHECK(same_model(t, back));
  CHECK(same_added(t, back));
  CHECK(read_file(out / "merges.txt").find('\r') == std::string::npos);
  CHECK(same_model(t, Tokenizer::from_merges(out / "merges.txt")));
}

TEST_CASE("a missing or malformed tokenizer file is named, with the key and what was expected") {
  const ScratchDirectory d;
  const std::string json = d / "tokenizer.json";
  CHECK(message_of_read(d.path()) ==
        d.path() + ": no tokenizer: expected tokenizer.json, or vocab.json and merges.txt");
  CHECK(message_of_read(d / "nowhere").find("no tokenizer") != std::string::npos);

  const auto with = [&](const std::string& text) {
    put(json, text);
    const std::string message = message_of_read(d.path());
    CHECK(message.find(json) == 0);
    CHECK(message.find('\n') == std::string::npos);
    return message.substr(json.size());
  };
  const auto read = [&](const std::string& text) {
    put(json, text);
    return message_of_read(d.path());
  };
  CHECK(with("{\"model\": ").find(":1:") == 0);
  CHECK(with("[]") == ": expected an object, found an array");
  CHECK(with("{}") == ": key 'model' is missing");
  CHECK(with("{\"model\": 3}") == ": model: expected an object, found an integer");
  CHECK(with(damaged("\"BPE\"", "\"WordPiece\"")) == ": model.type: expected \"BPE\", found \"WordPiece\"");
  CHECK(with(damaged("\"ignore_merges\": false", "\"ignore_merges\": true")) ==
        ": model.ignore_merges: true is not implemented");
  CHECK(with(damaged("\"!\": 0", "\"!\": \"0\"")) == ": model.vocab.'!': expected an integer, found a string");
  CHECK(with(damaged("\"!\": 0", "\"!\": -4")).find(": symbol '!' has id -4") == 0);
  CHECK(with(damaged("\"id\": 700,", "")) == ": added_tokens[0]: key 'id' is missing");
  CHECK(with(damaged("\"lstrip\": false", "\"lstrip\": true")).find("lstrip set, which is not implemented") !=
        std::string::npos);
  CHECK(with(damaged("\"NFC\"", "\"NFKC\"")).find(": normalizer: expected null or") == 0);
  // Numbers in groups of three: another pattern, another tokenizer.
  CHECK(with(damaged("|\\\\p{N}|", "|\\\\p{N}{1,3}|")).find(": pre_tokenizer: expected a Split by Qwen2's pattern") ==
        0);

  // Each of these gives other ids in the tokenizers library, and is refused with the part and the key.
  const std::string isolated = "\"behavior\": \"Isolated\"", no_prefix = "\"add_prefix_space\": false";
  CHECK(with(damaged(isolated, "\"behavior\": \"Removed\"")).find("behavior is \"Removed\", expected \"Isolated\"") !=
        npos);
  CHECK(with(damaged("\"invert\": false", "\"invert\": true")).find("invert is true, expected false") != npos);
  CHECK(with(damaged(no_prefix, "\"add_prefix_space\": true")).find("add_prefix_space is true") != npos);
  CHECK(with(damaged("\"use_regex\": false", "\"use_regex\": true")).find("use_regex is true") != npos);
  CHECK(with(damaged("\"use_regex\": false", "\"use_regexp\": false")).find("did you mean 'use_regex'?") != npos);
  CHECK(with(damaged("\"pretokenizers\": [", "\"pretokenizers\": [{\"type\": \"Punctuation\"}, "))
            .find("found 3 parts") != npos);
  CHECK(with(changed("pre_tokenizer", "null")).find("pre_tokenizer: expected a Split by Qwen2's pattern") != npos);
  CHECK(with(damaged("\"dropout\": null", "\"dropout\": 0.1")).find("dropout is 0.1, expected null") != npos);
  CHECK(with(damaged("\"dropout\": null", "\"dropout\": null, \"cache\": 1")).find("key 'cache' is not implemented") !=
        npos);
  CHECK(with(damaged("\"truncation\": null", "\"truncation\": {\"max_length\": 5}")).find("truncation is {") != npos);
  CHECK(with(damaged("\"padding\": null", "\"padding\": {}")).find("padding is {}") != npos);
  CHECK(with(damaged("\"version\"", "\"versions\"")).find("key 'versions' is not implemented") != npos);
  CHECK(with(damaged("\"lstrip\": false", "\"lstrip\": false, \"id2\": 3")).find("key 'id2' is not implemented") !=
        npos);
  const std::string sequence = R"({"Sequence": {"id": "A", "type_id": 0}})";
  const auto templated = [&](const std::string& single) {
    return with(
        changed("post_processor", R"({"type": "TemplateProcessing", "single": [)" + single + R"(], "pair": []})"));
  };
  CHECK(templated(R"({"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, )" + sequence)
            .find("post_processor: expected") != npos);
  CHECK(read(changed("post_processor",
                     R"({"type": "TemplateProcessing", "single": [)" + sequence + R"(], "pair": []})")) == "");
  CHECK(read(changed("post_processor", "null")) == "");
  CHECK(
      with(changed("post_processor", R"({"type": "RobertaProcessing"})")).find("post_processor: expected ByteLevel") !=
      npos);
  CHECK(with(changed("decoder", R"({"type": "Metaspace"})")).find("decoder: expected ByteLevel; type is") != npos);
  CHECK(read(changed("normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}]})")) == "");
  CHECK(with(changed("normalizer", R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}]})"))
            .find("type is \"Lowercase\"") != npos);
  put(json, read_file("tests/golden/tokenizer/tokenizer.json"));
  for (const char* flag : {"add_bos_token", "add_eos_token", "add_prefix_space", "split_special_tokens"}) {
    put(d / "tokenizer_config.json", std::string("{\"") + flag + "\": true}");
    CHECK(message_of_read(d.path()) == d / "tokenizer_config.json: " + flag + ": true is not implemented");
  }
  put(d / "tokenizer_config.json", R"({"added_tokens_decoder": {"700": {"content": "<|im_end|>", "special": false}}})");
  CHECK(message_of_read(d.path()).find("added_tokens_decoder.700: token '<|im_end|>' is not in") != npos);
  std::filesystem::remove(d / "tokenizer_config.json");

  std::filesystem::remove(json);
  copy("tests/golden/tokenizer", d.path(), {"vocab.json"});
  put(d / "merges.txt", "#version: 0.2\n- -\ne r x\n");
  CHECK(message_of_read(d.path()) ==
        (d / "merges.txt") + ":3: expected two symbols with a blank between them, found 'e r x'");
  put(d / "merges.txt", "#version: 0.2\n- \n");
  CHECK(message_of_read(d.path()).find((d / "merges.txt") + ":2: expected two symbols") == 0);
  put(d / "merges.txt", "- -\n");
  put(d / "tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {}}}");
  CHECK(message_of_read(d.path()).find("added_tokens_decoder: expected ids as keys, found 'x'") != std::string::npos);
  put(d / "tokenizer_config.json", "{\"eos_token\": \"<stop>\"}");
  CHECK(message_of_read(d.path()) == (d / "vocab.json") + ": eos_token '<stop>' is not a token");
}

TEST_CASE("a directory that cannot be written is the machine's fault or the caller's, never silent") {
  CHECK_THROWS_AS(Tokenizer::read("data/tokenizer").write("/dev/null/nowhere"), Error);
}
