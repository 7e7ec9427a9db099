// Training in ranks that are processes with a simulated GPU each, over the stand-in for NCCL: the bits of one rank on
// one such GPU.
#include "kernels/sim/nccl_stand_in.h"
#include "tests/devices/nccl_cases.h"
#include "tests/devices/sim_device.h"
#include "tests/train/job_world.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

namespace {

template <class GPU>
std::vector<Ended> on_gpus(int n, TrainJob job, Policy policy, CommSum sum,
                           const std::function<void(int rank)>& prepare = {}) {
  return in_ranks(n, 60, [&](ProcessRanks& host) {
    GPU device(policy, 1);
    NcclRanks ranks(host, device, sum);
    if (prepare) prepare(host.rank());
    job.device = &device, job.ranks = &ranks;
    quietly(job);
    ranks.barrier();
    ranks.close();
  });
}

// The model's hash, and what the log says of every step.
template <class GPU>
std::string result(int n, const TrainJob& job, Policy policy, CommSum sum = CommSum::ordered) {
  for (const Ended& e : on_gpus<GPU>(n, job, policy, sum)) CHECK_MESSAGE(e.exit == 0, e.error);
  return fs::exists(job.out + "/model/model.safetensors") ? model_sha(job) + "\n" + steps_of(job) : "nothing";
}

}  // namespace

TEST_CASE("gpu ranks: twenty steps of two ranks are those of one for every stage of ZeRO and both sums") {
  const World w;
  const auto job = [&](const std::string& out, int zero) {
    TrainJob j = w.job(out);
    j.data.micro_batches_per_step = 4, j.data.samples_per_micro_batch = 1;
    j.train.steps = 20, j.train.zero = zero;
    j.save_every = 0;
    return j;
  };
  const std::string one = result<ForeignDevice>(1, job("one", 1), Policy::lazy);
  CHECK(one.size() > 1000);
  for (const int zero : {0, 1, 2, 3}) {
    INFO("zero ", zero);
    const Policy policy = zero % 2 ? Policy::others_first : Policy::lazy;
    CHECK(result<ForeignDevice>(2, job(cat("zero", zero), zero), policy) == one);
  }
  // Of two ranks a sum has one order.
  CHECK(result<ForeignDevice>(2, job("own", 1), Policy::lazy, CommSum::nccl) == one);
}

TEST_CASE("gpu ranks: sums beside backward are those of one rank, whatever order streams run in") {
  const World w;
  const auto job = [&](const std::string& out, int zero) {
    TrainJob j = w.job(out);
    j.data.micro_batches_per_step = 4, j.data.samples_per_micro_batch = 1;
    j.train.steps = 5, j.train.zero = zero;
    j.train.overlap = true, j.train.bucket = 2 * kernels::norm_chunk;  // of which the model has several
    j.save_every = 0;
    return j;
  };
  const std::string one = result<ForeignDevice>(1, job("one", 1), Policy::lazy);
  CHECK(one.size() > 1000);
  for (const Policy policy : {Policy::eager, Policy::lazy, Policy::others_first, Policy::random})
    for (const int zero : {0, 1, 2}) {
      INFO("policy ", static_cast<int>(policy), ", zero ", zero);
      CHECK(result<ForeignDevice>(2, job(cat("zero", zero, static_cast<int>(policy)), zero), policy) == one);
    }
  CHECK(result<ForeignDevice>(2, job("own", 1), Policy::others_first, CommSum::nccl) == one);
  std::string refused;
  for (const Ended& e : on_gpus<ForeignDevice>(2, job("divided", 3), Policy::lazy, CommSum::ordered)) {
    CHECK(e.exit == 2);
    refused += e.error;
  }
  CHECK(contains(refused, "comm.overlap true with parallel.zero 3 on device foreign: not built"));
}

TEST_CASE("gpu ranks: with the kernels of CUDA two ranks are one") {
  const World w;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    const auto job = [&](const std::string& out) {
      TrainJob j = w.job(out + name_of(dtype));
      j.train.steps = 2, j.dtype = dtype, j.save_every = 0;
      j.train.overlap = dtype == Dtype::bf16;
      j.data.samples_per_micro_batch = 1;
      return j;
    };
    CHECK(result<SimDevice>(2, job("two"), Policy::lazy) == result<SimDevice>(1, job("one"), Policy::lazy));
  }
}

TEST_CASE("gpu ranks: the steps that gpu-check compares on real GPUs are alike on simulated ones") {
  all_well(in_ranks(2, 60, [&](ProcessRanks& host) {
    ForeignDevice device(Policy::lazy, 1);
    NcclRanks ranks(host, device, CommSum::ordered);
    for (const int zero : {0, 3}) trains_as_one(ranks, device, zero, zero == 0);
    ranks.barrier();
    ranks.close();
  }));
}

TEST_CASE("gpu ranks: a rank that dies in a call of its GPU ends the run") {
  const World w;
  const auto ended = on_gpus<ForeignDevice>(2, w.job("killed"), Policy::lazy, CommSum::ordered, [](int rank) {
    if (rank == 1) sim::nccl_modes().dies_at = 10;
  });
  CHECK(ended[0].exit == 3);
  CHECK(ended[1].exit == -SIGKILL);
  CHECK_MESSAGE(contains(ended[0].error, "rank 1 ended without a word in step "), ended[0].error);
}
