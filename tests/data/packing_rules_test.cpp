// Rules about what stands in a packed row, as the original's traps teach them (codes as in whole_model_test.cpp): a
// caption without a question, an over-long sample among others, rows that are not full, and variables of the
// environment.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "tests/data/pack_fixture.h"
#include "text/chat.h"

namespace ov::loader_test {
namespace {

using Ids = std::vector<std::int64_t>;

const char* question_only = "<image>";

// What is learnt of a segment, as text.
std::string learnt(const MicroBatch& b, const TokenSegment& s) {
  static const Tokenizer t = Tokenizer::read("data/tokenizer");
  Ids out;
  for (std::int64_t i = s.begin; i < s.begin + s.length; ++i)
    if (const auto l = b.labels[static_cast<std::size_t>(i)]; l != ignored_label) out.push_back(l);
  return t.decode(out, false);
}

// Ten records on one picture, "0" to "9"; those of `long_ones` have an answer of 300 letters.
std::string ten_answers(const DataSet& d, const std::set<int>& long_ones) {
  d.png("a.png", 28, 28, 1);
  std::vector<Json> records;
  for (int i = 0; i < 10; ++i)
    records.push_back(record(cat(i), "a.png", {"<image>q", long_ones.contains(i) ? std::string(300, 'x') : cat(i)}));
  return d.json(records);
}

// How often each answer comes in the next `steps` steps; every row must have its full number of samples.
std::map<std::string, int> answers_of(StepSource& loader, int steps, std::int64_t samples_per_row) {
  std::map<std::string, int> out;
  for (int k = 0; k < steps; ++k)
    for (const MicroBatch& b : loader.next().micro_batches) {
      if (samples_per_row > 0) CHECK(b.samples == samples_per_row);
      for (const TokenSegment& s : b.segments) ++out[learnt(b, s)];
    }
  return out;
}

// A variable of the environment, put back afterwards.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    ::setenv(name, value, 1);
  }
  ~Variable() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }
  Variable(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

// Whether segments cover the row one after another, without a token before, between or behind them.
bool covered(const MicroBatch& b) {
  std::int64_t end = 0;
  for (const TokenSegment& s : b.segments) {
    if (s.begin != end || s.length < 1) return false;
    end += s.length;
  }
  return end == b.tokens();
}

}  // namespace

TEST_CASE(
    "a caption whose question is nothing but <image>: the whole instruction is empty, the answer is learnt (T-13)") {
  const DataSet d;
  const std::string png = d.png("a.png", 56, 28, 3);
  TarWriter tar(d.path("c.tar"));
  tar.add("x.png", read_file(png));
  tar.add("x.txt", "a ring");
  tar.finish();
  const Processor p = small_processor();
  const Tokenizer& t = p.tokenizer();
  const ChatTokens c = ChatTokens::of(t);
  Ids want = t.encode("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n");
  for (const std::int64_t id : {c.vision_start, c.image_pad, c.image_pad, c.vision_end}) want.push_back(id);
  for (const std::int64_t id : t.encode("<|im_end|>\n<|im_start|>assistant\na ring<|im_end|>")) want.push_back(id);

  for (const std::string& data : {d.json({record("r", "a.png", {question_only, "a ring"})}), d.path("c.tar")})
    for (const TurnLayout turns : {TurnLayout::conversation, TurnLayout::shared_prefix}) {
      CAPTURE(data);
      LoaderOptions o;
      o.json = data;
      o.sample.turns = turns;
      Loader loader(o, p);
      const MicroBatch b = loader.next().micro_batches.at(0);
      CHECK(loader.rejects().total() == 0);
      CHECK(b.input_ids == want);
      CHECK(learnt(b, {0, b.tokens(), -1}) == "a ring<|im_end|>");
      CHECK(b.pixel_values.dim(0) == 8);
    }
  // The twin: with a word of a question the same row has more tokens.
  const Sample asked =
      make_sample(ConversationFile(d.json({record("r", "a.png", {"<image>q", "a ring"})})).read(0), p, {});
  CHECK(asked.ids.size() == want.size() + 1);
}

