// The vision stage from files to a tower: it learns, threads do not change its bits, a resumed run is the same run.
#include "train/stages/pretrain_vision.h"
#include "train/checkpoint.h"
#include "train/checksums.h"
#include "train/run_log.h"

#include <doctest/doctest.h>

#include "base/hash.h"
#include "base/io/file.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "image/encode.h"
#include "model/files/merge_sources.h"
#include "store/jsonl.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/devices/foreign_device.h"

using namespace ov;
using namespace ov::test;

namespace {

// Twelve pictures of 56 x 28: a bright square in one of two places, red or green, and a stripe that stands for text.
void draw_world(const std::string& directory) {
  std::string lines;
  for (int i = 0; i < 12; ++i) {
    Image image(56, 28);
    const int x0 = i % 3 == 0 ? 0 : 28, channel = i % 2;
    for (std::int64_t y = 0; y < 28; ++y)
      for (std::int64_t x = 0; x < 56; ++x) {
        std::uint8_t* p = image.row(y) + 3 * x;
        p[0] = p[1] = p[2] = static_cast<std::uint8_t>(120 + (x * 7 + y * 3 + i) % 16);
        if (x >= x0 + 4 && x < x0 + 24 && y >= 4 && y < 24) p[channel] = 240;
        if (x >= 28 - x0 && x < 56 - x0 && (i % 4 < 2 ? x : y) % 4 < 2) p[2] = 20;
      }
    write_durably(cat(directory, "/", i, ".png"), encode_png(image));
    lines += cat("{\"image\": \"", i, ".png\", \"objects\": [{\"box\": [", x0 + 4, ", 4, ", x0 + 24,
                 ", 24], \"class\": \"", channel ? "green" : "red", "\"}], \"ocr\": [{\"box\": [", 28 - x0, ", 0, ",
                 56 - x0, ", 28], \"text\": \"", i % 4 < 2 ? "II" : "EF", "\"}]}\n");
  }
  write_durably(directory + "/regions.jsonl", lines);
}

VisionPretraining options_for(const ScratchDirectory& scratch, const std::string& out) {
  VisionPretraining o;
  o.out = scratch / out;
  o.data.regions = scratch / "regions.jsonl";
  o.data.images.min_pixels = 28 * 28;
  o.data.regions_per_picture = 2;
  o.data.pictures_per_micro_batch = 1;
  o.data.micro_batches_per_step = 3;
  o.vision = {.depth = 1, .hidden = 16, .heads = 2, .intermediate = 32};
  o.head = {.layers = 1, .query = RegionQuery::learned, .mlp = false};
  o.init = {.matrix = "uniform_fan_in", .projection_out_std = 0.08, .embedding_std = 1, .patch_embedding_std = 0.05};
  o.train.steps = 12;
  o.train.schedule = {.peak = 5e-3, .min = 5e-4, .warmup = 0.1, .first_step = 1};
  o.train.optimizer.beta2 = 0.98;
  o.train.optimizer.eps = 1e-8;
  o.train.objects = {.softmax = true, .margin = {.scale = 16, .m = 0}, .density = 1};
  o.train.characters = {.softmax = false, .margin = {.scale = 16, .m = 0}, .density = 1};
  return o;
}

std::string parameters_after(const VisionPretraining& o) {
  const StepReport r = pretrain_vision(o);
  return cat(r.checksums->gradients, " ", r.checksums->parameters);
}

}  // namespace

TEST_CASE("vision pre-training: variants A and B learn a small world by heart") {
  const ScratchDirectory scratch;
  draw_world(scratch.path());
  for (const bool softmax : {true, false}) {
    VisionPretraining o = options_for(scratch, softmax ? "b" : "a");
    o.train.steps = 160;
    o.train.objects.softmax = o.train.characters.softmax = softmax;
    o.train.objects.margin.m = o.train.characters.margin.m = 0.1;
    o.data.micro_batches_per_step = 4;
    const StepReport r = pretrain_vision(o);
    CHECK(r.parts.at("object_accuracy").as_double() == 1);
    CHECK(r.parts.at("text_recall").as_double() == 1);
    JsonlReader log(o.out + "/run.jsonl");
    Json run, first;
    REQUIRE((log.next(&run) && log.next(&first)));
    CHECK(run.at("classes").as_int() == 2);
    CHECK(first.at("object_loss").as_double() > 5 * r.parts.at("object_loss").as_double());
    CHECK(first.at("loss").as_double() == first.at("object_loss").as_double() + first.at("text_loss").as_double());
    Parameters set;
    const RiceVit tower(set, read_tower_source_config(o.out + "/tower", 2));
    MergeSource::tower(o.out + "/tower").check(set);
    const std::string card = read_file(o.out + "/tower/README.md");
    for (const std::string& part : {std::string("# RICE-ViT"), std::string("\"classes\": 2"),
                                    std::string("\"step\": 160"), sha256_file(o.out + "/tower/model.safetensors")})
      CHECK_MESSAGE(contains(card, part), part);
  }
}

