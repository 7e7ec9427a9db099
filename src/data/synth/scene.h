// One picture of the toy world with all that is known about it.
//
// make_scene is a pure function of (seed, index, split, mixture) and the data files, in integer arithmetic: the same
// bytes on every machine and thread, so a loader may draw fresh pictures instead of reading files. About 10000 pictures
// a second on one core, 44 patches and 17 turns each on average.
//
// No description (English caption) of the test split is ever drawn for the training split, whatever the two seeds:
// which split owns a description is decided by its hash. Families with too few descriptions are excepted and listed in
// mixtures.json.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/synth/catalog.h"
#include "image/image.h"

namespace ov::synth {

enum class Split { train, test };

// A question and its answer.
struct Exchange {
  const Template* from = nullptr;  // of the ToyWorld, which must outlive the turn
  std::string question, answer;
  bool chinese = false;
};

// What region cluster discrimination learns from: an object with its class, or text with its string.
struct Region {
  Rect box;  // pixels, inside the picture
  std::string label;
  bool is_text = false;
};

struct Scene {
  std::string family;
  std::string description;  // the English caption
  Image image;
  std::vector<Exchange> turns;  // every question the scene can answer: the caption first, terse ones among them
  std::vector<Region> regions;
};

struct ToyWorld {
  // `mixture`: the one that its pictures are drawn with, for what is asked about them.
  explicit ToyWorld(const std::string& data_dir, const std::string& mixture = "default")
      : world(read_world(data_dir)), catalog(Catalog::read(data_dir, mixture)) {}
  ToyWorld(const ToyWorld&) = delete;

  World world;
  Catalog catalog;
};

// shapes, text, bars, table, formula, program, sign, card, chess, thermometer, beaker, food_chain, ramp, circuit,
// values, three_lines, counts
const std::vector<std::string>& scene_families();

// index below 2^32.
Scene make_scene(const ToyWorld& toy, std::uint64_t seed, std::uint64_t index, Split split,
                 const std::string& mixture = "default");

// A scene of one family, from a stream of its own. Throws input_error for an unknown family.
Scene make_scene_of(const ToyWorld& toy, std::uint64_t seed, std::uint64_t index, Split split,
                    const std::string& family);

}  // namespace ov::synth
