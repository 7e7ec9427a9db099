#include "data/synth/turns.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "data/synth/builder.h"

namespace ov::synth {

namespace {

using Chosen = std::vector<const Exchange*>;

bool is_caption(const Exchange& t) { return t.from->id == "caption"; }
bool is_hard(const Exchange* t) { return t->from->hard; }
bool is_terse(const Exchange& t) { return t.from->category == terse_category; }

void append(Chosen& to, Chosen from, std::size_t limit, Draws& draws) {
  draws.shuffle(from);
  to.insert(to.end(), from.begin(), from.begin() + static_cast<std::ptrdiff_t>(std::min(limit, from.size())));
}

}  // namespace

std::vector<const Exchange*> choose_turns(const Scene& scene, std::uint64_t seed, std::uint64_t index, Stage stage) {
  Draws draws(seed, stage == Stage::midtrain ? "synth midtrain turns" : "synth instruct turns", index);
  Chosen captions, terse, questions, chosen;
  for (const Exchange& t : scene.turns) (is_caption(t) ? captions : is_terse(t) ? terse : questions).push_back(&t);

  if (stage == Stage::midtrain) {
    chosen = captions;
    if (terse.empty()) append(chosen, questions, 3, draws);
    else append(chosen, terse, 10, draws);
  } else {
    if (draws.percent(40)) chosen = captions;
    if (draws.percent(25)) append(chosen, terse, 3, draws);
    const auto others = std::stable_partition(questions.begin(), questions.end(), is_hard);
    append(chosen, Chosen(questions.begin(), others), 12 - chosen.size(), draws);
    append(chosen, Chosen(others, questions.end()), 12 - chosen.size(), draws);
  }
  draws.shuffle(chosen);
  return chosen;
}

std::string TextSample::text() const {
  std::string out = prefix;
  for (const auto& [question, answer] : turns) out += (out.empty() ? "" : "\n") + question + " " + answer;
  return out;
}

TextSample make_text(const ToyWorld& toy, std::uint64_t seed, std::uint64_t index, const std::string& mixture) {
  Draws draws(seed, "synth text", index);
  TextSample sample;
  if (draws.percent(20)) {
    for (int i = 0; i < 14; ++i) sample.turns.push_back(arithmetic_line(draws));
    return sample;
  }
  const Scene scene = make_scene(toy, seed, index, Split::train, mixture);
  Chosen answered, chosen;
  for (const Exchange& t : scene.turns)
    if (!is_caption(t) && t.from->from_caption) answered.push_back(&t);
  append(chosen, answered, 10, draws);
  sample.prefix = scene.description;
  for (const Exchange* t : chosen) sample.turns.emplace_back(t->question, t->answer);
  return sample;
}

TestQuestion make_test_question(const ToyWorld& toy, std::uint64_t seed, const std::string& category,
                                std::uint64_t index) {
  Words categories = toy.catalog.categories();
  const Words& apart = toy.catalog.categories_apart();
  categories.insert(categories.end(), apart.begin(), apart.end());
  const auto at = std::find(categories.begin(), categories.end(), category);
  if (at == categories.end()) input_error("no category is named '", category, "'", did_you_mean(category, categories));
  const std::uint64_t number = static_cast<std::uint64_t>(at - categories.begin());

  Draws draws(seed, "synth question " + category, index);
  std::vector<int> shares;
  for (const Template& t : toy.catalog.templates()) shares.push_back(t.category == category ? t.share : 0);
  const Template& wanted = toy.catalog.templates()[draws.weighted(shares)];
  const std::string family = wanted.families.empty() ? scene_families()[draws.weighted(toy.catalog.mixture("default"))]
                                                     : draws.pick(wanted.families);

  for (std::uint64_t attempt = 0; attempt < 256; ++attempt) {
    Scene scene = make_scene_of(toy, seed, (number << 28) + index * 256 + attempt, Split::test, family);
    std::vector<Exchange> fitting;
    for (const Exchange& t : scene.turns)
      if (t.from == &wanted) fitting.push_back(t);
    if (!fitting.empty()) return {std::move(scene), draws.pick(fitting)};
  }
  input_error("templates.json: template '", wanted.id, "' was not asked by any of 256 pictures of family '", family,
              "'", wanted.ask_percent ? "" : ": its ask is 0; draw held-out questions with another mixture, or none");
}

}  // namespace ov::synth