TEST_CASE(
    "vision pre-training: the same bits with one and two threads, and after a resume, with drawn classes and in bf16 "
    "too") {
  const ScratchDirectory scratch;
  draw_world(scratch.path());
  const int before = threads();
  for (const auto& [density, dtype] :
       {std::pair{1.0, Dtype::f32}, std::pair{0.5, Dtype::f32}, std::pair{0.5, Dtype::bf16}}) {
    const auto with = [&, density = density, dtype = dtype](const std::string& name) {
      VisionPretraining o = options_for(scratch, cat(name, density, name_of(dtype)));
      o.dtype = dtype;
      o.train.objects.density = o.train.characters.density = density;
      o.save_every = 5;
      return o;
    };
    set_threads(1);
    const std::string one = parameters_after(with("one"));
    set_threads(2);
    CHECK(parameters_after(with("two")) == one);

    VisionPretraining half = with("half");
    {
      // A run that stops after step 7 with its last checkpoint at step 5.
      RegionLoaderOptions data = half.data;
      data.images.patch = half.vision.patch;
      RegionLoader loader(data);
      RegionHeadConfig head = half.head;
      head.classes = static_cast<std::int64_t>(loader.file().classes().size());
      head.characters = static_cast<std::int64_t>(loader.file().characters().size());
      RiceModel model(half.vision, head);
      model.parameters().allocate(dtype, cpu());
      initialize(model.parameters(), half.init, half.init_seed);
      RegionObjective objective(model, loader, half.train);
      StepEngine trainer(objective, half.train);
      const std::string start = hex16(tensor_checksum(model.parameters().values()));
      for (int i = 0; i < 5; ++i) trainer.step();
      make_directories(half.out);
      save_checkpoint(half.out, trainer.state(),
                      Json::object({{"sources", Json::object({{"starting_weights", start}})}}));
      trainer.step(), trainer.step();
    }
    CHECK(parameters_after(with("half")) == one);
    VisionPretraining other_seed = with("seed");
    other_seed.data.seed = 2;
    CHECK(parameters_after(other_seed) != one);
  }
  set_threads(before);
}

TEST_CASE(
    "vision pre-training: a picture that cannot be read is the error of its own step, though it is read a step ahead") {
  const ScratchDirectory scratch;
  draw_world(scratch.path());
  write_durably(scratch / "7.png", "not a picture");
  const VisionPretraining o = options_for(scratch, "unused");
  RegionLoaderOptions data = o.data;
  data.images.patch = o.vision.patch;
  std::int64_t good = 0;
  RegionLoaderState before;
  std::string message;
  for (RegionLoader loader(data); message.empty();) {
    before = loader.state();
    try {
      loader.next();
      ++good;
    } catch (const Error& e) { message = e.what(); }
  }
  REQUIRE(good > 0);

  const int threads_before = threads();
  for (const int n : {1, 2}) {
    set_threads(n);
    RegionLoader loader(data);
    RegionHeadConfig head = o.head;
    head.classes = static_cast<std::int64_t>(loader.file().classes().size());
    head.characters = static_cast<std::int64_t>(loader.file().characters().size());
    RiceModel model(o.vision, head);
    model.parameters().allocate(Dtype::f32, cpu());
    initialize(model.parameters(), o.init, o.init_seed);
    RegionObjective objective(model, loader, o.train);
    StepEngine trainer(objective, o.train);
    for (std::int64_t i = 0; i < good; ++i) trainer.step();
    CHECK(trainer.steps_done() == good);
    CHECK(trainer.state().data.at("loader").dump() == before.json().dump());
    CHECK_THROWS_WITH_AS(trainer.step(), message.c_str(), Error);
    CHECK(trainer.steps_done() == good);
  }
  set_threads(threads_before);
}

