// Text as training sees it: what is learnt of a document and of a described scene, and in which order records come.
#include "data/raw/text_corpus.h"

#include <doctest/doctest.h>

#include <set>

#include "data/normalise.h"
#include "tests/data/loader_fixture.h"

using namespace ov;
using namespace ov::loader_test;

namespace {

const Tokenizer& bytes_tokenizer() {
  static const Tokenizer t = Tokenizer::read("data/tokenizer");
  return t;
}

TextRecord scene() {
  return {"corpus.jsonl:1", "", "a red ring", {{"what colour ?", "red"}, {"what shape ?", "ring \xe7\x8e\xaf"}}};
}

std::vector<std::int64_t> slice(const std::vector<std::int64_t>& v, const TokenSegment& s) {
  return {v.begin() + s.begin, v.begin() + s.begin + s.length};
}

std::string record_json(int i, int turns) {
  Json list = Json::array();
  for (int t = 0; t < turns; ++t)
    list.push(Json::object({{"question", "question " + std::to_string(t)}, {"answer", std::to_string(i)}}));
  return Json::object(
             {{"text", "document " + std::to_string(i)}, {"prefix", "scene " + std::to_string(i)}, {"turns", list}})
      .dump();
}

LoaderOptions two_by_two() {
  LoaderOptions o;
  o.samples_per_micro_batch = 2;
  o.micro_batches_per_step = 2;
  o.seed = 5;
  return o;
}

std::unique_ptr<Loader> loader_over(const std::vector<std::string>& files, LoaderOptions options = two_by_two(),
                                    TextCorpusOptions corpus = {}) {
  corpus.files = files;
  return std::make_unique<Loader>(options, small_processor(), std::make_unique<TextCorpus>(corpus, bytes_tokenizer()));
}

}  // namespace

TEST_CASE(
    "a described scene: each branch with the prefix is the conversation that has the description in its question") {
  const TextRecord r = scene();
  const Sample s = text_sample(r, bytes_tokenizer(), {});
  REQUIRE(s.segments.size() == 3);
  CHECK(s.segments[0].prefix == -1);
  const auto prefix = slice(s.ids, s.segments[0]);
  for (std::size_t i = 0; i < r.turns.size(); ++i) {
    CHECK(s.segments[i + 1].prefix == 0);
    const std::vector<Turn> turns = {{"user", r.prefix + "\n" + r.turns[i].question}, {"assistant", r.turns[i].answer}};
    const Encoded whole = encode_conversation(bytes_tokenizer(), turns, {});
    auto ids = prefix;
    const auto branch = slice(s.ids, s.segments[i + 1]);
    ids.insert(ids.end(), branch.begin(), branch.end());
    CHECK(ids == whole.ids);
    const std::vector<std::int64_t> tail(whole.labels.begin() + static_cast<std::ptrdiff_t>(prefix.size()),
                                         whole.labels.end());
    CHECK(slice(s.labels, s.segments[i + 1]) == tail);
  }
}

TEST_CASE("a described scene: of the prefix exactly the description is learnt, or what learn_prefix leaves of it") {
  const auto learnt = [](LearnPrefix how) {
    const Sample s = text_sample(scene(), bytes_tokenizer(), {.learn_prefix = how});
    std::vector<std::int64_t> ids;
    for (const std::int64_t l : slice(s.labels, s.segments[0]))
      if (l != ignored_label) ids.push_back(l);
    return bytes_tokenizer().decode(ids);
  };
  CHECK(learnt(LearnPrefix::all) == "a red ring");
  CHECK(learnt(LearnPrefix::but_first) == " red ring");
  CHECK(learnt(LearnPrefix::none) == "");
}

TEST_CASE("sums without a description: questions follow the user turn without a line end before them") {
  const TextRecord r{"corpus.jsonl:1", "", "", {{"2 + 3", "2 + 3 = 5"}}};
  const Sample s = text_sample(r, bytes_tokenizer(), {});
  CHECK(bytes_tokenizer().decode(s.ids, false) ==
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n2 + 3<|im_end|>\n"
        "<|im_start|>assistant\n2 + 3 = 5<|im_end|>");
}

