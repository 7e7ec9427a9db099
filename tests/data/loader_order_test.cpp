#include <doctest/doctest.h>

#include <set>

#include "base/parallel.h"
#include "tests/data/loader_fixture.h"

namespace ov::loader_test {
namespace {

LoaderOptions options_of(const std::string& json) {
  LoaderOptions o;
  o.json = json;
  o.samples_per_micro_batch = 2;
  o.micro_batches_per_step = 2;
  o.seed = 5;
  return o;
}

std::vector<GlobalStep> steps(Loader& loader, int n) {
  std::vector<GlobalStep> out;
  for (int i = 0; i < n; ++i) out.push_back(loader.next());
  return out;
}

bool same(const std::vector<GlobalStep>& a, const std::vector<GlobalStep>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const GlobalStep& x, const GlobalStep& y) { return loader_test::same(x, y); });
}

// Text-only records that answer with their own number, so that the order can be read from the batches.
std::string numbered(const DataSet& d, int n, const std::set<int>& broken = {}) {
  std::vector<Json> records;
  for (int i = 0; i < n; ++i)
    records.push_back(record(std::to_string(i), Json(), {"which?", broken.count(i) ? "" : std::to_string(i)}));
  return d.json(records, "numbered.json");
}

std::vector<int> numbers(const GlobalStep& step, const Tokenizer& tokenizer) {
  std::vector<int> out;
  for (const MicroBatch& b : step.micro_batches)
    for (const TokenSegment& s : b.segments) {
      std::vector<std::int64_t> answer;
      for (std::int64_t t = s.begin; t < s.begin + s.length; ++t)
        if (b.labels[static_cast<std::size_t>(t)] != ignored_label)
          answer.push_back(b.labels[static_cast<std::size_t>(t)]);
      out.push_back(std::stoi(tokenizer.decode(answer)));
    }
  return out;
}

}  // namespace

TEST_CASE(
    "loader: position p of epoch e is record Permutation(n, seed, e)(p), and epochs follow without a seam (T-30, R-22, "
    "R-23)") {
  const DataSet d;
  const Processor p = small_processor();
  const LoaderOptions options = options_of(numbered(d, 7));
  Loader loader(options, p);
  std::vector<int> got, want;
  for (const GlobalStep& s : steps(loader, 7))
    for (const int n : numbers(s, p.tokenizer())) got.push_back(n);  // 28 = 4 epochs
  for (std::uint64_t e = 0; e < 4; ++e)
    for (int i = 0; i < 7; ++i) want.push_back(static_cast<int>(Permutation(7, 5, e)(i)));
  CHECK(got == want);
  CHECK(std::vector<int>(got.begin(), got.begin() + 7) != std::vector<int>(got.begin() + 7, got.begin() + 14));
  CHECK(loader.position().epoch() == 4);
  CHECK(loader.position().position() == 0);

  LoaderOptions other = options;
  other.seed = 6;
  Loader twin(other, p);
  CHECK(numbers(twin.next(), p.tokenizer()) != std::vector<int>(got.begin(), got.begin() + 4));
}

TEST_CASE(
    "loader: threads, prefetching, the cache and the split into micro-batches leave no trace in the order (R-24)") {
  const DataSet d;
  const Processor p = small_processor();
  for (const TurnLayout turns : {TurnLayout::conversation, TurnLayout::shared_prefix}) {
    LoaderOptions options = options_of(d.ten());
    options.sample.turns = turns;
    Loader reference(options, p);
    const std::vector<GlobalStep> want = steps(reference, 7);
    const int before = threads();
    for (const int n : {1, 2, 3}) {
      set_threads(n);
      for (const bool prefetch : {true, false}) {
        for (const std::int64_t cache : {std::int64_t{0}, std::int64_t{100000}, std::int64_t{1} << 30}) {
          LoaderOptions o = options;
          o.prefetch = prefetch;
          o.cache_bytes = cache;
          Loader loader(o, p);
          CHECK(same(steps(loader, 7), want));
          CHECK(loader.position() == reference.position());
        }
      }
    }
    set_threads(before);

    LoaderOptions split = options;
    split.samples_per_micro_batch = 1;
    split.micro_batches_per_step = 4;
    Loader single(split, p);
    for (const GlobalStep& s : want) {
      const GlobalStep other = single.next();
      CHECK(other.micro_batches.size() == 4);
      CHECK(other.tokens == s.tokens);
      CHECK(other.labelled_tokens == s.labelled_tokens);
      std::vector<std::int64_t> a, b;
      for (const MicroBatch& m : s.micro_batches) a.insert(a.end(), m.input_ids.begin(), m.input_ids.end());
      for (const MicroBatch& m : other.micro_batches) b.insert(b.end(), m.input_ids.begin(), m.input_ids.end());
      CHECK(a == b);
    }
  }
}