TEST_CASE("vision pre-training: a checkpoint of other labels, of another head, or without resume is refused") {
  const ScratchDirectory scratch;
  draw_world(scratch.path());
  VisionPretraining o = options_for(scratch, "run");
  o.train.steps = 2;
  pretrain_vision(o);
  const auto complaint = [&](const VisionPretraining& p) -> std::string { return thrown([&] { pretrain_vision(p); }); };
  VisionPretraining other = o;
  other.head.mlp = true;
  CHECK(complaint(other).find("is of another run: starting_weights") != std::string::npos);
  other = o;
  other.resume = false;
  CHECK(complaint(other).find("checkpoint of an earlier run") != std::string::npos);
  std::string lines = read_file(scratch / "regions.jsonl");
  for (std::size_t at; (at = lines.find("green")) != lines.npos;) lines.replace(at, 5, "azure");
  write_durably(scratch / "regions.jsonl", lines);
  CHECK(complaint(o).find("not those of the checkpoint") != std::string::npos);
}

TEST_CASE("vision pre-training: a run at a higher resolution begins with the weights of the one before") {
  const ScratchDirectory scratch;
  draw_world(scratch.path());
  VisionPretraining low = options_for(scratch, "low");
  low.data.images.max_pixels = 28 * 28, low.train.steps = 4;
  pretrain_vision(low);
  const auto weights = [&](const std::string& out) { return read_file(scratch / (out + "/tower/model.safetensors")); };
  // No step of no length changes them; the head and the centres are the same too, or the loss would be another.
  VisionPretraining high = options_for(scratch, "high");
  high.data.images.min_pixels = high.data.images.max_pixels = 112 * 56;
  high.train.steps = 1, high.train.schedule = {.peak = 0, .min = 0, .warmup = 0, .first_step = 1};
  high.from = low.out;
  const double first = pretrain_vision(high).loss;
  CHECK(weights("high") == weights("low"));
  VisionPretraining twice = high;
  twice.out = scratch / "twice", twice.from = high.out;
  CHECK(pretrain_vision(twice).loss == first);
  VisionPretraining fresh = high;
  fresh.out = scratch / "fresh", fresh.from = "";
  CHECK(pretrain_vision(fresh).loss != first);
  // A resumed run goes on from its own checkpoint.
  high.train.steps = 2, high.train.schedule.peak = high.train.schedule.min = 1e-3;
  pretrain_vision(high);
  const std::string moved = weights("high");
  CHECK(moved != weights("low"));
  pretrain_vision(high);
  CHECK(weights("high") == moved);

  high.out = scratch / "other", high.from = scratch / "none";
  CHECK(contains(thrown([&] { pretrain_vision(high); }), "none: there is no such run"));
  make_directories(scratch / "empty");
  high.from = scratch / "empty";
  CHECK(contains(thrown([&] { pretrain_vision(high); }), "empty/checkpoints: holds no whole checkpoint"));
  high.from = low.out, high.head.layers = 2;
  CHECK(contains(thrown([&] { pretrain_vision(high); }), "tensor 'region_head.layers.1.norm_q.weight' is missing"));
}

TEST_CASE("foreign: the region objective has the cpu's bits, and the host reads the device once a step") {
  const ScratchDirectory scratch;
  draw_world(scratch.path());
  const auto run_on = [&](Device& device, const std::function<std::int64_t()>& reads) {
    VisionPretraining o = options_for(scratch, "");
    o.train.checksum_every = 0;
    o.train.objects.density = 0.5;
    RegionLoader loader(o.data);
    o.head.classes = static_cast<std::int64_t>(loader.file().classes().size());
    o.head.characters = static_cast<std::int64_t>(loader.file().characters().size());
    RiceModel model(o.vision, o.head);
    model.parameters().allocate(Dtype::f32, device);
    initialize(model.parameters(), o.init, 1);
    RegionObjective objective(model, loader, o.train);
    StepEngine engine(objective, o.train);
    std::string said;
    for (int step = 0; step < 2; ++step) {
      const std::int64_t before = reads();
      const StepReport r = engine.step();
      CHECK(reads() - before == (device.on_host() ? 0 : 1));
      said += cat(std::hexfloat, r.loss, " ", r.gradient_norm, " ", r.parts.dump(), "\n");
    }
    return said;
  };
  const std::string expected = run_on(cpu(), [] { return 0; });
  ForeignDevice device(ForeignDevice::Policy::lazy);
  CHECK(run_on(device, [&] { return device.reads(); }) == expected);
}
