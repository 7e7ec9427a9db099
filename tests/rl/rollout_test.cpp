// What an answer is made of, and what of it is rewarded.
#include "rl/rollout.h"

#include "tests/check.h"
#include "tests/rl/policy_world.h"

namespace ov::test {

TEST_CASE("rl: an answer in plain words is all that was written but what ended it") {
  const Processor processor = loader_test::small_processor();
  Record record;
  record.answer = Json("7");
  const auto earned = [&](const std::string& written, bool stopped) {
    rl::Group group{.record = &record};
    group.rollouts.resize(1);
    group.rollouts[0].ids = processor.tokenizer().encode(written), group.rollouts[0].stopped = stopped;
    RolloutCounts counts;
    score(group, processor.tokenizer(), {.group = 1, .style = PromptStyle::plain}, counts);
    return group.rollouts[0].reward.reward;
  };
  CHECK(earned("7<|im_end|>", true) == 1);
  CHECK(earned("7", false) == 1);  // cut off: nothing ended it
  CHECK(earned("so <answer>7</answer><|im_end|>", true) == 1);
  CHECK(earned("so 7<|im_end|>", true) == 0);
}

TEST_CASE("rl: what ranks count of their rollouts is added, number by number") {
  RolloutCounts one, all;
  one.add({.prompt_tokens = 2, .shared_tokens = 3, .new_tokens = 5, .products = 7});
  one.add({.prompt_tokens = 10, .shared_tokens = 20, .new_tokens = 30, .products = 40});
  const Json told = Json::parse(one.written().dump(), "told");
  all.add_written(told), all.add_written(told);
  CHECK(all.prompt_tokens == 24);
  CHECK(all.shared_tokens == 46);
  CHECK(all.new_tokens == 70);
  CHECK(all.products == 94);
}

TEST_CASE("rl: rewards of the control change places anew in every step") {
  const Lessons lessons;
  Prepared world(lessons);
  PolicyObjective writer = world.objective();
  writer.prepare(0);
  world.options.shuffle_rewards = true;
  const auto of_step = [&](std::int64_t step) {
    Groups own;
    for (const auto& g : writer.groups()) own.push_back(std::make_unique<rl::Group>(*g));
    PolicyObjective control = world.objective();
    control.load(step, std::move(own));
    return control.batch_checksum();
  };
  CHECK(of_step(0) != writer.batch_checksum());
  CHECK(of_step(0) == of_step(0));
  CHECK(of_step(0) != of_step(1));
}

}  // namespace ov::test
