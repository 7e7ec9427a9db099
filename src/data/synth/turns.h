// Which of a scene's turns a training stage uses. Files and an on-the-fly loader make the same choice.
#pragma once
#include "data/synth/draws.h"
#include "data/synth/output.h"
#include "data/synth/scene.h"

namespace ov::synth {

// midtrain (align uses the same): the caption and up to 10 terse turns, in random order; a scene without terse turns
//   adds up to 3 questions instead.
// instruct: the caption in two scenes of five, up to 3 terse turns in a quarter of them, then questions, those of hard
//   templates before the others, up to 12 turns in all, in random order.
enum class Stage { midtrain, instruct };

// Pointers into `scene`. The choice depends on (seed, index, stage) alone.
std::vector<const Exchange*> choose_turns(const Scene& scene, std::uint64_t seed, std::uint64_t index, Stage stage);

// A document without a picture: up to 10 questions about a caption that the caption answers; one document in five is 14
// written sums instead, with an empty prefix. Captions come from the training split.
struct TextSample {
  std::string prefix;
  QuestionAnswers turns;

  std::string text() const;  // the prefix, then "question answer", one a line
};
TextSample make_text(const ToyWorld& toy, std::uint64_t seed, std::uint64_t index,
                     const std::string& mixture = "default");

// One held-out question: index < 2^20. Templates come up in proportion to their shares, each on a picture of its own.
// Throws input_error for an unknown category.
struct TestQuestion {
  Scene scene;
  Exchange turn;
};
TestQuestion make_test_question(const ToyWorld& toy, std::uint64_t seed, const std::string& category,
                                std::uint64_t index);

}  // namespace ov::synth