TEST_CASE("an over-long sample leaves its slot empty, and those around it in the row stay (T-19)") {
  const DataSet d;
  const std::string json = ten_answers(d, {2, 3, 7});
  LoaderOptions o;
  o.json = json;
  o.sample.max_tokens = 200;
  o.samples_per_micro_batch = 10;  // an epoch, so the long ones fall between the others
  Loader loader(o, small_processor());
  const auto got = answers_of(loader, 2, 10);
  CHECK(got.size() == 7);
  for (const int i : {0, 1, 4, 5, 6, 8, 9}) CHECK(got.at(cat(i, "<|im_end|>")) == 2);
  const LoaderState& s = loader.position();
  CHECK(s.epoch() == 2);
  CHECK(s.empty == 6);
  CHECK(s.rejects[RejectReason::over_length] == 3);
  CHECK(s.rejects.total() == 3);

  o.sample.max_tokens = 400;  // the twin: nothing is too long
  Loader all(o, small_processor());
  CHECK(answers_of(all, 10, 10).size() == 8);
  CHECK(all.rejects().total() == 0);
}

TEST_CASE("packing leaves out the over-long samples alone, under their reason; every other one is in a pack (T-19)") {
  const DataSet d;
  PackOptions o = pack_options(d, ten_answers(d, {2, 3, 7}), 200);
  const PackReport report = pack_data(o, small_processor());
  CHECK(report.records == 10);
  CHECK(report.samples == 7);
  CHECK(report.rejects[RejectReason::over_length] == 3);
  CHECK(report.rejects.total() == 3);
  std::set<std::int64_t> lines;
  for (const Json& line : reject_lines(o)) {
    CHECK(line.at("reason").as_string() == "over_length");
    lines.insert(line.at("record").as_int());
  }
  CHECK(lines == std::set<std::int64_t>{3, 4, 8});
  PackedLoaderOptions l;
  l.index = o.out;
  PackedLoader loader(l, small_processor());
  CHECK(loader.index().packs.size() < 7);  // some share a row
  const auto got = answers_of(loader, static_cast<int>(loader.index().packs.size()), 0);
  CHECK(got.size() == 7);
  for (const int i : {0, 1, 4, 5, 6, 8, 9}) CHECK(got.at(cat(i, "<|im_end|>")) == 1);
}

TEST_CASE("of a pack that the original made, the over-long conversation alone is counted, not the whole pack (T-19)") {
  const DataSet d;
  TarWriter tar(d.path("packed.tar"));
  const std::string png = read_file(d.png("a.png", 28, 28, 1));
  for (int i = 0; i < 3; ++i) tar.add(cat("ps_0.img", i, ".png"), png);
  tar.add("ps_0.json", Json::object({{"prompts", Json(std::vector<std::string>{"<image>", "<image>", "<image>"})},
                                     {"captions", Json(std::vector<std::string>{"A", std::string(300, 'x'), "C"})}})
                           .dump());
  tar.finish();
  LoaderOptions o;
  o.json = d.path("packed.tar");
  o.sample.max_tokens = 200;
  o.samples_per_micro_batch = 3;
  Loader loader(o, small_processor());
  for (int epoch = 0; epoch < 2; ++epoch)
    CHECK(answers_of(loader, 1, 3) == std::map<std::string, int>{{"A<|im_end|>", 1}, {"C<|im_end|>", 1}});
  CHECK(loader.rejects()[RejectReason::over_length] == 1);
  CHECK(loader.rejects().total() == loader.rejects()[RejectReason::over_length]);

  PackOptions packing = pack_options(d, d.path("packed.tar"), 200);
  const PackReport report = pack_data(packing, small_processor());
  CHECK(report.samples == 2);
  CHECK(report.rejects[RejectReason::over_length] == 1);
  CHECK(contains(reject_lines(packing).at(0).at("message").as_string(), "sample 'ps_0', conversation 2: "));
}

TEST_CASE("a row that is not full holds no padding: its segments end where it ends (M-19, T-17, R-07)") {
  const DataSet d;
  const std::string json = d.ten();
  for (const TurnLayout turns : {TurnLayout::conversation, TurnLayout::shared_prefix}) {
    PackOptions o = pack_options(d, json, 500);
    o.turns = turns;
    pack_data(o, small_processor());
    PackedLoaderOptions l;
    l.index = o.out;
    PackedLoader packed(l, small_processor());
    LoaderOptions plain;
    plain.json = json;
    plain.sample.turns = turns;
    plain.samples_per_micro_batch = 3;
    Loader loader(plain, small_processor());
    std::int64_t short_rows = 0;
    for (int k = 0; k < 8; ++k) {
      for (const MicroBatch& b : {packed.next().micro_batches.at(0), loader.next().micro_batches.at(0)}) {
        CHECK(covered(b));
        CHECK(b.positions.size() == b.input_ids.size());
        const Tokenizer& t = packed.processor().tokenizer();
        CHECK(std::count(b.input_ids.begin(), b.input_ids.end(), *t.token_id("<|endoftext|>")) == 0);
        short_rows += b.tokens() < 500;
      }
    }
    CHECK(short_rows > 0);
    CHECK(packed.position().padding > 0);  // is counted, and not in any row
  }
  MicroBatch tail;  // the twin
  tail.input_ids = {1, 2, 3};
  tail.segments = {{0, 2, -1}};
  CHECK(!covered(tail));
}

