// The verb rl-select: what it writes, how it goes on, what it refuses to go on with.
#include "rl/select_run.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/io/file.h"
#include "report/selection_page.h"
#include "tests/rl/policy_world.h"

namespace ov::test {

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

}  // namespace ov::test
