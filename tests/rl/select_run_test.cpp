// The verb rl-select: what it writes, how it goes on, what it refuses to go on with.
#include "rl/select_run.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/io/file.h"
#include "report/selection_page.h"
#include "tests/check.h"
#include "tests/rl/policy_world.h"

namespace ov::test {
namespace {

struct Selected : Lessons {
  Selected() {
    run.model_dir = path("start"), run.records = path("records.jsonl"), run.out = path("out");
    run.rollouts = {.group = 3, .max_new_tokens = 2, .style = PromptStyle::plain};
    run.selection.task_filter = run.selection.reward_filter = false;
  }
  std::string read(const char* name) const { return std::string(MappedFile::open(run.out + "/" + name)->text()); }
  std::string refused(const SelectionRun& other) const {
    return thrown([&] { run_selection(other); }, Exit::wrong_input);
  }
  SelectionRun run;
};

}  // namespace

TEST_CASE("rl-select: rates, a manifest, and a run that was cut off goes on to the same bytes") {
  const Lessons lessons;
  SelectionRun run;
  run.model_dir = lessons.path("start"), run.records = lessons.path("records.jsonl");
  run.out = lessons.path("selected");
  run.rollouts = {.group = 3, .max_new_tokens = 2, .style = PromptStyle::plain};
  run.at_a_time = 2, run.grey = 128;
  run.selection.task_filter = run.selection.reward_filter = false;
  const Selection all = run_selection(run);
  const auto read = [&](const char* name) { return std::string(MappedFile::open(run.out + "/" + name)->text()); };
  const std::string rollouts = read("rollouts.jsonl"), manifest = read("manifest.json"), kept = read("kept.jsonl");
  CHECK(all.kept.size() == all.reasons.size());
  CHECK(!std::isnan(all.by_source.begin()->second.blind_1));
  write_selection_page(run.out + "/page.html", all.manifest);
  const std::string page = read("page.html");
  CHECK(test::contains(page, "<svg"));
  CHECK(test::contains(page, "blind pass@1"));
  CHECK(test::contains(page, "n = 3 rollouts"));
  CHECK(!test::contains(page, "–"));
  CHECK(test::contains(page, latent_note(all.manifest)));
  const auto of_note = [](std::vector<std::string> latent) {
    return latent_note(Json::object({{"options", Json::object({{"gap", 0.1}, {"least_pass", 0.5}})},
                                     {"latent", latent},
                                     {"by_group", Json::object({{"a", Json::object({{"blind_n", 0.25}})},
                                                                {"b", Json::object({{"pass_n", 1.0}})}})}}));
  };
  const std::string numbers = "templates with latent ability (pass@n - pass@1 at least 10.0, pass@n at least 50.0): ";
  CHECK(of_note({"a", "b"}) == numbers + "a, blind pass@n 25.0; b");
  CHECK(of_note({}) == numbers + "none");
  const std::string rates = read("rates.jsonl");
  CHECK(std::count(rates.begin(), rates.end(), '\n') == std::ssize(all.reasons));
  CHECK(test::contains(rates, R"("blind_n":)"));
  for (std::size_t cut : {rollouts.size() / 3, rollouts.size() / 2 + 1}) {
    write_durably(run.out + "/rollouts.jsonl", rollouts.substr(0, cut));
    run.at_a_time = 5;
    run_selection(run);
    CHECK(read("rollouts.jsonl") == rollouts);
    CHECK(read("manifest.json") == manifest);
    CHECK(read("kept.jsonl") == kept);
  }
  const auto refused = [&](const SelectionRun& other) {
    return thrown([&] { run_selection(other); }, Exit::wrong_input).find("give another out") != std::string::npos;
  };
  SelectionRun other = run;
  other.seed = 220;
  CHECK(refused(other));
  other = run, other.load.dtype = Dtype::bf16;
  CHECK(refused(other));
  CHECK(test::contains(thrown([&] {
                         other = run, other.seed = 220;
                         run_selection(other);
                       }),
                       "options: seed was 219 and is 220; to go on give the old values"));
  // A head with no rollout behind it, of a command that failed before its first, is no reason to refuse the next.
  other = run, other.seed = 220;
  write_durably(run.out + "/rollouts.jsonl", rollouts.substr(0, rollouts.find('\n') + 1));
  run_selection(other);
  CHECK(test::contains(read("rollouts.jsonl"), "\"seed\":220"));
  const std::string foreign = R"({"id":"somebody's"})"
                              "\n";
  write_durably(run.out + "/rollouts.jsonl", foreign);
  CHECK(refused(run));
  CHECK(read("rollouts.jsonl") == foreign);
  write_durably(run.out + "/rollouts.jsonl", rollouts);
  run_selection(run);
  std::filesystem::remove_all(lessons.path("start"));  // other weights at the same path
  export_model(lessons.path("start"), *random_model(byte_config(), 2), loader_test::small_processor());
  CHECK(refused(run));
}

TEST_CASE("rl-select: rollouts of other templates, pictures and options are refused, and none is cut off") {
  Selected s;
  std::string lines;
  for (const char* t : {"a", "b"})
    for (int i = 0; i < 2; ++i)
      lines +=
          Json::object({{"id", cat(t, i)}, {"problem", cat("what is ", i, " ?")}, {"answer", "1"}, {"template", t}})
              .dump() +
          "\n";
  write_durably(s.path("records.jsonl"), lines);
  s.run.templates = {"a"};
  run_selection(s.run);
  const std::string rollouts = s.read("rollouts.jsonl");
  SelectionRun other = s.run;
  other.templates = {"b"};  // as many records
  const std::string said = s.refused(other);
  CHECK_MESSAGE(contains(said, "rollouts.jsonl:2: id: rollouts of another record: expected 'b0', found \"a0\""), said);
  CHECK(s.read("rollouts.jsonl") == rollouts);
  other = s.run, other.image_dir = s.path("elsewhere");
  CHECK(contains(s.refused(other), "image_dir was nothing and is \"" + s.path("elsewhere") + "\""));
  other = s.run, other.rollouts.group = 2;
  CHECK(contains(s.refused(other), "data or options: n was 3 and is 2"));
  CHECK(s.read("rollouts.jsonl") == rollouts);
}

TEST_CASE("rl-select: other records of the same ids are refused, and what somebody else wrote is not replaced") {
  Selected s;
  const std::string kept = s.run.out + "/kept.jsonl";
  std::filesystem::create_directories(s.run.out);
  write_durably(kept, "{\"id\":\"mine\"}\n");
  CHECK(contains(s.refused(s.run), "kept.jsonl: is not what this command made"));
  CHECK(s.read("kept.jsonl") == "{\"id\":\"mine\"}\n");
  std::filesystem::remove(kept);
  run_selection(s.run);
  std::string lines(MappedFile::open(s.run.records)->text());
  lines.replace(lines.find("what is 0"), 9, "which is 0");
  write_durably(s.run.records, lines);
  CHECK(contains(s.refused(s.run), "data or options: records was \""));
}

TEST_CASE("rl-select: what a bonus adds to a reward selects nothing") {
  Selected s;
  s.run.rollouts.reward = [](const std::string&, const rl::Group&) { return Reward{.reward = 1.5, .accuracy = 1}; };
  CHECK(run_selection(s.run).by_source.begin()->second.mean_reward == 1);
}

TEST_CASE("rl-select: a line of its rollouts that is damaged is refused with its place") {
  Selected s;
  run_selection(s.run);
  const std::string rollouts = s.read("rollouts.jsonl");
  const std::size_t second = rollouts.find('\n') + 1;
  const auto says = [&](const std::string& line, const std::string& what) {
    write_durably(s.run.out + "/rollouts.jsonl", rollouts.substr(0, second) + line + "\n");
    const std::string said = s.refused(s.run);
    CHECK_MESSAGE(contains(said, "rollouts.jsonl:2: " + what), said);
  };
  says(R"({"id":"r0","rewards":[1,0],"blind":[]})", "rewards: expected 3 numbers, found [1,0]");
  says(R"({"id":"r0","rewards":[1,0,null],"blind":[]})", "rewards: expected 3 numbers, found [1,0,null]");
  says(R"({"id":"r0","rewards":7,"blind":[]})", "rewards: expected 3 numbers, found 7");
  says(R"({"id":"r0","rewards":[1,0,0],"blind":[1]})", "blind: expected 0 numbers, found [1]");
  says(R"({"id":"r0","rewards":[1,0,0]})", "blind: expected it, found nothing");
  says("[]", "id: expected it, found nothing");
  write_durably(s.run.out + "/rollouts.jsonl", rollouts + "{\"id\":\"r0\",\"rewards\":[],\"blind\":[]}\n");
  CHECK(contains(s.refused(s.run), "rollouts.jsonl:14: expected 12 records"));
}

TEST_CASE("rl-select: rollouts whose verifier gives up are counted by name, whether the run was cut off or not") {
  Selected s;
  std::string lines;
  for (int i = 0; i < 4; ++i)
    lines += Json::object({{"id", cat("r", i)},
                           {"problem", cat("what is ", i, " ?")},
                           {"answer", std::vector<std::string>{"1", "2"}},
                           {"answer_type", "critic"}})
                 .dump() +
             "\n";
  write_durably(s.path("records.jsonl"), lines);
  const Selection all = run_selection(s.run);
  const std::string why = "the answer is a list of 2 texts, expected one text";
  REQUIRE(all.raised.count(why) == 1);
  CHECK(all.raised.at(why) > 0);
  CHECK(all.manifest.at("raised").at(why).as_int() == all.raised.at(why));
  const std::string rollouts = s.read("rollouts.jsonl"), manifest = s.read("manifest.json");
  write_durably(s.run.out + "/rollouts.jsonl", rollouts.substr(0, 3 * rollouts.size() / 4));
  run_selection(s.run);
  CHECK(s.read("rollouts.jsonl") == rollouts);
  CHECK(s.read("manifest.json") == manifest);
}

}  // namespace ov::test
