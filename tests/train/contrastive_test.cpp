// CLIP's loss as an objective of the engine: it learns pairs by heart, and a run is one run for any threads and through
// a checkpoint.
#include "train/objectives/contrastive.h"

#include <doctest/doctest.h>

#include <cmath>

#include "base/parallel.h"
#include "image/encode.h"
#include "model/files/clip_directory.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/devices/foreign_device.h"
#include "tests/train/training_run.h"
#include "train/checksums.h"
#include "train/stages/pretrain_clip.h"

using namespace ov;
using namespace ov::test;

namespace {

ClipConfig toy_config() {
  ClipConfig c;
  c.vision = {.layers = 1, .hidden = 32, .heads = 2, .intermediate = 64};
  c.text = {.layers = 1, .hidden = 32, .heads = 2, .intermediate = 64};
  c.image = 8, c.patch = 4, c.vocabulary = 20, c.max_positions = 8, c.eos = 19, c.projection = 12;
  return c;
}

std::unique_ptr<ClipModel> toy_model(Device& device) {
  auto model = std::make_unique<ClipModel>(toy_config());
  model->parameters().allocate(Dtype::f32, device);
  initialize(*model, {.matrix = "uniform_fan_in", .embedding_std = 0.3, .patch_embedding_std = 0.2}, 3);
  return model;
}

// Pictures of two coloured halves with noise; captions name both colours and end in eos. `first`: of sixteen pairs.
MicroBatch toy_pairs(int first, int count) {
  MicroBatch b;
  const Philox random(5, "toy pairs");
  std::vector<float> pixels;
  for (int i = first; i < first + count; ++i) {
    const int left = i % 4, right = i / 4;
    for (int y = 0; y < 8; ++y)
      for (int x = 0; x < 8; ++x)
        for (int channel = 0; channel < 3; ++channel) {
          const int colour = x < 4 ? left : right;
          pixels.push_back((colour == channel ? 1.0F
                            : colour == 3     ? 0.5F
                                              : -0.5F) +
                           0.1F * random.normal(static_cast<std::uint64_t>(i * 1000) + pixels.size()));
        }
    std::vector<std::int64_t> ids = {left, 10, 4 + right};
    if (i % 2) ids.push_back(11);  // lengths differ
    ids.push_back(19);
    const auto length = static_cast<std::int64_t>(ids.size());
    b.segments.push_back({b.tokens(), length, -1});
    b.sample_of_segment.push_back(b.samples++);
    b.input_ids.insert(b.input_ids.end(), ids.begin(), ids.end());
    b.grids.push_back({1, 2, 2});
  }
  b.labels.assign(b.input_ids.size(), ignored_label);
  b.pixel_values = Tensor::of(pixels, {4 * count, 48});
  return b;
}

ContrastiveOptions options(std::int64_t steps) {
  ContrastiveOptions o;
  o.steps = steps;
  o.schedule = {.peak = 1e-2, .min = 1e-3, .warmup = 0.1, .first_step = 1};
  o.optimizer.eps = 1e-8;
  o.optimizer.weight_decay = 0.01;
  return o;
}

struct Run {
  explicit Run(const ContrastiveOptions& o, std::vector<GlobalStep> steps, Device& device = cpu())
      : model(toy_model(device)), data(std::move(steps)), objective(*model, data, o), engine(objective, o) {}
  std::unique_ptr<ClipModel> model;
  FixedSteps data;
  ContrastiveObjective objective;
  StepEngine engine;
};

std::vector<GlobalStep> whole_batch() { return {as_step({toy_pairs(0, 16)})}; }
std::vector<GlobalStep> four_batches() {
  return {as_step({toy_pairs(0, 4), toy_pairs(4, 4), toy_pairs(8, 4), toy_pairs(12, 4)}), whole_batch()[0]};
}

}  // namespace

