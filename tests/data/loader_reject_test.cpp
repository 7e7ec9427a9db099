#include <doctest/doctest.h>

#include "store/jsonl.h"
#include "tests/data/loader_fixture.h"

namespace ov::loader_test {
namespace {

// Six records of which three are broken: 2 names no file, 3 has an empty answer, 5 is no record at all.
std::string half_broken(const DataSet& d) {
  d.png("a.png", 30, 30, 1);
  const auto good = [](const char* id) { return record(id, "a.png", {"<image>q", "a"}).dump() + "\n"; };
  return d.write("half.jsonl", good("1") + record("2", "gone.png", {"<image>q", "a"}).dump() + "\n" +
                                   record("3", Json(), {"q", ""}).dump() + "\n" + good("4") + "{\"id\": \n" +
                                   good("6"));
}

LoaderOptions options_of(const std::string& json) {
  LoaderOptions o;
  o.json = json;
  return o;
}

std::vector<Json> lines_of(const std::string& path) {
  std::vector<Json> out;
  JsonlReader reader(path);
  for (Json line; reader.next(&line);) out.push_back(line);
  return out;
}

}  // namespace

TEST_CASE(
    "rejects: broken records leave their slot empty; each is counted and written down once, not once an epoch (R-10)") {
  const DataSet d;
  LoaderOptions options = options_of(half_broken(d));
  options.max_rejects = 3;
  options.rejects_path = d.path("rejects.jsonl");
  Loader loader(options, small_processor());
  std::int64_t good = 0;
  while (loader.position().epoch() < 2) {
    const GlobalStep step = loader.next();
    CHECK(step.samples == 1);
    CHECK((step.tokens > 0) == (step.labelled_tokens > 0));
    good += step.tokens > 0;
  }
  CHECK(good == 6);
  CHECK(loader.position().samples == 12);
  CHECK(loader.position().empty == 6);
  CHECK(loader.rejects()[RejectReason::image_missing] == 1);
  CHECK(loader.rejects()[RejectReason::no_answer] == 1);
  CHECK(loader.rejects()[RejectReason::malformed_record] == 1);
  CHECK(loader.rejects().str() == "malformed_record 1, image_missing 1, no_answer 1");
  CHECK(loader.position().rejected == std::vector<std::int64_t>{1, 2, 4});

  const std::vector<Json> lines = lines_of(options.rejects_path);
  REQUIRE(lines.size() == 3);
  for (const Json& line : lines) {
    CHECK(line.at("epoch").as_int() == 0);
    const std::int64_t number = line.at("record").as_int();
    const std::string reason = line.at("reason").as_string(), message = line.at("message").as_string();
    CHECK(reason == (number == 2 ? "image_missing" : number == 3 ? "no_answer" : "malformed_record"));
    CHECK(contains(message, cat(d.path("half.jsonl"), ":", number)));
    if (number == 2) CHECK(contains(message, "gone.png"));
  }
}

TEST_CASE(
    "rejects: one more than max_rejects ends the run with counts and the last reason, and what was written stays") {
  const DataSet d;
  LoaderOptions options = options_of(half_broken(d));
  options.rejects_path = d.path("rejects.jsonl");
  for (std::int64_t limit = 0; limit < 3; ++limit) {
    options.max_rejects = limit;
    Loader loader(options, small_processor());
    std::string error;
    for (int i = 0; i < 6 && error.empty(); ++i) error = message_of([&] { loader.next(); });
    CHECK(contains(error,
                   cat("half.jsonl: ", limit + 1, " of 6 records rejected, more than data.max_rejects ", limit, " (")));
    CHECK(contains(error, "; the last: "));
    CHECK(message_of([&] { loader.next(); }) == error);  // it stays failed
    CHECK(loader.rejects().total() <= limit);            // counted are those behind delivered steps
    CHECK(static_cast<std::int64_t>(lines_of(options.rejects_path).size()) == limit + 1);
  }
}

TEST_CASE("rejects: a file of which nothing can be used ends the run, whatever the limit") {
  const DataSet d;
  LoaderOptions options =
      options_of(d.json({record("1", "none.png", {"<image>q", "a"}), record("2", Json(), {"q", " "})}));
  options.max_rejects = 1000;
  Loader loader(options, small_processor());
  const std::string error = message_of([&] {
    loader.next();
    loader.next();
  });
  CHECK(contains(error, "2 of 2 records rejected, so none is left to learn from (image_missing 1, no_answer 1)"));
}

TEST_CASE("rejects: a restored loader writes the same lines and drops those that came after its state") {
  const DataSet d;
  LoaderOptions options = options_of(half_broken(d));
  options.rejects_path = d.path("whole.jsonl");
  std::vector<LoaderState> states;
  Loader whole(options, small_processor());
  for (int i = 0; i < 8; ++i) {
    states.push_back(whole.position());
    whole.next();
  }
  const std::string want = read_file(options.rejects_path);
  CHECK(whole.rejects().total() == static_cast<std::int64_t>(lines_of(options.rejects_path).size()));
  for (std::size_t at = 0; at < 8; ++at) {
    options.rejects_path =
        d.write("killed.jsonl", want + "{\"half a li");  // went further than the state, then was killed
    Loader resumed(options, small_processor());
    resumed.restore(states[at]);
    for (std::size_t i = at; i < 8; ++i) resumed.next();
    CHECK(read_file(options.rejects_path) == want);
    CHECK(resumed.position() == whole.position());
  }
}

TEST_CASE("rejects: a full disk is the machine's failure, not the data's, and it is told at once") {
  const DataSet d;
  LoaderOptions options = options_of(half_broken(d));
  options.rejects_path = "/dev/full";
  Loader loader(options, small_processor());
  const auto use = [&] {
    for (int i = 0; i < 6; ++i) loader.next();
  };
  try {
    use();
    FAIL("nothing was thrown");
  } catch (const Error& e) {
    CHECK(e.exit() == Exit::machine_failed);
    CHECK(contains(e.what(), "/dev/full"));
  }
}

TEST_CASE("loader: numbers out of range and pixel limits out of order are refused by their key") {
  const DataSet d;
  const std::string json = d.ten();
  const auto complaint = [&](auto change) {
    LoaderOptions o = options_of(json);
    change(o);
    return message_of([&] { Loader(o, small_processor()); });
  };
  CHECK(complaint([](LoaderOptions&) {}) == "");
  CHECK(contains(complaint([](LoaderOptions& o) { o.samples_per_micro_batch = 0; }),
                 "train.micro_batch_samples: expected"));
  CHECK(contains(complaint([](LoaderOptions& o) { o.micro_batches_per_step = -1; }), "train.micro_batches: expected"));
  CHECK(contains(complaint([](LoaderOptions& o) { o.micro_batches_per_step = INT64_MAX; }),
                 "train.micro_batches 9223372036854775807 of 1: expected at most 1048576 samples or packs in a step"));
  CHECK(contains(complaint([](LoaderOptions& o) { o.samples_per_micro_batch = (std::int64_t{1} << 62) + 1; }),
                 "train.micro_batches 1 of 4611686018427387905: expected at most 1048576"));
  CHECK(contains(complaint([](LoaderOptions& o) { o.max_rejects = -1; }), "data.max_rejects: expected at least 0"));
  CHECK(contains(complaint([](LoaderOptions& o) { o.sample.max_tokens = 0; }), "train.max_tokens: expected"));
  CHECK(
      contains(complaint([](LoaderOptions& o) { o.limits.max_pixels = 1; }), "expected 1 <= min_pixels <= max_pixels"));

  LoaderOptions smaller = options_of(json);
  smaller.limits.max_pixels = 28 * 28;
  CHECK(Loader(smaller, small_processor()).processor().images().max_pixels == 28 * 28);
  CHECK(Loader(smaller, small_processor()).next().patches <= 4 * 2);
}

}  // namespace ov::loader_test
