// How far a mesh whose sums are not those of one rank may be from it.
#pragma once
#include <cmath>

#include "tests/parallel/mesh_world.h"

namespace ov::test {

inline double total(Communicator& ranks, double own) {
  const Tensor t = Tensor::of(std::vector<double>{own}, {1});
  ranks.all_reduce(t);
  return t.data<double>()[0];
}

// Largest difference of two runs: of a step's loss, and of a parameter relative to its tensor's largest.
struct Distance {
  double loss = 0, parameter = 0, largest_loss = 0;
  bool within(const Distance& bound) const { return loss <= bound.loss && parameter <= bound.parameter; }
};

inline Distance between(const TrainJob& a, const TrainJob& b) {
  Distance d;
  const auto losses = [](const TrainJob& job) {
    std::vector<double> all;
    for (const Json& line : lines_of(job.out + "/run.jsonl"))
      if (line.at("type").as_string() == "step") all.push_back(line.at("loss").as_double());
    return all;
  };
  const auto x = losses(a), y = losses(b);
  REQUIRE(x.size() == y.size());
  REQUIRE(x.size() > 0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    d.loss = std::max(d.loss, std::abs(x[i] - y[i]));
    d.largest_loss = std::max(d.largest_loss, std::abs(y[i]));
  }
  const auto left = CheckpointReader::open(a.out + "/model"), right = CheckpointReader::open(b.out + "/model");
  REQUIRE(left.entries().size() == right.entries().size());
  for (const auto& e : left.entries()) {
    const auto v = left.tensor(e.name).to(Dtype::f64).to_vector<double>(),
               w = right.tensor(e.name).to(Dtype::f64).to_vector<double>();
    REQUIRE(v.size() == w.size());
    double largest = 0, worst = 0;
    for (std::size_t i = 0; i < v.size(); ++i)
      largest = std::max(largest, std::abs(v[i])), worst = std::max(worst, std::abs(v[i] - w[i]));
    if (largest > 0) d.parameter = std::max(d.parameter, worst / largest);
  }
  return d;
}

inline std::string said(const Distance& d) { return cat("loss ", d.loss, ", parameters ", d.parameter); }

// One rank's rounding, in f32 against f64, is the measure: exact arithmetic lies within that of either sum, so a mesh
// may be twice as far; and each of two losses is rounded once more as it is stored, by 2^-24 of it. In f64 all rounding
// is 2^-29 of f32's.
inline Distance bound_of(const Distance& rounding, Dtype dtype) {
  const double scale = dtype == Dtype::f32 ? 1 : 0x1p-29;
  return {scale * (2 * rounding.loss + 2 * 0x1p-24 * rounding.largest_loss), scale * 2 * rounding.parameter};
}

// `samples`: in a micro-batch.
inline void compare(const MeshWorld& world, const std::vector<Ways>& meshes, bool f64_too, std::int64_t samples = 1) {
  const auto job_to = [&](const std::string& out, Dtype dtype = Dtype::f32) {
    TrainJob job = world.job(cat(out, samples), dtype);
    job.data.samples_per_micro_batch = samples;
    return job;
  };
  const TrainJob exact = job_to("exact", Dtype::f64), one = job_to("one");
  quietly(exact), quietly(one);
  const Distance rounding = between(one, exact);
  CHECK(rounding.loss > 0);
  TrainJob other = job_to("other");
  other.train.schedule.peak *= 1 + 1e-2;
  quietly(other);
  CHECK_MESSAGE(!between(other, exact).within(bound_of(rounding, Dtype::f32)),
                "the bound lets a learning rate of 1 % more pass");
  int folder = 0;
  for (const Ways& ways : meshes)
    for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
      if (dtype == Dtype::f64 && !f64_too) continue;
      const TrainJob job = job_to(cat("mesh", folder++), dtype);
      in_mesh(ways, job);
      const Distance d = between(job, exact), bound = bound_of(rounding, dtype);
      CHECK_MESSAGE(d.within(bound), ways.said(), " ", std::string(name_of(dtype)), ": ", said(d),
                    "; bound: ", said(bound));
    }
}

}  // namespace ov::test