TEST_CASE("contrastive: a tiny CLIP learns sixteen pairs by heart: every picture finds its text and every text it") {
  constexpr std::int64_t steps = 100;
  Run run(options(steps), whole_batch());
  const StepReport first = run.engine.step();
  StepReport last;
  while (run.engine.steps_done() < steps) last = run.engine.step();
  CHECK(first.parts.at("image_accuracy").as_double() < 0.5);
  CHECK(last.parts.at("image_accuracy").as_double() == 1);
  CHECK(last.parts.at("text_accuracy").as_double() == 1);
  CHECK(last.loss < 0.2 * first.loss);
  CHECK(last.labelled == 16);
}

TEST_CASE("contrastive: one thread or more, and a run saved and gone on with, give the same bits") {
  const int before = threads();
  const ContrastiveOptions o = options(6);
  std::vector<std::string> hashes;
  for (const int n : {1, 3}) {
    set_threads(n);
    Run run(o, four_batches());
    while (run.engine.steps_done() < o.steps) run.engine.step();
    hashes.push_back(sha256_of(run.engine));
  }
  set_threads(before);
  CHECK(hashes[0] == hashes[1]);

  const ScratchDirectory dir;
  Run half(o, four_batches());
  for (int i = 0; i < 3; ++i) half.engine.step();
  save_checkpoint(dir.path(), half.engine.state(), Json::object());
  Run rest(o, four_batches());
  load_into(rest.engine, *newest_checkpoint(dir.path()));
  CHECK(sha256_of(rest.engine) == sha256_of(half.engine));
  while (rest.engine.steps_done() < o.steps) rest.engine.step();
  CHECK(sha256_of(rest.engine) == hashes[0]);
  Run other(o, whole_batch());  // the twin: another way to batch the same pairs is another run
  while (other.engine.steps_done() < o.steps) other.engine.step();
  CHECK(sha256_of(other.engine) != hashes[0]);
}

TEST_CASE("contrastive, foreign: the host reads the device once a step, and the bits are the cpu's") {
  ContrastiveOptions o = options(4);
  o.checksum_every = 0;  // each would read a whole buffer
  o.max_scale = std::exp(toy_config().logit_scale) * 1.01;
  Run here(o, four_batches());
  ForeignDevice device(ForeignDevice::Policy::random, 1);
  Run there(o, four_batches(), device);
  while (here.engine.steps_done() < o.steps) {
    const std::int64_t before = device.reads();
    const StepReport a = here.engine.step(), b = there.engine.step();
    CHECK(device.reads() == before + 1);
    CHECK(a.loss == b.loss);
    CHECK(a.parts.dump() == b.parts.dump());
  }
  CHECK(tensor_checksum(here.model->parameters().values()) == tensor_checksum(there.model->parameters().values()));
}

TEST_CASE("contrastive: the step's mean: micro-batches of equal size weigh the same, an empty one nothing") {
  const auto loss = [](std::vector<MicroBatch> batches) {
    Run run(options(1), {as_step(std::move(batches))});
    return run.engine.step().loss;
  };
  const double a = loss({toy_pairs(0, 4)}), b = loss({toy_pairs(4, 4)}),
               both = loss({toy_pairs(0, 4), toy_pairs(4, 4)});
  CHECK(both == doctest::Approx((a + b) / 2).epsilon(1e-6));
  MicroBatch faulty;
  faulty.samples = 2;
  CHECK(loss({toy_pairs(0, 4), faulty}) == a);
  CHECK(loss({faulty}) == 0);
  CHECK(loss({toy_pairs(0, 1)}) == 0);  // nothing to mistake it for
}

