// What ranks with a GPU each do over NCCL, whichever it is: `make test` runs it on simulated GPUs over the stand-in,
// `make gpu-check` on real ones over the library. Functions run in every rank and throw where something is not so.
#pragma once
#include "comm/group.h"
#include "comm/nccl_ranks.h"
#include "kernels/adamw.h"
#include "parallel/mesh.h"
#include "tests/comm/every_call.h"
#include "tests/train/training_run.h"

namespace ov::test {

using GpuRankWork = std::function<void(NcclRanks&, gpu::CudaDevice&)>;

// Every other rank, and pairs of neighbours: groups that exist at the same time, each with its own calls.
inline void groups_sum(NcclRanks& ranks, gpu::CudaDevice& device) {
  const int me = ranks.rank();
  std::vector<int> alike, pair;
  for (int r = 0; r < ranks.ranks(); ++r) {
    if (r % 2 == me % 2) alike.push_back(r);
    if (r / 2 == me / 2) pair.push_back(r);
  }
  Group a(ranks, alike), b(ranks, pair);
  for (Group* group : {&a, &b, &a}) {
    const Tensor t = Tensor::of(std::vector<float>(100, static_cast<float>(1 << me)), {100}, device);
    group->all_reduce(t);
    int expected = 0;
    for (const int r : group == &a ? alike : pair) expected += 1 << r;
    require(t.to_vector<float>() == std::vector<float>(100, static_cast<float>(expected)), "sum over a group");
  }
}

inline void host_messages_keep_their_place(NcclRanks& ranks, gpu::CudaDevice& device) {
  const Tensor far = numbers(Dtype::f32, 100, ranks.rank()).to(device), near = numbers(Dtype::i64, 3, ranks.rank());
  ranks.all_reduce(far);
  // Rank 1 waits at the host for rank 0, which waits for rank 1's GPU.
  if (ranks.rank() == 0)
    require(same_bits(far, sum_of_all(Dtype::f32, 100, ranks.ranks())), "sum"), ranks.send(near, 1);
  if (ranks.rank() == 1) ranks.recv(near, 0), require(same_bits(near, numbers(Dtype::i64, 3, 0)), "message");
  const Tensor here = numbers(Dtype::f32, 100, 0);
  Parts to(static_cast<std::size_t>(ranks.ranks())), from(to.size());
  to[0] = from[1] = far, to[1] = from[0] = here;
  std::string said;
  try {
    ranks.all_to_all(to, from);
  } catch (const Error& e) { said = e.what(); }
  require(contains(said, "some lie on"), "tensors of two devices in one call are refused");
}

// Calls of two ranks that differ, and what one of them says of it: all of the texts of one row.
struct Differing {
  const char* what;
  GpuRankWork work;
  std::vector<std::vector<std::string>> says;
  bool right(const std::string& said) const {
    return std::any_of(says.begin(), says.end(), [&](const auto& texts) {
      return std::all_of(texts.begin(), texts.end(), [&](const std::string& t) { return contains(said, t); });
    });
  }
};

inline std::vector<Differing> calls_that_differ(CommSum sum) {
  const auto tensor = [](Device& d, int n, Dtype dtype) { return Tensor::zeros({n}, dtype, d); };
  return {
      // In a ring each finds the other; the first to do so says it.
      {"size",
       [=](NcclRanks& r, gpu::CudaDevice& d) {
         r.at_step(4);
         r.broadcast(tensor(d, 10 + r.rank(), Dtype::f32), 0);
       },
       {{"rank 1 in broadcast of step 4: expected 11 x f32 (44 bytes) from rank 0, which sent 10 x "},
        {"rank 0 in broadcast of step 4: expected 10 x f32 (40 bytes) from rank 1, which sent 11 x "}}},
      {"type",
       [=](NcclRanks& r, gpu::CudaDevice& d) { r.broadcast(tensor(d, 10, r.rank() ? Dtype::bf16 : Dtype::f32), 0); },
       {{"expected 10 x bf16 (20 bytes) from rank 0, which sent 10 x f32 (40 bytes)"},
        {"expected 10 x f32 (40 bytes) from rank 1, which sent 10 x bf16 (20 bytes)"}}},
      {"order",
       [=](NcclRanks& r, gpu::CudaDevice& d) {
         r.at_step(4);
         r.rank() ? r.broadcast(tensor(d, 10, Dtype::f32), 1) : r.all_reduce(tensor(d, 10, Dtype::f32));
       },
       {{"broadcast of step 4", sum == CommSum::nccl ? "all_reduce of step 4" : "reduce_scatter of step 4"}}},
  };
}

// Three steps of micro-batches that differ, of ranks and of this GPU alone: the same reports, to the bit.
inline void trains_as_one(NcclRanks& ranks, gpu::CudaDevice& device, int zero, bool overlap) {
  const auto steps = [&](Communicator& world) {
    Mesh mesh(world, 1);
    Onevision model(small_config());
    model.parameters().allocate(Dtype::f32, device);
    initialize(model.parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2, .embedding_std = 0.5}, 1);
    std::vector<MicroBatch> rows(4);
    for (std::size_t i = 0; i < rows.size(); ++i) add_sample(rows[i], i + 1, i % 2 ? 0 : 2, 2, 5 + std::int64_t(i));
    FixedSteps data({as_step(rows)});
    TrainOptions o = short_run(3);
    o.zero = zero, o.overlap = overlap, o.bucket = 2 * kernels::norm_chunk;  // of which the model has several
    LanguageObjective objective(model, data, o);
    StepEngine engine(objective, o, mesh.data);
    return steps_of(engine, 3);
  };
  const std::string alone = steps(one_rank()), together = steps(ranks);
  require(together == alone, cat("zero ", zero, overlap ? ", overlap" : "", ": as one GPU:\n", together, alone));
}

}  // namespace ov::test
