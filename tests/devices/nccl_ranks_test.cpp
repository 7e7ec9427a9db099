// Ranks that are processes with a simulated GPU each, over a stand-in for NCCL.
#include "comm/nccl_ranks.h"

#include <doctest/doctest.h>

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "base/clock.h"
#include "kernels/sim/nccl_stand_in.h"
#include "tests/devices/foreign_device.h"
#include "tests/devices/nccl_cases.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

namespace {

constexpr Policy policies[] = {Policy::eager, Policy::lazy, Policy::others_first, Policy::random};

std::vector<Ended> in_gpu_ranks(int n, double timeout, Policy policy, CommSum sum, const GpuRankWork& work) {
  return in_ranks(n, timeout, [&](ProcessRanks& host) {
    ForeignDevice device(policy, 1);
    NcclRanks ranks(host, device, sum);
    work(ranks, device);
    ranks.barrier();
    ranks.close();
    require(sim::nccl_communicators() == 0, "every communicator has ended");
  });
}

std::string said(const std::vector<Ended>& ended) {
  std::string all;
  for (const Ended& e : ended) {
    CHECK(e.exit != 0);
    all += e.error.empty() ? "" : e.error + "\n";
  }
  return all;
}

}  // namespace

TEST_CASE("nccl: every call on simulated GPUs has the bits of ranks on the CPU, whatever order streams run in") {
  for (const int n : {1, 2, 4})
    for (const Policy policy : policies)
      all_well(in_gpu_ranks(n, 20, policy, CommSum::ordered, [](NcclRanks& ranks, gpu::CudaDevice& device) {
        every_call(ranks, device, {0, 1, 7, 4099}, {Dtype::f32, Dtype::bf16});
        every_call(ranks, device, {5}, {Dtype::f64, Dtype::i64});
      }));
}

TEST_CASE("nccl: its own sums are within rounding of the ordered one, and every rank has the same") {
  for (const int n : {2, 4})
    for (const Policy policy : policies)
      all_well(in_gpu_ranks(n, 20, policy, CommSum::nccl, [](NcclRanks& ranks, gpu::CudaDevice& device) {
        every_call(ranks, device, {0, 1, 7, 4099}, {Dtype::f32, Dtype::bf16}, within_rounding);
        every_call(ranks, device, {5}, {Dtype::f64, Dtype::i64}, within_rounding);
        // Where not all add, it is ours: -0 stays what it is.
        const Tensor whole = Tensor::zeros({4}, Dtype::f32, device);
        if (ranks.rank() == 0) whole.fill(-0.0);
        Parts parts(static_cast<std::size_t>(ranks.ranks()), whole.slice(0, 4, 4));
        parts[0] = whole;
        ranks.reduce_scatter(parts[static_cast<std::size_t>(ranks.rank())], parts, 1);
        if (ranks.rank() == 0) require(std::signbit(whole.to_vector<float>()[3]), "what adds nothing is not added");
      }));
  const Tensor sum = sum_of_all(Dtype::f32, 50, 4), short_of_one = sum_of_all(Dtype::f32, 50, 3);
  CHECK(within_rounding(sum, sum, 0, 4));
  CHECK_FALSE(within_rounding(short_of_one, sum, 0, 4));
}

