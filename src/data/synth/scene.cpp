#include "data/synth/scene.h"

#include "base/error.h"
#include "base/text.h"
#include "data/synth/builder.h"

namespace ov::synth {

namespace {

struct Family {
  const char* name;
  void (*draw)(SceneBuilder&);
};

constexpr Family kFamilies[] = {
    {"shapes", draw_shapes},   {"text", draw_text},
    {"bars", draw_bars},       {"table", draw_table},
    {"formula", draw_formula}, {"program", draw_program},
    {"sign", draw_sign},       {"card", draw_card},
    {"chess", draw_chess},     {"thermometer", draw_thermometer},
    {"beaker", draw_beaker},   {"food_chain", draw_food_chain},
    {"ramp", draw_ramp},       {"circuit", draw_circuit},
    {"values", draw_values},   {"three_lines", draw_three_lines},
    {"counts", draw_counts},   {"checked_lines", draw_checked_lines},
};

struct Streams {
  std::string_view choices, noise;
};

// Training and test scenes of the same seed and index have nothing in common.
Streams streams(Split split, bool one_family) {
  if (one_family)
    return {split == Split::train ? "synth train family" : "synth test family",
            split == Split::train ? "synth train family noise" : "synth test family noise"};
  return {split == Split::train ? "synth train" : "synth test",
          split == Split::train ? "synth train noise" : "synth test noise"};
}

// Draws until the description belongs to the split. One in seven is thrown away for training, six in seven for testing;
// the loop ends because every family has descriptions of both kinds (a test counts them).
Scene draw_until_owned(const ToyWorld& toy, const Family& family, Draws& draws, std::uint64_t seed, std::uint64_t index,
                       Split split, std::string_view noise) {
  const bool shared = toy.catalog.shared_reason(family.name) != nullptr;
  for (int attempt = 0; attempt < 100000; ++attempt) {
    SceneBuilder builder(toy, draws);
    family.draw(builder);
    if (shared || toy.catalog.held_out(builder.description()) == (split == Split::test))
      return builder.finish(family.name, seed, noise, index);
  }
  input_error("mixtures.json: family '", family.name, "' has no description for the ",
              split == Split::test ? "test" : "training", " split; change held_out_percent or list it in ",
              "shared_descriptions");
}

}  // namespace

const std::vector<std::string>& scene_families() {
  static const Words names = [] {
    Words all;
    for (const Family& family : kFamilies) all.emplace_back(family.name);
    return all;
  }();
  return names;
}

Scene make_scene(const ToyWorld& toy, std::uint64_t seed, std::uint64_t index, Split split,
                 const std::string& mixture) {
  const Streams stream = streams(split, false);
  Draws draws(seed, stream.choices, index);
  const Family& family = kFamilies[draws.weighted(toy.catalog.mixture(mixture))];
  return draw_until_owned(toy, family, draws, seed, index, split, stream.noise);
}

Scene make_scene_of(const ToyWorld& toy, std::uint64_t seed, std::uint64_t index, Split split,
                    const std::string& family) {
  const Streams stream = streams(split, true);
  for (const Family& f : kFamilies)
    if (family == f.name) {
      Draws draws(seed, stream.choices, index);
      return draw_until_owned(toy, f, draws, seed, index, split, stream.noise);
    }
  input_error("no family of scenes is named '", family, "'", did_you_mean(family, scene_families()));
}

}  // namespace ov::synth
