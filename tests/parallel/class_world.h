// Steps of regions with given labels, and whole runs, for class tables that ranks share.
#pragma once
#include <doctest/doctest.h>

#include <filesystem>

#include "base/io/file.h"
#include "base/sha256.h"
#include "image/encode.h"
#include "parallel/mesh.h"
#include "store/jsonl.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/comm/forked_ranks.h"
#include "tests/train/training_run.h"
#include "train/stages/pretrain_vision.h"

namespace ov::test {

namespace fs = std::filesystem;

struct ClassCase {
  bool softmax = false;  // of objects and of characters
  Dtype dtype = Dtype::f32;
  std::int64_t classes = 10, characters = 7;  // neither is a multiple of the blocks
  double density = 1;
  std::int64_t embedding = 0, blocks = 4, leaves = 5, shift = 0;
  bool tree = true;
  Device* device = &cpu();
};

// Two pictures a leaf, leaf 1 without any region; labels are the first and the last classes of blocks among others.
inline RegionStep step_of_regions(const ClassCase& c) {
  RegionStep step;
  const std::int64_t objects[] = {0, 9, 4, 5, 2, 7, 1, 2}, K = c.classes, V = c.characters;
  for (std::int64_t i = 0; i < c.leaves; ++i) {
    RegionBatch b;
    if (i != 1) {
      b.pixel_values = Tensor({16, 3 * 14 * 14}, Dtype::f32, cpu());
      const Philox random(3, "pixels", static_cast<std::uint64_t>(i));
      for (std::int64_t p = 0; p < b.pixel_values.numel(); ++p)
        b.pixel_values.data<float>()[p] = random.normal(static_cast<std::uint64_t>(p));
      b.grids = {{1, 2, 4}, {1, 2, 4}};
      for (std::int64_t r = 0; r < 4 + i; ++r) {
        Region region{
            .picture = 2 * r >= 4 + i, .slot = r % 2, .box = {0.25 * static_cast<double>(r % 4), 0, 3, 2}, .label = {}};
        if (r % 3 == 2 && V > 0) {
          region.label.characters = {(r + i) % V, V - 1, (r + i) % V};
          ++step.texts;
        } else {
          region.label.object = (objects[(r + i) % 8] + c.shift) % K;
          ++step.objects;
        }
        b.regions.push_back(region);
      }
      step.pictures += 2, step.patches += 16;
    }
    step.micro_batches.push_back(b);
  }
  return step;
}

class FixedRegions : public RegionSource {
 public:
  explicit FixedRegions(RegionStep step) : step_(std::move(step)) {}
  RegionStep next() override { return step_; }
  const RegionLoaderState& state() const override { return state_; }
  void restore(const RegionLoaderState& state) override { state_ = state; }
  std::string path() const override { return "regions"; }
  std::string labels() const override { return ""; }

 private:
  RegionStep step_;
  RegionLoaderState state_;
};

inline RegionTrainOptions class_options(const ClassCase& c, int classes, int zero, std::int64_t checksums) {
  RegionTrainOptions o;
  static_cast<StepOptions&>(o) = short_run(4);
  o.optimizer.clip_grad = 0.1;
  o.objects = {.softmax = c.softmax, .margin = {.scale = 16, .m = 0.2}, .density = c.density};
  o.characters = {.softmax = c.softmax, .margin = {.scale = 8, .m = 0.1}, .density = c.density, .weight = 0.5};
  o.tree = c.tree, o.checksum_every = checksums, o.classes = classes, o.zero = zero;
  return o;
}

// Regions; numbers of the loss; labels, of a row each once: of the whole step (parallel/classes.h).
struct Spoken {
  std::int64_t regions = 0, numbers = 0, labels = 0;
  Spoken(const RegionStep& step, const RegionTrainOptions& options, const RegionHead& head) {
    for (const RegionBatch& b : step.micro_batches) {
      regions += std::ssize(b.regions);
      for (const bool text : {false, true}) {
        const bool softmax = (text ? options.characters : options.objects).softmax;
        const auto& table = text ? head.character_centres : head.class_centres;
        for (const LabelledRow& row : labelled_rows(b.regions, text, softmax)) {
          numbers += std::ssize(table) * (softmax ? 3 : 2);
          labels += std::ssize(std::set<std::int64_t>(row.positives.begin(), row.positives.end()));
        }
      }
    }
  }
};

struct ClassRun {
  RegionTrainOptions options;
  RegionStep step;
  Mesh mesh;
  RiceModel model;
  FixedRegions data;
  RegionObjective objective;
  StepEngine engine;