TEST_CASE("nccl: its own sums beside ordered ones, in turns: bytes as counted, and how long, over the stand-in") {
  constexpr std::int64_t elements = 1 << 20, turns = 9;
  for (const int n : {2, 4})
    for (const Ended& e : in_ranks(n, 60, [n](ProcessRanks& host) {
           ForeignDevice device(Policy::eager, 1);
           NcclRanks ordered(host, device, CommSum::ordered);
           NcclRanks own(host, device, CommSum::nccl);
           const Tensor t = Tensor::zeros({elements}, Dtype::f32, device);
           std::vector<double> took[2];
           for (std::int64_t i = 0; i < 2 * turns; ++i) {
             NcclRanks& ranks = i % 2 ? own : ordered;
             host.barrier();
             const double start = monotonic_seconds();
             ranks.all_reduce(t);
             device.synchronize();
             host.barrier();
             took[i % 2].push_back(monotonic_seconds() - start);
           }
           for (NcclRanks* ranks : {&ordered, &own})
             require(ranks->sent() == turns * 2 * (n - 1) * 4 * elements / n, cat("bytes sent: ", ranks->sent()));
           for (std::vector<double>& times : took) std::sort(times.begin(), times.end());
           if (host.rank() == 0)
             std::printf(
                 "all_reduce of 4 MB over the stand-in for NCCL, %d simulated GPUs: ordered %.2f ms, nccl %.2f ms, "
                 "medians of %d in turns\n",
                 n, 1e3 * took[0][turns / 2], 1e3 * took[1][turns / 2], static_cast<int>(turns)),
                 std::fflush(stdout);
           host.barrier();
           own.close(), ordered.close();
         }))
      CHECK_MESSAGE(e.exit == 0, e.error);
}

TEST_CASE("nccl: sums in the switch change from call to call; ours do not see it (G-42)") {
  for (const CommSum sum : {CommSum::ordered, CommSum::nccl})
    all_well(in_gpu_ranks(4, 20, Policy::lazy, sum, [sum](NcclRanks& ranks, gpu::CudaDevice& device) {
      int seen = 0;
      for (const bool reorder : {false, true}) {
        sim::nccl_modes().reorder = reorder;
        std::vector<Tensor> sums;
        for (int i = 0; i < 4; ++i) {
          sums.push_back(numbers(Dtype::f32, 1000, ranks.rank()).to(device));
          ranks.all_reduce(sums.back());
          seen += !same_bits(sums.back(), sums[0]);
        }
        require((seen > 0) == (reorder && sum == CommSum::nccl), cat("reorder ", reorder, ": ", seen, " differ"));
      }
    }));
}

TEST_CASE("nccl: groups of ranks, each with its own calls") {
  for (const CommSum sum : {CommSum::ordered, CommSum::nccl})
    for (const int n : {2, 4}) all_well(in_gpu_ranks(n, 20, Policy::others_first, sum, groups_sum));
}

TEST_CASE("nccl: who waits for a letter does its GPU's part of what was called before") {
  for (const Policy policy : policies)
    all_well(in_gpu_ranks(2, 20, policy, CommSum::ordered, [](NcclRanks& ranks, gpu::CudaDevice& device) {
      const Tensor t = numbers(Dtype::f32, 100, ranks.rank()).to(device), letter = numbers(Dtype::i64, 1, 0);
      ranks.broadcast(t, 0);
      if (ranks.rank() == 0) {  // writes only when its GPU is done, for which it needs rank 1's
        t.to_vector<float>();
        return ranks.send(letter, 1);
      }
      require(ranks.sender(std::vector<int>{0}, 10) == 0, "a letter of rank 0");
      ranks.recv(letter, 0);
      require(same_bits(t, numbers(Dtype::f32, 100, 0)), "the values of rank 0");
    }));
}

TEST_CASE("nccl: messages of the host keep their place among those of the GPU") {
  for (const Policy policy : policies)
    all_well(in_gpu_ranks(2, 20, policy, CommSum::ordered, host_messages_keep_their_place));
}

TEST_CASE("nccl: calls in another order or of another size or type are named on both sides before bytes go (G-58)") {
  for (const CommSum sum : {CommSum::ordered, CommSum::nccl})
    for (const Differing& d : calls_that_differ(sum)) {
      const std::string all = said(in_gpu_ranks(2, 5, Policy::lazy, sum, d.work));
      CHECK_MESSAGE(d.right(all), std::string(d.what), ": ", all);
      CHECK_FALSE(d.right("rank 0 in all_gather of step 3"));
    }
}

