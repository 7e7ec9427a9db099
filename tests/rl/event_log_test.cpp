// The event log of mode disaggregated: what it may ask for.
#include "rl/event_log.h"

#include <doctest/doctest.h>

#include "base/io/file.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

namespace ov::test {

using namespace rl;

TEST_CASE("rl: an event log that is damaged is refused with its line before anything is done") {
  const ScratchDirectory dir;
  const EventBounds bounds{.prompts = 2, .group = 2, .staleness = 1, .most_groups = 3, .max_new_tokens = 8};
  const std::string path = dir / "run.jsonl";
  const std::string first = R"({"begun":4,"taken":[0,2],"tokens":"aa","drawn":[[0,[3,8]],[2,[1,1]],[1,[2,0]]]})";
  const auto step = [](int number, const std::string& events) {
    return cat(R"({"type":"step","step":)", number, R"(,"events":)", events, "}\n");
  };
  const auto read = [&](const std::string& second) {
    write_durably(path, "{\"type\":\"run\"}\n" + step(1, first) + second);
    return read_event_log(path, bounds);
  };
  const auto whole =
      read(step(2, R"({"begun":6,"taken":[3,1],"tokens":"b","drawn":[[1,[6,8]],[3,[8,1]]],"lost":[2]})"));
  REQUIRE(whole.size() == 2);
  CHECK(whole[0].begun == 4);
  CHECK(whole[1].taken == std::vector<std::int64_t>{3, 1});
  CHECK(whole[1].drawn[0].tokens == std::vector<std::int64_t>{6, 8});
  CHECK(whole[1].written.at("lost")[0].as_int() == 2);
  const auto says = [&](const std::string& second, const std::string& what) {
    const std::string said = thrown([&] { read(second); }, Exit::wrong_input);
    CHECK_MESSAGE(contains(said, "run.jsonl:3: " + what), said);
  };
  const auto events = [&](const std::string& begun, const std::string& taken, const std::string& drawn) {
    return step(2, cat(R"({"begun":)", begun, R"(,"taken":)", taken, R"(,"tokens":"b","drawn":)", drawn, "}"));
  };
  const std::string taken = "[3,1]", drawn = "[[1,[6,8]],[3,[8,1]]]";
  says(R"({"type":"step","step":2})"
       "\n",
       "expected a step with its events (begun, taken, tokens, drawn)");
  says(step(3, first), "expected step 2, found 3; log.every must have been 1");
  says(events("3", taken, drawn), "events: begun: 3 groups, and the step before has 4");
  says(events("9000000000000000000", taken, drawn), "events: begun: 9000000000000000000 groups, and with 2 prompts");
  says(events("7", taken, drawn), "events: begun: 7 groups, and with 2 prompts a step and staleness 1 at most 6");
  says(events("6.5", taken, drawn), "events: begun: expected an integer, found 6.5");
  says(events("6", "[3]", drawn), "events: taken: expected 2 groups, found 1");
  says(events("6", "[3,0]", drawn), "events: taken: group 0 was taken before");
  says(events("6", "[3,4]", drawn), "events: taken: group 4 has no tokens");
  says(events("6", "7", drawn), "events: taken: expected a list, found 7");
  says(events("6", taken, "[[1,[6,8]],[7,[8,1]]]"), "events: drawn: group 7, of 6 that are begun");
  says(events("6", taken, "[[0,[1,0]]]"), "events: drawn: group 0 was taken before");
  says(events("6", taken, "[[1,[1,0]],[1,[1,0]]]"), "events: drawn: group 1 stands twice");
  says(events("6", taken, "[[1,[1]]]"), "events: drawn: group 1: expected 2 rollouts (rl.group), found 1");
  says(events("6", taken, "[[1,[7,0]]]"), "events: drawn: group 1, rollout 0: 7 tokens after 2, of at most 8");
  says(events("6", taken, "[[1,[-1,0]]]"), "events: drawn: group 1, rollout 0: -1 tokens after 2");
  says(events("6", taken, "[3]"), "events: drawn: expected [group, [tokens ...]], found 3");
  // As many may be written at once as most_groups; each of the others has tokens.
  const std::string said = thrown([&] {
    write_durably(path, step(1, R"({"begun":4,"taken":[0,1],"tokens":"a","drawn":[]})"));
    read_event_log(path, bounds);
  });
  CHECK_MESSAGE(contains(said, "begun: 4 groups, of which 0 have tokens; at most 3 are written at once"), said);
  write_durably(path, "{\"type\":\"run\"}\n");
  CHECK(contains(thrown([&] { read_event_log(path, bounds); }), "no step with events"));
}

}  // namespace ov::test
