// A tokenizer from files: which text is counted, which ids its tokens get, and that it survives being written.
#include "data/learn_tokenizer.h"

#include <doctest/doctest.h>

#include "tests/data/loader_fixture.h"

using namespace ov;
using namespace ov::loader_test;

namespace {

std::string corpus_line(const std::string& prefix, const std::string& question, const std::string& answer) {
  Json turns = Json::array();
  turns.push(Json::object({{"question", question}, {"answer", answer}}));
  return Json::object({{"prefix", prefix}, {"turns", turns}}).dump() + "\n";
}

// Ten records that each say the same, one word of them in Chinese.
std::string corpus(const DataSet& data, const std::string& name = "c.jsonl") {
  std::string lines;
  for (int i = 0; i < 10; ++i)
    lines += corpus_line("top left large red ring", "what colour is the ring ?", "\xe7\xba\xa2\xe8\x89\xb2");
  return data.write(name, lines);
}

bool one_token(const Tokenizer& t, const std::string& word) { return t.encode(word).size() == 1; }

}  // namespace

TEST_CASE("ids are the bytes, then the merges in the order they were learnt, then Qwen2's added tokens") {
  const DataSet data;
  const Tokenizer t = learn_tokenizer({.files = {corpus(data)}, .vocabulary = 300});
  CHECK(t.bpe().id_limit() == 300);
  CHECK(t.bpe().merges().size() == 44);
  CHECK(t.vocab_size() == 322);
  for (std::size_t i = 0; i < 256; ++i)
    CHECK(*t.bpe().bytes(static_cast<std::int64_t>(i)) == std::string(1, static_cast<char>(byte_order()[i])));
  for (std::size_t i = 0; i < t.bpe().merges().size(); ++i) {
    const Merge& m = t.bpe().merges()[i];
    CHECK(*t.bpe().text(static_cast<std::int64_t>(256 + i)) == m.left + m.right);
  }
  const auto added = qwen2_added_tokens(300);
  REQUIRE(t.added_tokens().size() == added.size());
  for (std::size_t i = 0; i < added.size(); ++i) {
    CHECK(t.added_tokens()[i].id == added[i].id);
    CHECK(t.added_tokens()[i].text == added[i].text);
    CHECK(t.added_tokens()[i].special == added[i].special);
  }
  CHECK(t.eos() == t.token_id("<|im_end|>"));
  CHECK(t.pad() == t.token_id("<|endoftext|>"));
}

TEST_CASE("words of the corpus, Chinese ones and the chat format's own become one token; others stay bytes") {
  const DataSet data;
  const Tokenizer t = learn_tokenizer({.files = {corpus(data)}, .vocabulary = 768});
  for (const char* word :
       {"what", " colour", " ring", " large", "\xe7\xba\xa2\xe8\x89\xb2", "user", "assistant", "system", " helpful"})
    CHECK_MESSAGE(one_token(t, word), word);
  CHECK(!one_token(t, " violin"));
  CHECK(t.vocab_size() < 768 + 22);  // this little text has no more pairs
  for (const char* text :
       {"what colour is the ring ?", "\xe7\xba\xa2\xe8\x89\xb2 \xe7\x8e\xaf \xf0\x9f\x98\x80", " violin\n\t7"})
    CHECK(t.decode(t.encode(text)) == text);
}

TEST_CASE("conversations, JSON lines and plain text are read; names, paths and picture tags are not text") {
  const DataSet data;
  std::vector<Json> records;
  for (int i = 0; i < 5; ++i)
    records.push_back(record("zebra zebra", "giraffe.png", {"<image>\nwhere is it ?", "upstairs"}));
  const std::string json = data.json(records), plain = data.write("p.txt", "balcony balcony balcony");
  const Tokenizer t = learn_tokenizer({.files = {json, plain}});
  for (const char* word : {"where", "upstairs", "balcony", "user", "assistant"})
    CHECK_MESSAGE(one_token(t, word), word);
  for (const char* word : {"zebra", "giraffe", "human", "image"}) CHECK_MESSAGE(!one_token(t, word), word);
}

TEST_CASE(
    "the files' order does not matter, rare pairs are left alone, and what is written reads as the same tokenizer") {
  const DataSet data;
  const std::string a = corpus(data), b = data.write("b.txt", "violin violin cello");
  const Tokenizer one = learn_tokenizer({.files = {a, b}}), two = learn_tokenizer({.files = {b, a}});
  const std::string text = "what colour is the violin ?<|im_end|>";
  CHECK(one.encode(text) == two.encode(text));
  CHECK(one_token(one, "violin"));
  CHECK(!one_token(one, "cello"));
  CHECK(!one_token(learn_tokenizer({.files = {a, b}, .min_count = 3}), "violin"));

  one.write(data.path("."));
  const Tokenizer read = Tokenizer::read(data.path("."));
  CHECK(read.encode(text) == one.encode(text));
  CHECK(read.vocab_size() == one.vocab_size());
}

TEST_CASE("added tokens of one's own follow Qwen2's, stay in decoded text, and no merge is learnt from their letters") {
  const DataSet data;
  std::string lines;
  for (int i = 0; i < 5; ++i) lines += corpus_line("", "mull : what is it ?", "<mull>pondering</mull>seven");
  const Tokenizer t = learn_tokenizer({.files = {data.write("m.jsonl", lines)}, .added = {"<mull>", "</mull>"}});
  const std::int64_t first = t.bpe().id_limit();
  CHECK(t.token_id("<|file_sep|>") == first + 21);
  CHECK(t.token_id("<mull>") == first + 22);
  CHECK(t.token_id("</mull>") == first + 23);
  CHECK(t.vocab_size() == first + 24);
  const std::string text = "<mull>pondering</mull>seven";
  CHECK(t.encode(text).size() == 4);
  CHECK(t.decode(t.encode(text)) == text);
  for (const char* joined : {"<mull", ">pondering", "</", ">seven"}) CHECK_MESSAGE(!one_token(t, joined), joined);
  CHECK(one_token(t, "mull"));  // the word in the question is text

  t.write(data.path("."));
  CHECK(Tokenizer::read(data.path(".")).encode(text) == t.encode(text));
}

TEST_CASE("what no tokenizer can be learnt from is refused") {
  const DataSet data;
  const auto refusal = [](const LearnTokenizerOptions& o) { return message_of([&] { learn_tokenizer(o); }); };
  CHECK(contains(refusal({}), "data.text: no file is named"));
  CHECK(contains(refusal({.files = {data.path("nowhere.txt")}}), "nowhere.txt"));
  CHECK(contains(refusal({.files = {data.write("e.jsonl", "{\"id\": \"words\"}\n")}}), "there is no text"));
  CHECK(contains(refusal({.files = {data.write("b.jsonl", "{}\n{\n")}}), "b.jsonl:2:"));
  CHECK(contains(refusal({.files = {corpus(data)}, .vocabulary = 255}), "bpe.vocabulary: expected at least 256"));
  CHECK(contains(refusal({.files = {corpus(data)}, .added = {""}}), "bpe.added: an added token is empty"));
  CHECK(contains(refusal({.files = {corpus(data)}, .added = {"<a>", "<a>"}}), "<a>"));
  CHECK(contains(refusal({.files = {corpus(data)}, .added = {"<|im_end|>"}}), "<|im_end|>"));
}
