// What `plan`, `merge` and `pretrain` say of keys that they were given and do not use.
#include <doctest/doctest.h>

#include "cli/keys.h"
#include "cli/plan_words.h"
#include "cli/verbs.h"
#include "model/files/merge_sources.h"
#include "tests/check.h"
#include "tests/cli/program.h"

using namespace ov;
using namespace ov::test;

namespace {

const std::string checkpoint = "tests/golden/dense/checkpoint", tiny = "configs/model/tiny.json";

std::string refused(const std::string& verb, const Strings& arguments) {
  const auto call = verb == "plan" ? cli::plan : verb == "merge" ? cli::merge : cli::pretrain;
  return thrown([&] { call(Config::parse(cli::keys(), verb, arguments)); });
}

Strings with(Strings arguments, const Strings& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace

TEST_CASE("plan: with plan.rl what would divide a step twice is refused, and what would fit is said") {
  const Strings rl = {"--config", "configs/model/8b.json", "--plan.rl", "true", "--plan.device", "h100", "--dtype",
                      "bf16"};
  CHECK(contains(refused("plan", with(rl, {"--plan.ranks", "8"})), "plan.devices_of_run says how many"));
  CHECK(contains(refused("plan", with(rl, {"--train.micro_batches", "4"})), "train.micro_batches is not a key of rl"));
  CHECK(contains(refused("plan", with(rl, {"--parallel.zero", "2"})), "parallel.zero 1"));
  const std::string tight = run(with({"plan"}, rl)).out;
  CHECK(contains(tight, "\n  timesliced "));
  CHECK_MESSAGE(contains(tight, "not with it either. Less is needed with train.recompute, optimizer"), tight);
  const std::string less = run(with({"plan"}, with(rl, {"--train.recompute", "true"}))).out;
  CHECK_FALSE(contains(less, "with train.recompute, "));
  CHECK_FALSE(contains(run(with({"plan"}, with(rl, {"--train.modules", "adapter"}))).out, "fits: host"));
}

TEST_CASE("plan: what a recipe says of a micro-batch and plan does not use is named, and which keys say it here") {
  const Strings rice = {"plan",
                        "--config",
                        "configs/model/rice-vit-l.json",
                        "configs/recipe/rice-pretrain.json",
                        "--train.micro_batches",
                        "1",
                        "--plan.classes",
                        "100"};
  CHECK(run(rice).err ==
        "note: plan does not use train.micro_batch_samples 512, data.min_pixels 50176, data.max_pixels 50176 of "
        "configs/recipe/rice-pretrain.json; a micro-batch is planned as plan.images 1, plan.width 560, plan.height 560 "
        "say: set these\n");
  CHECK(run(with(rice, {"--plan.images", "2", "--plan.height", "224", "--plan.width", "224"})).err == "");
  const std::string some = run(with(rice, {"--plan.images", "2"})).err;
  CHECK(contains(some, "data.max_pixels 50176"));
  CHECK_FALSE(contains(some, "micro_batch_samples"));

  const ScratchDirectory dir;
  write_durably(dir / "pack.json",
                R"({"pack": {"capacity": 8192, "max_patches": 900}, "train": {"micro_batch_samples": 4}})");
  const Strings whole = {"plan", "--config", tiny, dir / "pack.json"};
  CHECK(contains(run(whole).err,
                 cat("train.micro_batch_samples 4, pack.capacity 8192, pack.max_patches 900 of ", dir / "pack.json",
                     "; a micro-batch is planned as plan.images 1, plan.width 560, plan.height 560, plan.text_tokens "
                     "112, plan.segments 1 say")));
  CHECK(run(with(whole, {"--plan.text_tokens", "300", "--plan.images", "2"})).err == "");
  const std::string text = run(with(whole, {"--what", "text"})).err;
  CHECK(contains(text, "planned as plan.text_tokens 112, plan.segments 1 say"));
  CHECK_FALSE(contains(text, "max_patches"));
  CHECK(contains(run({"plan", "--config", tiny, "configs/recipe/8b-midtrain.json", "--train.micro_batches", "1"}).err,
                 "does not use train.max_tokens 32768 of configs/recipe/8b-midtrain.json"));
}

TEST_CASE("plan: ranks that a mesh lacks are asked for by plan's own key") {
  CHECK(refused("plan", {"--config", "configs/model/mesh.json", "--parallel.tensor", "2"}) ==
        "parallel.tensor 2: does not divide 1 rank; --plan.ranks 2 plans as many");
  CHECK(contains(refused("plan", {"--config", "configs/model/mesh.json", "--plan.ranks", "6", "--plan.device", "h100",
                                  "--parallel.pipeline", "4"}),
                 "does not divide 6 ranks; --plan.ranks 8 plans as many"));
}

TEST_CASE(
    "plan: of pictures to balance, decoding is measured and the search is priced in the type that it computes in") {
  const auto planned = [](const Strings& more) {
    const Outcome ended =
        run(with({"plan", "--config", "configs/model/clip-b.json", "--what", "clip", "--plan.pictures", "1000000",
                  "--plan.device", "h100", "--plan.width", "64", "--plan.height", "64"},
                 more));
    CHECK_MESSAGE(ended.exit == 0, ended.err);
    return ended.out;
  };
  // 0.4 of NVIDIA's 67 TFLOP/s in f32, whatever the model computes in, whose own rate is of 989 and 67.
  for (const auto& [dtype, rate] : {std::pair{"bf16", "3.96e+14"}, {"f32", "2.68e+13"}}) {
    const std::string out = planned({"--dtype", dtype, "--plan.mfu", "0.4", "--plan.cores", "16"});
    CHECK_MESSAGE(contains(out, cat("FLOPs at ", rate, " FLOP/s a device, search ")), out);
    CHECK_MESSAGE(contains(out, " at 2.68e+13, in f32 (mfu 0.40)"), out);
    CHECK_MESSAGE(contains(out, "ms of a core a picture, 16 cores a machine"), out);
    CHECK_MESSAGE(contains(out, "a JPEG of 64 x 64 on one core of this machine"), out);
  }
  CHECK(contains(planned({}), "8 cores a device are a guess"));
}

TEST_CASE("plan: a vocabulary that is the tokenizer's is read from one, or asked for") {
  for (const Strings& model : {Strings{"--config", "configs/model/demo.json"},
                               {"--config", "configs/model/clip-demo.json", "--what", "clip"}}) {
    CHECK(refused("plan", model) ==
          "plan: text.vocabulary is 0, as many as the tokenizer has, and plan has none: give --text.vocabulary N, or "
          "--tokenizer DIRECTORY");
    const Outcome read = run(with({"plan"}, with(model, {"--tokenizer", "data/tokenizer"})));
    CHECK(read.exit == 0);
    CHECK(read.out == run(with({"plan"}, with(model, {"--text.vocabulary", "278"}))).out);
    CHECK(contains(refused("plan", with(model, {"--tokenizer", "data/tokenizer", "--text.vocabulary", "200"})),
                   "text.vocabulary is 200, the tokenizer in data/tokenizer has 278 tokens"));
  }
  CHECK(
      contains(refused("plan", {"--model", checkpoint, "--tokenizer", "data/tokenizer"}), "--tokenizer has no effect"));
}

TEST_CASE("plan: a CLIP model is not taken for another, and half a description is said to be one") {
  CHECK(refused("plan", {"--config", "configs/model/clip-b.json"}) ==
        "plan: configs/model/clip-b.json: clip.image: describes a CLIP model, which --what clip plans; without it a "
        "whole vision-language model is planned");
  CHECK(contains(refused("plan", {"--config", tiny, "--clip.image", "28"}), "which --what clip plans"));
  CHECK(run({"plan", "--config", "configs/model/clip-b.json", "--what", "clip"}).err == "");
  CHECK(contains(run({"plan", "--config", "configs/model/rice-vit-l.json"}).err,
                 "no key of section text is given: the decoder is the keys' defaults, the 4B's; --what vision"));
  CHECK(run({"plan", "--config", tiny}).err == "");
}

TEST_CASE(
    "plan, merge, pretrain: a file that describes another model than the directory beside it is refused, key by key") {
  const ScratchDirectory dir;
  const auto file = [&](const std::string& text) {
    write_durably(dir / "c.json", text);
    return dir / "c.json";
  };
  const TextConfig own = read_model_config(checkpoint).text;
  const std::string layers = std::to_string(own.layers);
  const auto planned = [&](const std::string& text) {
    return refused("plan", {"--model", checkpoint, "--config", file(text)});
  };
  CHECK(planned(R"({"text": {"layers": 77, "hidden": )" + std::to_string(own.hidden) + "}}") ==
        cat(dir / "c.json", ": describes another model than ", checkpoint, " holds: text.layers 77, there ", layers,
            "; leave out one of them"));
  CHECK(contains(planned(R"({"vision": {"depth": 77}})"), "vision.depth 77, there "));
  CHECK(contains(planned(R"({"text": {"qk_norm": false}})"), "text.qk_norm false, there true"));
  CHECK(contains(planned(R"({"text": {"mlp_only_layers": ["0"]}})"), "text.mlp_only_layers"));
  CHECK(contains(refused("plan", {"--model", checkpoint, "--text.layers", "77"}), "--text.layers has no effect"));
  CHECK(
      run({"plan", "--model", checkpoint, "--config", file(R"({"text": {"vocabulary": 0, "layers": )" + layers + "}}")})
          .exit == 0);

  const Strings parts = {"--tower", checkpoint, "--tokenizer", "data/tokenizer", "--out", dir / "m", "--config"};
  const std::string deep = R"({"vision": {"depth": 77}})";
  CHECK(contains(refused("merge", with(parts, {tiny, file(deep)})), "vision.depth 77, there "));
  const Strings language = {"--language", checkpoint, "--tokenizer", "tests/golden/dense/checkpoint",
                            "--out",      dir / "m",  "--config"};
  CHECK(contains(refused("merge", with(language, {tiny, file(R"({"text": {"layers": 77}})")})),
                 "text.layers 77, there "));
  const Strings text = {"--what",  "text", "--model", checkpoint, "--data.text", dir / "t.txt",
                        "--steps", "1",    "--out",   dir / "m",  "--config"};
  write_durably(dir / "t.txt", "a b c d");
  CHECK(contains(refused("pretrain", with(text, {file(R"({"text": {"layers": 77}})")})), "text.layers 77, there "));
  CHECK_FALSE(std::filesystem::exists(dir / "m"));
}

TEST_CASE("merge: the directory of a run of the tower is told where the tower lies") {
  const ScratchDirectory dir;
  make_directories(dir / "run/tower");
  write_durably(dir / "run/tower/config.json", "{}");
  CHECK(thrown([&] { read_tower_source_config(dir / "run", 2); }) ==
        cat(dir / "run", ": holds a run; its tower is ", dir / "run/tower"));
  CHECK(contains(
      refused("merge", {"--tower", dir / "run", "--config", tiny, "--tokenizer", "data/tokenizer", "--out", dir / "m"}),
      "its tower is "));
}