TEST_CASE("loader: restored at any step, across epochs, it goes on with the same bits and the same counts") {
  const DataSet d;
  const Processor p = small_processor();
  const LoaderOptions options = options_of(d.ten());
  Loader whole(options, p);
  std::vector<std::string> states = {whole.state().dump()};
  std::vector<GlobalStep> want;
  for (int i = 0; i < 8; ++i) {  // 32 samples of 10 records: three borders, two of them inside a step
    want.push_back(whole.next());
    states.push_back(whole.state().dump());
  }
  Loader jumping(options, p);
  for (std::size_t at : {7, 0, 3, 2, 5, 4, 6, 1}) {
    jumping.restore(Json::parse(states[at], "state"));
    for (std::size_t i = at; i < want.size(); ++i) {
      CHECK(loader_test::same(jumping.next(), want[i]));
      CHECK(jumping.state().dump() == states[i + 1]);
    }
  }
  // Every position, also those between two steps of this size.
  LoaderOptions one = options;
  one.samples_per_micro_batch = one.micro_batches_per_step = 1;
  Loader single(one, p);
  for (int i = 0; i < 25; ++i) {
    Loader again(one, p);
    again.restore(single.position());
    CHECK(loader_test::same(again.next(), single.next()));
    CHECK(again.position() == single.position());
  }
  // The twin: one step further is another.
  LoaderState off = LoaderState::from_json(Json::parse(states[3], "state"), "state");
  ++off.step;
  jumping.restore(off);
  CHECK(!loader_test::same(jumping.next(), want[3]));
}

TEST_CASE("loader state: reads back as written, and a damaged or foreign one is refused") {
  const DataSet d;
  const Processor p = small_processor();
  Loader loader(options_of(numbered(d, 5, {2})), p);
  loader.next();
  loader.next();
  const LoaderState s = loader.position();
  CHECK(s.rejects[RejectReason::no_answer] >= 1);
  CHECK(s.samples == 8);
  CHECK(s.empty >= 1);
  CHECK(s.rejected == std::vector<std::int64_t>{2});
  CHECK(s.padding == 0);
  CHECK(LoaderState::from_json(Json::parse(s.json().dump(), "s"), "s") == s);

  const auto complaint = [&](const char* key, const Json& value) {
    Json j = s.json();
    j.set(key, value);
    return message_of([&] { loader.restore(j); });
  };
  CHECK(complaint("step", s.step) == "");
  CHECK(contains(complaint("step", "two"), "loader state: step: expected an integer of at least 0, found \"two\""));
  CHECK(contains(complaint("step", INT64_MAX / 4), "expected a step from 0 to "));
  CHECK(contains(complaint("samples", -1), "loader state: samples: expected an integer of at least 0, found -1"));
  CHECK(contains(complaint("rejects", 3),
                 cat("loader state: rejects: expected an object of ", reject_reasons, " counts")));
  CHECK(contains(complaint("rejected", Json::array()), "loader state: rejects: counts 1 records, but 0 are named"));
  CHECK(contains(complaint("records", 6), "holds 5 records, but the state to resume from is of 6"));
  CHECK(contains(complaint("data", "0123"), "numbered.json: is not the data of the state to resume from"));
  CHECK(contains(complaint("seed", 9), "data.seed is 5, but in the state to resume from it is 9"));
  CHECK(contains(complaint("samples_of_step", 8), "a step has 4 samples or packs, but in the state to resume from"));
  CHECK(contains(message_of([&] { loader.restore(Json::object()); }), "loader state: data: missing"));
}

TEST_CASE("loader: counts of samples, tokens, labels and patches are those of what was delivered") {
  const DataSet d;
  const Processor p = small_processor();
  Loader loader(options_of(d.ten()), p);
  std::int64_t samples = 0, tokens = 0, labels = 0;
  for (const GlobalStep& s : steps(loader, 5)) {
    std::int64_t patches = 0, step_labels = 0, step_tokens = 0;
    for (const MicroBatch& b : s.micro_batches) {
      for (const auto& g : b.grids) patches += g[0] * g[1] * g[2];
      step_labels += std::count_if(b.labels.begin(), b.labels.end(), [](std::int64_t l) { return l >= 0; });
      step_tokens += b.tokens();
    }
    CHECK(s.samples == 4);
    CHECK(s.patches == patches);
    CHECK(s.labelled_tokens == step_labels);
    CHECK(s.tokens == step_tokens);
    samples += s.samples, tokens += s.tokens, labels += s.labelled_tokens;
  }
  CHECK(loader.position().samples == samples);
  CHECK(loader.position().tokens == tokens);
  CHECK(loader.position().labelled_tokens == labels);
  CHECK(loader.position().epoch() == 2);
}

}  // namespace ov::loader_test