  ClassRun(const ClassCase& c, Communicator& ranks, int classes = 1, int zero = 1, std::int64_t checksums = 1)
      : options(class_options(c, classes, zero, checksums)),
        step(step_of_regions(c)),
        mesh(ranks, 1, 1, 1, 1, classes),
        model({.depth = 1, .hidden = 16, .heads = 2, .intermediate = 32},
              {.layers = 1,
               .embedding = c.embedding,
               .mlp = false,
               .classes = c.classes,
               .characters = c.characters,
               .blocks = c.blocks},
              mesh.experts),
        data(step),
        objective(allocated(c), data, options),
        engine(objective, options, mesh.data) {}

  RiceModel& allocated(const ClassCase& c) {
    model.parameters().allocate(c.dtype, *c.device);
    model.initialize({.matrix = "uniform_fan_in", .projection_out_std = 0.2, .embedding_std = 1}, 1);
    return model;
  }
};

// Twelve pictures of 56 x 28 with objects of five classes and two-letter strings, as files.
class ClassFiles {
 public:
  ClassFiles() {
    std::string lines;
    for (int i = 0; i < 12; ++i) {
      Image image(56, 28);
      for (std::int64_t y = 0; y < 28; ++y)
        for (std::int64_t x = 0; x < 56; ++x)
          for (int k = 0; k < 3; ++k)
            image.row(y)[3 * x + k] = static_cast<std::uint8_t>(x * (i + 1) + y * (k + 2) * 3);
      write_durably(cat(scratch_.path(), "/", i, ".png"), encode_png(image));
      lines += cat("{\"image\": \"", i, ".png\", \"objects\": [{\"box\": [0, 0, 28, 28], \"class\": \"", "abcde"[i % 5],
                   "\"}, {\"box\": [28, 0, 56, 28], \"class\": \"", "abcde"[i % 4],
                   "\"}], \"ocr\": [{\"box\": [0, 0, 56, 28], \"text\": \"", "XYZ"[i % 3], "XYZW"[i % 4], "\"}]}\n");
    }
    write_durably(scratch_ / "regions.jsonl", lines);
  }
  VisionPretraining run(const std::string& out) const {
    VisionPretraining o;
    o.out = scratch_ / out;
    o.save_every = 2, o.keep = 9;
    o.data.regions = scratch_ / "regions.jsonl";
    o.data.images.min_pixels = 28 * 28;
    o.data.regions_per_picture = 3;
    o.data.pictures_per_micro_batch = 1;
    o.data.micro_batches_per_step = 6;
    o.vision = {.depth = 1, .hidden = 16, .heads = 2, .intermediate = 32};
    o.head = {.layers = 1, .query = RegionQuery::learned, .mlp = false, .blocks = 4};
    o.init = {.matrix = "uniform_fan_in", .projection_out_std = 0.08, .embedding_std = 1, .patch_embedding_std = 0.05};
    static_cast<StepOptions&>(o.train) = short_run(6);
    o.train.objects = {.softmax = true, .margin = {.scale = 16, .m = 0.1}, .density = 0.6};
    o.train.characters = {.softmax = false, .margin = {.scale = 16, .m = 0.1}, .density = 1};
    return o;
  }
  void train(const VisionPretraining& o, Communicator& ranks) const {
    VisionPretraining own = o;
    own.ranks = &ranks;
    silently([&] { return pretrain_vision(own); });
  }
  // Every step, every checkpoint and the tower.
  std::string files(const VisionPretraining& o) const {
    std::string all = sha256_file(o.out + "/tower/model.safetensors");
    JsonlReader log(o.out + "/run.jsonl");
    for (Json line; log.next(&line);)
      if (line.at("type").as_string() == "step")
        all += cat("\n", line.at("step").as_int(), " ", std::bit_cast<std::uint64_t>(line.at("loss").as_double()), " ",
                   line.at("object_accuracy").as_double(), " ", line.at("text_recall").as_double());
    for (const std::string& c : checkpoints(o.out)) all += "\n" + saved_bits(c);
    return all;
  }
  // As if it had ended after step 4.
  void cut(const VisionPretraining& o) const {
    fs::remove_all(o.out + "/checkpoints/step-00000006"), fs::remove_all(o.out + "/tower");
  }

 private:
  ScratchDirectory scratch_;
};

}  // namespace ov::test
