// Training in bf16 from directory to directory: masters and moments go through checkpoints, and what is written has
// the digits that were asked for.
#include <doctest/doctest.h>

#include "autograd/ops.h"
#include "base/io/file.h"
#include "model/files/hf_directory.h"
#include "tests/base/kill_at_step.h"
#include "tests/check.h"
#include "tests/train/job_world.h"

using namespace ov;
using namespace ov::test;

namespace {

TrainJob bf16_job(const World& world, const std::string& out) {
  TrainJob job = world.job(out);
  job.dtype = Dtype::bf16;
  return job;
}

std::vector<float> weights(const std::string& directory, Dtype stored) {
  std::vector<float> all;
  const CheckpointReader reader = CheckpointReader::open(directory);
  for (const auto& e : reader.entries()) {
    const Tensor t = reader.tensor(e.name);
    CHECK(t.dtype() == stored);
    const auto values = t.to(Dtype::f32).to_vector<float>();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

std::vector<float> rounded(std::vector<float> x) {
  for (float& v : x) v = float(Bf16(v));
  return x;
}

}  // namespace

TEST_CASE("a bf16 run that is killed and resumed ends with the bits of an undisturbed one: masters, moments, model") {
  const Threads one(1);
  const World world;
  const TrainJob whole = bf16_job(world, "whole");
  quietly(whole);
  int killed = 0;
  for (const int countdown : {70, 130, 200}) {
    const TrainJob job = bf16_job(world, cat("killed", countdown));
    const int code = in_child(job, [&] { die_at_step(countdown); });
    killed += code == 128 + SIGKILL;
    quietly(job);
    CHECK(model_sha(job) == model_sha(whole));
    for (const char* file : {"model.safetensors", "optimizer.safetensors"})
      CHECK(sha256_file(cat(job.out, "/checkpoints/step-00000006/", file)) ==
            sha256_file(cat(whole.out, "/checkpoints/step-00000006/", file)));
  }
  CHECK(killed > 0);
  // Masters, not values: most of them are no bf16 numbers.
  const auto saved = weights(whole.out + "/checkpoints/step-00000006", Dtype::f32);
  CHECK(saved != rounded(saved));
}

TEST_CASE("a bf16 run writes its masters, or by export.dtype the bf16 numbers that it computed with") {
  const World world;
  const TrainJob wide = bf16_job(world, "wide");
  TrainJob narrow = bf16_job(world, "narrow"), from_f32 = world.job("from_f32");
  narrow.export_dtype = from_f32.export_dtype = Dtype::bf16;
  quietly(wide), quietly(narrow), quietly(from_f32);
  const auto masters = weights(wide.out + "/model", Dtype::f32), values = weights(narrow.out + "/model", Dtype::bf16);
  CHECK(values == rounded(masters));
  CHECK(values != masters);
  CHECK(weights(from_f32.out + "/model", Dtype::bf16) != values);
  const auto type = [](const TrainJob& job) {
    return Json::read(job.out + "/model/config.json").at("torch_dtype").as_string();
  };
  CHECK(type(wide) == "float32");
  CHECK(type(narrow) == "bfloat16");
  CHECK(type(from_f32) == "bfloat16");
  // Read in bf16, both are the model that was trained.
  const auto values_of = [](const TrainJob& job) {
    return load_model(job.out + "/model", {.dtype = Dtype::bf16})->parameters().values().contiguous_copy();
  };
  CHECK(same_bits(values_of(wide), values_of(narrow)));
}

TEST_CASE("masters begin with all digits of the weights that a run starts from; what is frozen is bf16") {
  const World world;
  TrainJob job = bf16_job(world, "still");
  job.train.schedule.peak = job.train.schedule.min = 0;
  quietly(job);
  const auto start = weights(job.model_dir, Dtype::f32);
  CHECK(weights(job.out + "/model", Dtype::f32) == start);
  job.out = world.path("frozen");
  job.train.modules = {"adapter"};
  quietly(job);
  const auto half_frozen = weights(job.out + "/model", Dtype::f32);
  CHECK(half_frozen != start);
  CHECK(rounded(half_frozen) == rounded(start));
}

TEST_CASE("gradients of a bf16 activation that is read as a table, or several times, are summed in f32, rounded once") {
  // Four rows read one row of the table: 256 + 3 · 1 is 259, which bf16 does not hold, nor any sum on the way to it.
  const Tensor x = Tensor::of<float>({0.5f}, {1, 1}).to(Dtype::bf16), ids = Tensor::of<std::int64_t>({0, 0, 0, 0}, {4});
  const Tensor seed = Tensor::of<float>({256, 1, 1, 1}, {4, 1}).to(Dtype::bf16);
  Tape tape;
  const Var leaf = tape.input(x, true);
  tape.backward(embedding(ids, leaf), seed);
  CHECK(tape.gradient(leaf).to_vector<float>() == std::vector<float>{259});
  Tape through;  // an op in between reads the sum rounded: 260, where sums in bf16 would have stayed at 256
  const Var input = through.input(x, true);
  through.backward(embedding(ids, swiglu(input, Var{Tensor::of<float>({2}, {1, 1}).to(Dtype::bf16)})), seed);
  Tape once;
  const Var other = once.input(x, true);
  once.backward(swiglu(other, Var{Tensor::of<float>({2}, {1, 1}).to(Dtype::bf16)}),
                Tensor::of<float>({260}, {1, 1}).to(Dtype::bf16));
  CHECK(same_bits(through.gradient(input), once.gradient(other)));
  // Summed with a bf16 gradient of another op, whichever comes first: backward goes from the last to the first.
  Tape narrow_first, wide_first;
  const Var a = narrow_first.input(x, true), b = wide_first.input(x, true);
  const Var a_rows = embedding(ids, a), a_twice = add(a, a), b_twice = add(b, b), b_rows = embedding(ids, b);
  narrow_first.backward(std::vector<Var>{a_rows, a_twice}, std::vector<Tensor>{seed, x});
  wide_first.backward(std::vector<Var>{b_rows, b_twice}, std::vector<Tensor>{seed, x});
  for (const Tensor& g : {narrow_first.gradient(a), wide_first.gradient(b)})
    CHECK(g.to_vector<float>() == std::vector<float>{260});
  Tape fan_out;  // 256 + 1 from two ops that both give bf16
  const Var c = fan_out.input(x, true);
  const Var c_views[] = {view(c, {1}), view(c, {1, 1, 1})};
  fan_out.backward(c_views, std::vector<Tensor>{seed.slice(0, 0, 1).view({1}), seed.slice(0, 1, 2).view({1, 1, 1})});
  CHECK(fan_out.gradient(c).to_vector<float>() == std::vector<float>{257});
}

TEST_CASE("wide scores of bf16 rows are f32: cosines keep the digits that a margin's scale makes visible") {
  const Tensor r = Tensor::of<float>({1, 0.0625f}, {1, 2}).to(Dtype::bf16);
  Tape tape;
  const Var x = tape.input(r, true), w = tape.input(r, true);
  const Var wide = linear(x, w, {}, true), narrow = linear(x, w);
  CHECK(wide.value.to_vector<float>() == std::vector<float>{1.00390625f});
  CHECK(float(narrow.value.data<Bf16>()[0]) == 1.0f);
  tape.backward(wide, Tensor::of<float>({1.00390625f}, {1, 1}));  // rounded to 1 before the products
  CHECK(tape.gradient(x).to(Dtype::f32).to_vector<float>() == std::vector<float>{1, 0.0625f});
}
