// Tables and traps of the specification of RL (spec/rl.md 2.10 and 8) that no golden file holds.
#include <cmath>

#include "rl/reward.h"
#include "tests/rl/policy_world.h"

namespace ov::test {

TEST_CASE("rl, G1: verifiers have the rewards of the specification's table") {
  struct Row {
    const char* type;
    std::vector<const char*> said;  // inside the tags
    Json gold;
    double reward;
  };
  const std::vector<Row> table = {
      {"multiple-choice", {"(B) cat", " b. ", "BC", "\nB\n"}, "B", 1},
      {"multiple-choice", {"Answer: B", "**B**", "The B", "( B )", ""}, "B", 0},
      {"multiple-choice", {"Answer: B"}, "A", 1},
      {"number", {"7", "there are 7 dogs", "3 or 7", "-7"}, "7", 1},
      {"number", {"7.", "7.0", "07", "seven", "1,007", "7 of 10"}, "7", 0},
      {"boolean", {"I do not know", "unknown", "none"}, "no", 1},
      {"boolean", {"yes or no"}, "no", 0},
      {"boolean", {"yes or no"}, "yes", 1},
      {"ocrtext", {"Hello  World"}, "hello world", 1},
      {"ocrtext", {"helo"}, "hello", 0.8},
      {"ocrtext", {"ab"}, "abcd", 0.5},
      {"ocrtext", {"12"}, "1 2", 0.6667},
      {"ocrtext", {"abc"}, "xyz", 0},
      {"ocrtext", {"cat"}, std::vector<std::string>{"dog", "cats"}, 0.75},
      {"bbox", {"[0,0,1,1]"}, "[0,0,.5,.5]", 0.25},
      {"bbox", {"[[0,0,.5,.5]]"}, "[0,0,.5,.5]", 1},
      {"bbox", {"(0,0,1,1)", "[0.5,0.5,0,0]", "[0.5,0,0,0.5]"}, "[0,0,.5,.5]", 0},
      {"bbox", {"box [.1,.1,.6,.6] or [0,0,.5,.5]"}, "[0,0,.5,.5]", 0.470588},
      {"html-code", {"<html><body><div>hi</div></body></html>"}, "<html><body><p>hi</p></body></html>", 0.65},
      {"html-code", {"hi p"}, "<p>hi</p>", 0.24},
  };
  for (const Row& row : table)
    for (const char* said : row.said) {
      INFO(row.type, " '", said, "' for ", row.gold.dump());
      const double got = reward(cat("<answer>", said, "</answer>"), row.gold, row.type).reward;
      CHECK(std::abs(got - row.reward) < 5e-5);  // printed with four digits
    }
  CHECK(reward("<answer>A</answer> <answer>B</answer>", "B", "multiple-choice").reward == 1);
  CHECK(reward("B", "B", "multiple-choice").reward == 0);
  CHECK(reward("<answer>B", "B", "multiple-choice").reward == 0);
  CHECK(reward("I cannot help with that", "<html><body><p>hi</p></body></html>", "html-code").reward == 0);
  for (const auto& [thought, bonus] : {std::pair("<think>[1, 2, 3, 4]</think>", 1.0),
                                       {"<think>[1, 2, 3]</think>", 0.0},
                                       {"<think>(1, 2, 3, 4)</think>", 0.0},
                                       {"<think></think>[1, 2, 3, 4]", 0.0}})
    CHECK(reward(thought, "x", "any", "spatial-reasoning").reward == 0.5 * bonus);
}

// Trap 21: its README says math-expression and bool where the records have math-expressions and boolean.
TEST_CASE("rl: both spellings of a type have its verifier") {
  CHECK((verifier_of("math-expression") == verifier_of("math-expressions")));
  CHECK((verifier_of("bool") == verifier_of("boolean")));
  CHECK(reward("<answer>0.5</answer>", "1/2", "math-expression").reward == 1);
  CHECK(reward("<answer>true</answer>", "yes", "bool").reward == 1);
}

// Trap 8: a placeholder of a picture that was drawn would have no picture.
TEST_CASE("rl: a policy that wants to draw a picture's placeholder never does") {
  const Lessons lessons;
  Prepared world(lessons, 8, 12);
  const std::int64_t image = byte_config().image_token;
  const Tensor row = world.model->parameters().find("lm_head.weight")->value.slice(0, image, image + 1);
  for (std::int64_t i = 0; i < row.numel(); ++i) row.data<float>()[i] *= 1000;  // its logit is far up or far down
  std::int64_t wanted = 0, drawn = 0, tokens = 0;
  for (std::size_t n = 0; n < 6; ++n) {
    Group g{.record = &world.records.records()[n], .seed = n};
    Group* all[] = {&g};
    make_prompts(all, world.records, world.processor, PromptStyle::plain, {});
    RolloutWriter writer(*world.model, world.options.rollouts, 0);
    writer.add(g);
    while (writer.step()) {}
    for (const Rollout& r : g.rollouts)
      drawn += std::count(r.ids.begin(), r.ids.end(), image), tokens += std::ssize(r.ids);
    std::vector<Grid> grids;
    for (const auto& of : g.prompt.grids) grids.push_back({of[0], of[1], of[2]});
    Engine free(*world.model, {});
    free.submit({.prompt = g.prompt.input_ids,
                 .pictures = split_pictures(g.prompt.pixel_values, grids),
                 .sampling = {.temperature = 1, .top_logprobs = 0},
                 .max_new_tokens = 1,
                 .token = [&](const Token& t) { return wanted += t.id == image, true; }});
    free.run();
  }
  CHECK(tokens > 0);
  CHECK(wanted > 0);
  CHECK(drawn == 0);
}

}  // namespace ov::test
