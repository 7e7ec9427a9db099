// Traps of tests/traps.md that no other test happens to prove.
#include <doctest/doctest.h>

#include "model/files/hf_directory.h"
#include "tests/check.h"
#include "tests/model/packed_rows.h"

using namespace ov;
using namespace ov::test;

TEST_CASE("config.json: a second vocabulary size at the top is not the model's (M-13)") {
  const std::string path = "tests/golden/dense/checkpoint";
  const ModelConfig given = read_model_config(path);
  Json json = Json::read(path + "/config.json");
  for (const std::int64_t wrong : {152064, 1}) {
    json.set("vocab_size", wrong);
    CHECK(ModelConfig::read(json, "config.json").text.vocabulary == given.text.vocabulary);
  }
}

TEST_CASE("vision layout: a frame is a segment, or a video is; patches and their places are the same (M-05)") {
  const std::vector<Grid> grids = {{1, 2, 4}, {3, 2, 2}};
  const VisionLayout frames(grids, 2, false, cpu(), true), videos(grids, 2, false, cpu(), false);
  CHECK(frames.patches == videos.patches);
  CHECK(frames.class_rows.to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 9, 14, 19});
  CHECK(videos.class_rows.to_vector<std::int64_t>() == std::vector<std::int64_t>{0, 9});
  CHECK(frames.segments->pairs == 9 * 9 + 3 * 5 * 5);
  CHECK(videos.segments->pairs == 9 * 9 + 13 * 13);
  const auto places = [](const VisionLayout& l) {
    std::vector<std::int64_t> of_patches;
    for (const std::int64_t row : l.patch_rows.to_vector<std::int64_t>())
      for (const std::int64_t i : {0, 1}) of_patches.push_back(l.places[static_cast<std::size_t>(2 * row + i)]);
    return of_patches;
  };
  CHECK(places(frames) == places(videos));
}

TEST_CASE("tables of rotary angles stay f32 in a bf16 model (M-22)") {
  Parameters set;
  set.declare("w", {2}, Role::matrix);
  const Tensor* table = set.constant({1.0F / 3, 257});  // bf16 holds neither
  set.allocate(Dtype::bf16, cpu());
  CHECK(set.dtype() == Dtype::bf16);
  CHECK(table->to_vector<float>() == std::vector<float>{1.0F / 3, 257});
}

TEST_CASE("a micro-batch of text alone: the tower is not run, and its gradients and the merger's are zero (M-50)") {
  const auto model = small_model();
  model->parameters().train([](const Parameter&) { return true; });
  MicroBatch text;
  add_sample(text, 1, 0, 0, 12);
  const Tensor gradients = loss_and_gradients(*model, as_step({text}), NormaliseBy::global_token_mean).gradients;
  double tower = 0, decoder = 0;
  for (const auto& e : model->parameters().entries()) {
    const bool of_decoder = e.parameter.module == Module::language_model;
    for (const float g : gradient_of(e.parameter, gradients).flat().to_vector<float>())
      (of_decoder ? decoder : tower) += std::abs(g);
  }
  CHECK(tower == 0);
  CHECK(decoder > 0);
  const Parameter* w = model->parameters().find("model.visual.blocks.0.mlp.fc1.weight");
  w->value.fill(NAN);  // not even read
  CHECK(std::isfinite(loss_and_gradients(*model, as_step({text}), NormaliseBy::global_token_mean).loss));
}