TEST_CASE("contrastive: the scale of the logits learns, and never goes beyond its limit") {
  ContrastiveOptions o = options(40);
  const auto scale = [&] {
    Run run(o, whole_batch());
    double most = 0, last = 0;
    while (run.engine.steps_done() < o.steps) {
      last = run.engine.step().parts.at("scale").as_double();
      most = std::max(most, last);
    }
    return std::pair{most, last};
  };
  const double start = std::exp(toy_config().logit_scale);
  CHECK(std::abs(scale().second - start) > 0.1);
  o.max_scale = start * 1.01;
  CHECK(scale().first <= o.max_scale * 1.000001);
}

TEST_CASE("pretrain clip: from captioned files to a directory; a run that is cut and gone on with is the same run") {
  const ScratchDirectory dir;
  const char *colours[] = {"red", "green", "blue"}, *sides[] = {"left", "right", "top"};
  std::string lines;
  for (int i = 0; i < 9; ++i) {
    Image image(40, 36);  // not square: the middle is looked at
    for (std::int64_t y = 0; y < 36; ++y)
      for (std::int64_t x = 0; x < 40; ++x) {
        const bool here = i / 3 == 0 ? x < 20 : i / 3 == 1 ? x >= 20 : y < 18;
        image.row(y)[3 * x + i % 3] = static_cast<std::uint8_t>(here ? 250 : 10 + (x + y) % 7);
      }
    write_durably(cat(dir.path(), "/", i, ".png"), encode_png(image));
    lines += cat("{\"image\": \"", i, ".png\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\"}, ",
                 "{\"from\": \"gpt\", \"value\": \"", colours[i % 3], " at the ", sides[i / 3], "\"}]}\n");
  }
  lines +=
      "{\"conversations\": [{\"from\": \"human\", \"value\": \"?\"}, {\"from\": \"gpt\", \"value\": \"no "
      "picture\"}]}\n";
  write_durably(dir / "captions.jsonl", lines);
  const auto run = [&](const char* out, int seed) {
    ClipPretraining o;
    o.out = dir / out;
    o.captions = dir / "captions.jsonl";
    o.tokenizer_dir = "data/tokenizer";
    o.model = toy_config();
    o.model.image = 16, o.model.vocabulary = 0, o.model.max_positions = 24;
    o.init = {.matrix = "uniform_fan_in", .embedding_std = 0.3, .patch_embedding_std = 0.2};
    o.init_seed = static_cast<std::uint64_t>(seed);
    o.data.samples_per_micro_batch = 10;
    o.data.max_rejects = 1;
    o.save_every = 5;
    o.train = options(300);
    return o;
  };
  const auto sha = [](const ClipPretraining& o) { return sha256_file(o.out + "/model/model.safetensors"); };
  const ClipPretraining whole = run("whole", 1), again = run("again", 1), other = run("other", 2);
  ClipPretraining alone = run("alone", 1);
  alone.data.samples_per_micro_batch = 1;
  CHECK_THROWS_WITH_AS(pretrain_clip(alone), doctest::Contains("train.micro_batch_samples is 1"), Error);
  const StepReport report = pretrain_clip(whole);
  CHECK(report.labelled == 9);  // the tenth record has no picture
  CHECK(report.parts.at("image_accuracy").as_double() == 1);
  CHECK(report.parts.at("text_accuracy").as_double() == 1);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    kill_countdown = 400;
    set_file_step_hook([](const char*, const std::string&, bool) {
      if (kill_countdown-- == 0) ::raise(SIGKILL);
    });
    try {
      pretrain_clip(again);
    } catch (...) { ::_exit(1); }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  CHECK_FALSE(path_exists(again.out + "/model"));
  CHECK(newest_checkpoint(again.out));
  pretrain_clip(again);
  CHECK(sha(again) == sha(whole));
  pretrain_clip(other);
  CHECK(sha(other) != sha(whole));

  const auto model = load_clip(whole.out + "/model", Dtype::f32);
  const auto tokenizer = Tokenizer::read(whole.out + "/model");
  CHECK(model->config().vocabulary == tokenizer.vocab_size());
  CHECK(model->config().eos == tokenizer.token_id("<|endoftext|>"));
}
