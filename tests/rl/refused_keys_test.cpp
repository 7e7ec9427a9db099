// Keys of rl and rl-select that say nothing together are refused before a model is loaded.
#include <doctest/doctest.h>

#include "cli/keys.h"
#include "tests/base/kill_at_step.h"
#include "tests/check.h"

namespace ov::test {

TEST_CASE("rl-select, rl: keys that contradict each other, or that nothing reads, are refused before any work") {
  const auto refusal = [](const std::string& verb, const Strings& more) {
    Strings arguments = {"--model", "none", "--data", "none.jsonl", "--out", "none-written"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return thrown([&] {
      silently([&] {
        const Config config = Config::parse(cli::keys(), verb, arguments);
        cli::keys().command(verb).run(config);
      });
    });
  };
  const auto refused = [&](const std::string& verb, const Strings& more, const std::string& why) {
    const std::string said = refusal(verb, more);
    CHECK_MESSAGE(contains(said, why), said);
  };
  const Strings band = {"--rl.reward_filter", "band"};
  const auto with = [&](std::initializer_list<const char*> more) {
    Strings all = band;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  refused("rl-select", with({"--rl.low", "0.8", "--rl.high", "0.2"}),
          "rl.low 0.8, rl.high 0.2: no mean reward is above the one and below the other");
  refused("rl-select", with({"--rl.low", "0.6"}), "rl.low 0.6, rl.high 0.6");
  refused("rl-select", with({"--rl.low", "0.5"}), "none/config.json: cannot open");  // a band
  refused("rl-select", {"--rl.low", "0.3"}, "--rl.low has no effect with this rl.reward_filter");
  refused("rl-select", {"--rl.reward_filter", "off", "--rl.high", "1"}, "--rl.high has no effect");
  refused("rl", {"--rl.behaviour_cap", "0.99"}, "rl.behaviour_cap");  // every token of the same weights has 1
  refused("rl", {"--rl.behaviour_cap", "1"}, "none/config.json: cannot open");
  refused("rl", {"--rl.max_new_tokens", "8", "--rl.overlong_tokens", "9"},
          "rl.overlong_tokens 9: an answer has at most 8 tokens (rl.max_new_tokens)");
  refused("rl", {"--rl.max_new_tokens", "8", "--rl.overlong_tokens", "8"}, "none/config.json: cannot open");
}

}  // namespace ov::test