TEST_CASE("no variable of the environment decides how samples are packed (T-18)") {
  const DataSet d;
  const std::string json = d.ten();
  const auto steps_of = [&] {
    LoaderOptions plain;
    plain.json = json;
    plain.samples_per_micro_batch = 3;
    Loader loader(plain, small_processor());
    PackOptions o = pack_options(d, json, 500);
    pack_data(o, small_processor());
    PackedLoaderOptions l;
    l.index = o.out;
    PackedLoader packed(l, small_processor());
    std::vector<GlobalStep> steps;
    for (int k = 0; k < 5; ++k) steps.push_back(loader.next()), steps.push_back(packed.next());
    return steps;
  };
  const auto want = steps_of();
  for (int bits = 0; bits < 8; ++bits) {
    const auto value = [&](int bit) { return bits >> bit & 1 ? "1" : "0"; };
    const Variable vqa("OFFLINE_PACKING_VQA", value(0)), bmr("OFFLINE_PACKING_BMR", value(1)),
        data("OFFLINE_PACKED_DATA", value(2));
    const auto got = steps_of();
    REQUIRE(got.size() == want.size());
    for (std::size_t k = 0; k < got.size(); ++k) CHECK(same(got[k], want[k]));
  }
  for (std::size_t k = 0; k < want.size(); ++k)  // segments, more than one: the rows are packed
    CHECK(want[k].micro_batches[0].segments.size() == static_cast<std::size_t>(want[k].micro_batches[0].samples));
  CHECK(!same(want[0], want[2]));  // the comparison can fail
}

// kernels/gpu/cublaslt.* and nccl.* take away or set the variables that the vendor's libraries would ask for, and may
// do no more.
// src/comm/rank_in_job.cpp asks which rank a process is, and src/serve/http.cpp whether a library can be loaded late;
// neither changes a bit.
TEST_CASE("the library asks no variable of the environment but which rank it is and how it is linked (T-03, T-18)") {
  const auto asks = [](const std::string& text) {
    for (const char* word : {"getenv", "environ"})
      if (contains(text, word)) return true;
    return false;
  };
  int files = 0;
  for (const char* room : {"src", "kernels"})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(room)) {
      if (!entry.is_regular_file()) continue;
      ++files;
      const std::string path = entry.path().string(), text = read_file(path);
      const auto uses = [&](const char* call) {
        int n = 0;
        for (std::size_t at = 0; (at = text.find(call, at)) != std::string::npos; ++at) ++n;
        return n;
      };
      const bool removes = path.starts_with("kernels/gpu/cublaslt.") &&
                           uses("getenv(name)) continue;") == uses("getenv") &&
                           uses("unsetenv(name);") == uses("getenv(name)) continue;");
      const bool settles = path.starts_with("kernels/gpu/nccl.") && uses("= std::getenv(v.name);") == uses("getenv") &&
                           uses("v.value ? setenv(v.name, v.value, 1) : unsetenv(v.name);") * 2 == uses("setenv(");
      const bool rank = path == "src/comm/rank_in_job.cpp" && uses("return std::getenv(name);") == uses("getenv");
      const bool linked = path == "src/serve/http.cpp" && uses("std::getenv(\"LD_BIND_NOW\")") == uses("getenv");
      const bool hidden =  // an error says so
          path == "kernels/gpu/cuda_runtime.cpp" && uses("std::getenv(\"CUDA_VISIBLE_DEVICES\")") == uses("getenv");
      CHECK_MESSAGE((removes || settles || rank || linked || hidden || !asks(text)), path);
    }
  CHECK(files > 100);
  CHECK(asks("std::getenv(\"OFFLINE_PACKED_DATA\")"));
}

}  // namespace ov::loader_test