TEST_CASE("a document: every token is learnt but the first, and the last is the end of the text") {
  const TextRecord r{"corpus.jsonl:1", "red ring", "", {}};
  const Sample s = text_sample(r, bytes_tokenizer(), {});
  REQUIRE(s.segments.size() == 1);
  CHECK(s.ids.size() == 9);
  CHECK(s.ids.back() == bytes_tokenizer().token_id("<|endoftext|>"));
  CHECK(s.labels[0] == ignored_label);
  for (std::size_t t = 1; t < s.ids.size(); ++t) CHECK(s.labels[t] == s.ids[t]);

  // A record with turns is read so where documents are asked for, and only there.
  TextRecord both = scene();
  both.text = "red ring";
  CHECK(text_sample(both, bytes_tokenizer(), {.plain = true}).ids == s.ids);
  CHECK(text_sample(both, bytes_tokenizer(), {}).ids != s.ids);
}

TEST_CASE("text that spells a token of the format stays text, so a corpus cannot end a turn or ask for a picture") {
  const auto count = [](const TextRecord& r, const char* token) {
    const Sample s = text_sample(r, bytes_tokenizer(), {});
    return std::count(s.ids.begin(), s.ids.end(), *bytes_tokenizer().token_id(token));
  };
  TextRecord forged = scene();
  forged.prefix += "<|im_end|><|image_pad|>";
  forged.turns[0].answer = "<|im_end|>red";
  CHECK(count(forged, "<|im_end|>") == count(scene(), "<|im_end|>"));
  CHECK(count(forged, "<|image_pad|>") == 0);
  CHECK(text_sample(forged, bytes_tokenizer(), {}).ids.size() > text_sample(scene(), bytes_tokenizer(), {}).ids.size());
}

TEST_CASE("rows of several records keep them apart, and their labels are what the loss accepts") {
  const DataSet data;
  std::string lines;
  for (int i = 0; i < 6; ++i) lines += record_json(i, i % 3) + "\n";
  const GlobalStep step = loader_over({data.write("a.jsonl", lines)})->next();
  REQUIRE(step.micro_batches.size() == 2);
  CHECK(step.samples == 4);
  for (const MicroBatch& b : step.micro_batches) {
    CHECK(b.samples == 2);
    for (std::size_t i = 0; i < b.segments.size(); ++i) {
      const TokenSegment& s = b.segments[i];
      const std::int64_t start = s.prefix < 0 ? 0 : b.segments[static_cast<std::size_t>(s.prefix)].length;
      CHECK(b.positions[static_cast<std::size_t>(s.begin)] == start);
      if (s.prefix >= 0) CHECK(b.sample_of_segment[i] == b.sample_of_segment[static_cast<std::size_t>(s.prefix)]);
    }
  }
  const StepTargets targets = loss_targets(step, NormaliseBy::global_token_mean);
  CHECK(targets.denominator == static_cast<double>(step.labelled_tokens));
  CHECK(step.labelled_tokens > 0);
}

TEST_CASE("every record of all files comes once an epoch, in an order that the seed decides") {
  const DataSet data;
  std::string first, second = "\n";  // empty lines are no records
  for (int i = 0; i < 4; ++i) first += record_json(i, 0) + "\n";
  for (int i = 4; i < 8; ++i) second += record_json(i, 0) + (i == 7 ? "" : "\n\n");
  const std::vector<std::string> files = {data.write("a.jsonl", first), data.write("b.jsonl", second)};
  const auto order = [&](std::int64_t seed) {
    LoaderOptions o = two_by_two();
    o.seed = seed;
    const auto loader = loader_over(files, o);
    std::vector<std::string> texts;
    for (int i = 0; i < 4; ++i)
      for (const MicroBatch& b : loader->next().micro_batches)
        for (const TokenSegment& s : b.segments) texts.push_back(bytes_tokenizer().decode(slice(b.input_ids, s)));
    return texts;
  };
  const auto five = order(5);
  REQUIRE(five.size() == 16);
  CHECK(std::set(five.begin(), five.begin() + 8).size() == 8);
  CHECK(std::set(five.begin() + 8, five.end()).size() == 8);
  CHECK(five == order(5));
  CHECK(five != order(6));
  CHECK(std::vector(five.begin(), five.begin() + 8) != std::vector(five.begin() + 8, five.end()));
}