TEST_CASE("nccl: a rank that is killed in a call, or whose library fails, ends all at once (G-59)") {
  for (const Policy policy : {Policy::eager, Policy::lazy})
    for (const bool killed : {true, false}) {
      const auto start = std::chrono::steady_clock::now();
      const auto ended = in_gpu_ranks(3, 30, policy, CommSum::ordered, [&](NcclRanks& ranks, gpu::CudaDevice& device) {
        if (ranks.rank() == 1) (killed ? sim::nccl_modes().dies_at : sim::nccl_modes().fails_at) = 5;
        const Tensor t = numbers(Dtype::f32, 1000, ranks.rank()).to(device);
        for (int step = 1; step < 9; ++step) {
          ranks.at_step(step);
          ranks.all_reduce(t);
        }
        t.to_vector<float>();
      });
      CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(15));
      std::string all;
      for (int r = 0; r < 3; ++r) {
        CHECK(ended[static_cast<std::size_t>(r)].exit == (killed && r == 1 ? -SIGKILL : 3));
        all += ended[static_cast<std::size_t>(r)].error;
      }
      if (killed) CHECK_MESSAGE(contains(all, "rank 1 ended without a word in step "), all);
      else CHECK_MESSAGE((contains(all, "rank 1 in ") && contains(all, "network") && contains(all, " of step ")), all);
    }
}

TEST_CASE("nccl: without groups a send waits for a receive behind it, and who watches says where") {
  for (const Policy policy : {Policy::eager, Policy::lazy}) {
    const auto start = std::chrono::steady_clock::now();
    const std::string all =
        said(in_gpu_ranks(2, 0.5, policy, CommSum::ordered, [](NcclRanks& ranks, gpu::CudaDevice& device) {
          sim::nccl_modes().groups = false;
          ranks.at_step(7);
          const Tensor to = Tensor::zeros({2, 9}, Dtype::f32, device), from = Tensor::zeros({2, 9}, Dtype::f32, device);
          ranks.all_to_all(to, from);
          to.to_vector<float>();
        }));
    CHECK_MESSAGE(contains(all,
                           " in all_to_all of step 7, call 1 on the GPU, 72 bytes: it has not run after 0.5 s "
                           "(comm.timeout)"),
                  all);
    CHECK(contains(all, "of step 7"));
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
  }
}

TEST_CASE("nccl: ranks have one version of the library, and it is not too old") {
  const auto with = [](int mine, int others) {
    return said(in_ranks(2, 5, [=](ProcessRanks& host) {
      ForeignDevice device(Policy::lazy);
      sim::nccl_modes().version = host.rank() == 0 ? mine : others;
      NcclRanks(host, device, CommSum::ordered);
    }));
  };
  CHECK(contains(with(22809, 22703), "has NCCL 22"));
  CHECK(contains(with(22809, 22703), ": expected one version"));
  CHECK(contains(with(22605, 22605), "version 22605; expected 22700"));
}

TEST_CASE("nccl: without a stand-in the library is opened by its name, or an error says what to install") {
  all_well(in_ranks(1, 5, [](ProcessRanks&) {  // a process of its own, which keeps the library
    ForeignDevice device(Policy::lazy);
    gpu::forget_nccl(device);
    try {
      require(gpu::Nccl(device, [] {}).version() >= 22700, "a version that is new enough");
    } catch (const Error& e) {
      require(contains(e.what(), "libnccl.so.2: ") && contains(e.what(), "2.27 or later"), e.what());
    }
  }));
}

