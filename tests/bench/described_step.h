// A training step described by a file (instruct_step.json, small_step.json), which our side and pytorch_step.py read:
// packs of samples, each a segment with or without a picture, and questions on it, segments that see it as their
// prefix. Text and pixels are random.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/rng.h"
#include "data/source.h"
#include "model/config.h"

namespace ov::bench {

// Appends a segment of random text whose last `labelled` tokens are to be learnt.
inline void add_segment(MicroBatch& b, std::int64_t length, std::int64_t prefix, std::int64_t labelled) {
  const Philox random(static_cast<std::uint64_t>(b.samples), "bench");
  const std::int64_t begin = b.tokens();
  const std::int64_t first = prefix < 0 ? 0 : b.segments[static_cast<std::size_t>(prefix)].length;
  for (std::int64_t t = 0; t < length; ++t) {
    const auto id = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(begin + t), 256));
    b.input_ids.push_back(id);
    b.labels.push_back(t < length - labelled ? ignored_label : id);
    b.positions.push_back(first + t);
  }
  b.segments.push_back({begin, length, prefix});
  b.sample_of_segment.push_back(b.samples);
}

inline MicroBatch pack_of(const Json& samples, const Json& step, const VisionConfig& vision) {
  MicroBatch b;
  std::int64_t patches = 0;
  for (const Json& sample : samples.items()) {
    const auto number = [&](const char* key, std::int64_t otherwise) {
      const Json* own = sample.find(key);
      return own ? own->as_int() : otherwise;
    };
    const std::int64_t before = step.at("before").as_int();
    std::int64_t tokens = 0;
    if (const Json* grid = sample.find("grid")) {
      const std::int64_t h = (*grid)[0].as_int(), w = (*grid)[1].as_int();
      tokens = h * w / (vision.merge * vision.merge), patches += h * w;
      b.grids.push_back({1, h, w});
    }
    const auto prefix = static_cast<std::int64_t>(b.segments.size());
    const auto image = static_cast<std::ptrdiff_t>(b.tokens() + before);
    const std::int64_t after = sample.find("after") ? sample.at("after").as_int() : step.at("after").as_int();
    add_segment(b, before + tokens + after, -1, number("labelled", 0));
    std::fill_n(b.input_ids.begin() + image, tokens, step.at("image_token").as_int());
    if (const Json* questions = sample.find("questions"))
      for (const Json& question : questions->items())
        add_segment(b, question[0].as_int(), prefix, question[1].as_int());
    ++b.samples;
  }
  const Philox random(7, "bench pixels");
  b.pixel_values = Tensor({patches, vision.patch_values()}, Dtype::f32, cpu(), Segment::data);
  for (std::int64_t i = 0; i < b.pixel_values.numel(); ++i)
    b.pixel_values.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
  return b;
}

// The same step again and again.
class DescribedStep : public StepSource {
 public:
  DescribedStep(const Json& step, const VisionConfig& vision) {
    for (const Json& pack : step.at("packs").items()) {
      step_.micro_batches.push_back(pack_of(pack, step, vision));
      const MicroBatch& b = step_.micro_batches.back();
      step_.samples += b.samples;
      step_.tokens += b.tokens();
      step_.patches += b.pixel_values.dim(0);
    }
  }
  GlobalStep next() override { return step_; }
  Json state() const override { return {}; }
  void restore(const Json&) override {}

  // Query-key pairs over all packs.
  std::int64_t visible_pairs() const {
    std::int64_t pairs = 0;
    for (const MicroBatch& b : step_.micro_batches)
      for (const TokenSegment& s : b.segments) {
        pairs += s.length * (s.length + 1) / 2;
        if (s.prefix >= 0) pairs += s.length * b.segments[static_cast<std::size_t>(s.prefix)].length;
      }
    return pairs;
  }

 private:
  GlobalStep step_;
};

// Both sides say what they compute: a peer that computes something else is none.
inline void check_same(const std::string& description, const Json& facts, const char* name, std::int64_t ours) {
  if (const std::int64_t theirs = facts.at(name).as_int(); theirs != ours)
    input_error(description, ": ", name, ": ours has ", ours, ", pytorch_step.py ", theirs);
}

}  // namespace ov::bench