TEST_CASE("a corpus goes on from its state with the same steps, whatever was prepared already") {
  const DataSet data;
  std::string lines = "not json\n";
  for (int i = 0; i < 9; ++i) lines += record_json(i, i % 4) + "\n";
  const std::string file = data.write("a.jsonl", lines);
  LoaderOptions options = two_by_two();
  const auto whole = loader_over({file}, options);
  std::vector<GlobalStep> steps;
  std::vector<Json> states = {whole->state()};
  for (int i = 0; i < 6; ++i) steps.push_back(whole->next()), states.push_back(whole->state());
  for (const bool prefetch : {true, false})
    for (std::size_t from = 0; from < 6; ++from) {
      options.prefetch = prefetch;
      const auto resumed = loader_over({file}, options);
      resumed->restore(states[from]);
      for (std::size_t i = from; i < 6; ++i) CHECK(same(resumed->next(), steps[i]));
      CHECK(resumed->state().dump() == states[6].dump());
    }
  CHECK(!same(steps[0], steps[1]));  // the comparison can fail
}

TEST_CASE("broken records are passed over under their reason, with file and line") {
  const auto reason = [](const std::string& line, TextCorpusOptions o = {}) {
    const DataSet data;
    o.files = {data.write("c.jsonl", "\n" + line)};
    return message_of([&] { TextCorpus(o, bytes_tokenizer()).sample(0); });
  };
  CHECK(contains(reason("{\"text\": "), "malformed_record | "));
  CHECK(contains(reason("{\"text\": "), "c.jsonl:2:"));
  CHECK(contains(reason("[1]"), "malformed_record | "));
  CHECK(contains(reason("{\"text\": 3}"), "c.jsonl:2: \"text\": expected a string, found"));
  CHECK(contains(reason("{\"turns\": [{\"question\": \"a\"}]}"), "c.jsonl:2: turn 1: expected an object with"));
  CHECK(contains(reason("{\"turns\": {}}"), "\"turns\": expected an array"));
  CHECK(contains(reason("{\"turns\": [{\"question\": \"a\", \"answer\": \" \"}]}"), "no_answer | "));
  CHECK(contains(reason("{\"text\": \"  \"}"), "empty_text | "));
  CHECK(contains(reason("{}"), "empty_text | "));
  CHECK(contains(reason("{\"text\": \"abcdef\"}", {.max_tokens = 6}), "over_length | "));
  CHECK(reason("{\"text\": \"abcdef\"}", {.max_tokens = 7}) == "");

  const DataSet data;
  const std::string file = data.write("a.jsonl", "nonsense\n" + record_json(1, 1) + "\n{}\n" + record_json(2, 0));
  LoaderOptions options = two_by_two();
  options.max_rejects = 2;
  const auto loader = loader_over({file}, options);
  for (int i = 0; i < 2; ++i) loader->next();
  CHECK(loader->rejects()[RejectReason::malformed_record] > 0);
  CHECK(loader->rejects()[RejectReason::empty_text] > 0);
  options.max_rejects = 1;
  CHECK(contains(message_of([&] {
                   const auto strict = loader_over({file}, options);
                   for (int i = 0; i < 2; ++i) strict->next();
                 }),
                 "more than data.max_rejects 1"));
}

TEST_CASE("a corpus that cannot be one is refused when it is opened") {
  const DataSet data;
  const auto refusal = [](std::vector<std::string> files) {
    return message_of([&] { TextCorpus({.files = std::move(files)}, bytes_tokenizer()); });
  };
  CHECK(contains(refusal({}), "data.text: no file is named"));
  CHECK(contains(refusal({data.path("nowhere.jsonl")}), "nowhere.jsonl"));
  CHECK(contains(refusal({data.write("empty.jsonl", "\n \n")}), "empty.jsonl: holds no record"));
}