TEST_CASE(
    "nccl: the stand-in as a library of NCCL's name, opened by it as on GPUs: every call, an error, a silent rank") {
  enum Kind { well, fails, silent };
  for (const CommSum sum : {CommSum::ordered, CommSum::nccl})
    for (const Kind kind : {well, fails, silent}) {
      const auto ended = in_ranks(2, kind == silent ? 2 : 20, [&](ProcessRanks& host) {
        const std::string path = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "libnccl.so.2";
        void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        require(library != nullptr, path + " is there");
        const auto forward_to = reinterpret_cast<void (*)(const gpu::nccl::Api*)>(::dlsym(library, "ov_forward_to"));
        const auto forwarded = reinterpret_cast<long (*)()>(::dlsym(library, "ov_forwarded"));
        forward_to(&sim::nccl_stand_in());
        ForeignDevice device(Policy::lazy, 1);
        gpu::forget_nccl(device);  // the stand-in that it brings: the library is opened by its name
        if (kind == fails && host.rank() == 1) sim::nccl_modes().fails_at = 5;
        NcclRanks ranks(host, device, sum);
        if (kind != silent)
          every_call(ranks, device, {0, 7, 4099}, {Dtype::f32, Dtype::bf16},
                     sum == CommSum::nccl ? within_rounding : bits_of_ordered);
        require(forwarded() > (kind == silent ? 0 : 100), cat("calls went through the library: ", forwarded()));
        ranks.at_step(3);
        if (kind == silent) sim::nccl_modes().groups = false;
        const Tensor t = Tensor::zeros({2, 9}, Dtype::f32, device), from = Tensor::zeros({2, 9}, Dtype::f32, device);
        ranks.all_to_all(t, from);
        t.to_vector<float>();
        ranks.barrier();
        ranks.close();
      });
      if (kind == well) all_well(ended);
      else {
        const std::string all = said(ended);
        CHECK_MESSAGE(contains(all, kind == fails ? "network" : "in all_to_all of step 3"), all);
      }
    }
}

TEST_CASE("nccl: variables that change numbers or waiting are named and overridden") {
  ::setenv("NCCL_ALGO", "Tree", 1), ::setenv("NCCL_COMM_BLOCKING", "1", 1), ::setenv("NCCL_NVLS_ENABLE", "0", 1);
  CHECK(gpu::settle_nccl_environment() == "NCCL_ALGO NCCL_COMM_BLOCKING");
  CHECK(std::string(::getenv("NCCL_ALGO")) == "Ring");
  CHECK(::getenv("NCCL_COMM_BLOCKING") == nullptr);
  CHECK(gpu::settle_nccl_environment() == "");
}

// Below the ranks, who agree on everything: what the stand-in finds.
TEST_CASE("nccl stand-in: ranks whose calls differ have an error that names both sides; misuse is refused") {
  const std::string all = said(in_ranks(2, 5, [](ProcessRanks& host) {
    ForeignDevice device(Policy::lazy);
    gpu::Nccl library(device, [&] { host.throw_failure(); });
    NcclWatch watch(host);
    watch.start(library);
    const Tensor id = Tensor::zeros({sizeof(gpu::nccl::Id)}, Dtype::u8, cpu());
    if (host.rank() == 0) *reinterpret_cast<gpu::nccl::Id*>(id.bytes()) = library.unique_id();
    host.broadcast(id, 0);
    const auto comm = library.join(*reinterpret_cast<gpu::nccl::Id*>(id.bytes()), 2, host.rank());
    const Tensor t = Tensor::zeros({16}, Dtype::f32, device), fewer = t.slice(0, 0, 15);
    const auto refused = [&](const std::function<void()>& calls, const char* why) {
      const std::string error = thrown([&] { library.queue(comm, calls); }, Exit::machine_failed);
      require(contains(error, why), error);
    };
    refused([&] { library.send(comm, t, host.rank()); }, "a message to oneself");
    refused([&] { library.send(comm, t, 2); }, "a rank that is not there");
    refused([&] { library.send(nullptr, t, 1); }, "a communicator that has ended");
    require(contains(thrown([&] {
                       library.queue(comm, [&] { library.all_reduce(comm, Tensor::zeros({2}, Dtype::i32, device)); });
                     }),
                     "no sum of i32"),
            "a type is refused");
    watch.note({1, Call::all_reduce, 3, 64});
    library.queue(comm, [&] { library.all_reduce(comm, host.rank() ? fewer : t); });
    device.guard([&] { watch.check(); });
    for (;;) library.close(), watch.check();
  }));
  CHECK_MESSAGE((contains(all, "expects all_reduce of 16 x f32 from rank 1, which is in all_reduce of 15 x f32") ||
                 contains(all, "expects all_reduce of 15 x f32 from rank 0, which is in all_reduce of 16 x f32")),
                all);
}
