// What the stand-in for NCCL refuses, call by call, as a program that makes it sees it (kernels/sim/nccl_stand_in.h).
#include "kernels/sim/nccl_stand_in.h"

#include <doctest/doctest.h>

#include <cstring>
#include <thread>

#include "tests/comm/forked_ranks.h"
#include "tests/devices/foreign_device.h"

using namespace ov;
using namespace ov::test;
using namespace ov::gpu::nccl;

namespace {

void refused(int result, Result expected, const std::string& why) {
  const std::string said = sim::nccl_complaint();
  require(result == expected && said == why, cat(why, ": result ", result, ", '", said, "'"));
}

// Until what is in progress is done.
void settle(Comm comm) {
  for (int state = in_progress, asked = 0; state != success; ++asked) {
    require(sim::nccl_stand_in().async_error(comm, &state) == success && asked < 100, "it is done soon");
    require(state == success || state == in_progress, cat("state ", state));
  }
}

}  // namespace

TEST_CASE("nccl stand-in: communicators that block, are not initialised, too large or there already are refused") {
  for (const Ended& e : in_ranks(1, 5, [](ProcessRanks&) {
         const Api& nccl = sim::nccl_stand_in();
         Id id;
         require(nccl.unique_id(&id) == success, "an id");
         Comm comm = nullptr;
         const Config usual;
         Config blocks, short_one, other;
         blocks.blocking = 1, short_one.size = 8, other.magic = 1;
         const auto init = [&](int ranks, int rank, Config config) {
           return nccl.init(&comm, ranks, id, rank, &config);
         };
         refused(nccl.init(&comm, 1, id, 0, nullptr), invalid_argument, "a configuration that is not initialised");
         refused(init(1, 0, short_one), invalid_argument, "a configuration that is not initialised");
         refused(init(1, 0, other), invalid_argument, "a configuration that is not initialised");
         refused(init(1, 0, blocks), invalid_argument, "a communicator that blocks cannot be ended when ranks die");
         refused(init(9, 0, usual), invalid_argument, "rank 0 of 9, at most 8");
         refused(init(2, 2, usual), invalid_argument, "rank 2 of 2, at most 8");
         refused(init(0, 0, usual), invalid_argument, "rank 0 of 0, at most 8");
         require(init(2, 1, usual) == in_progress, "the first of two");
         refused(init(2, 1, usual), invalid_argument, "two ranks 1 or other numbers of ranks");
         refused(init(3, 0, usual), invalid_argument, "two ranks 0 or other numbers of ranks");
         std::strcpy(id.bytes, "/proc/self/fd/9999");
         refused(init(1, 0, usual), system_error, "nobody has this id");
       }))
    CHECK_MESSAGE(e.exit == 0, e.error);
}

TEST_CASE("nccl stand-in: calls out of order, from elsewhere or of nothing are refused, and so is an early end") {
  for (const Ended& e : in_ranks(1, 5, [](ProcessRanks&) {
         ForeignDevice device(ForeignDevice::Policy::lazy);
         const Api& nccl = sim::nccl_stand_in();
         Id id;
         Config config;
         Comm comm = nullptr, second = nullptr;
         for (Comm* c : {&comm, &second}) {
           require(nccl.unique_id(&id) == success && nccl.init(c, 1, id, 0, &config) == in_progress, "joins");
           if (c == &comm) refused(nccl.finalize(nullptr), invalid_argument, "a communicator that has ended");
           settle(*c);
         }
         const Tensor t = Tensor::zeros({4}, Dtype::f32, device);
         std::byte* const at = t.device_bytes();
         const gpu::nccl::Stream calls = device.calls(), kernels = device.stream();
         device.runtime().stream_synchronize(device.stream());  // t is there
         const auto add = [&](std::size_t count, int type, int op, Comm c, gpu::nccl::Stream s) {
           return nccl.all_reduce(at, at, count, type, op, c, s);
         };
         refused(add(0, f32, sum, comm, calls), invalid_argument, "no elements");
         refused(add(4, 99, sum, comm, calls), invalid_argument, "a type that is not known");
         refused(add(4, f32, 1, comm, calls), invalid_argument, "an operation other than the sum");
         refused(add(4, f32, sum, comm, nullptr), invalid_argument, "no stream");
         refused(nccl.all_reduce(nullptr, at, 4, f32, sum, comm, calls), invalid_argument, "no address");
         refused(nccl.all_reduce(at, nullptr, 4, f32, sum, comm, calls), invalid_argument, "no address");
         const std::string over = "buffers that overlap, and not in place";
         refused(nccl.all_reduce(at, at + 4, 2, f32, sum, comm, calls), invalid_argument, over);
         refused(nccl.broadcast(at + 4, at, 2, f32, 0, comm, calls), invalid_argument, over);
         refused(nccl.all_gather(at + 8, at, 4, f32, comm, calls), invalid_argument, over);
         refused(nccl.reduce_scatter(at, at + 8, 4, f32, sum, comm, calls), invalid_argument, over);
         refused(nccl.broadcast(at, at, 4, f32, 1, comm, calls), invalid_argument, "a rank that is not there");
         refused(nccl.broadcast(at, at, 4, f32, -1, comm, calls), invalid_argument, "a rank that is not there");
         int elsewhere = success;
         std::string why;
         std::thread([&] { elsewhere = add(4, f32, sum, comm, calls), why = sim::nccl_complaint(); }).join();
         require(elsewhere == invalid_usage && why == "a call from another thread", why);
         refused(nccl.group_end(), invalid_usage, "ncclGroupEnd without ncclGroupStart");

         // Of a group that is refused nothing is made, and the next one is not in its way.
         for (const bool streams : {true, false}) {
           require(nccl.group_start() == success && add(4, f32, sum, comm, calls) == success, "the first of a group");
           refused(streams ? add(4, f32, sum, comm, kernels) : add(4, f32, sum, second, calls), invalid_usage,
                   "one group in two communicators or streams");
           require(nccl.group_end() == invalid_usage, "the group");
         }
         require(add(4, f32, sum, comm, calls) == in_progress, "a call");
         refused(add(4, f32, sum, comm, calls), invalid_usage, "a call while the one before is in progress");
         settle(comm);
         refused(nccl.finalize(comm), invalid_usage, "a communicator ends whose calls have not run");
         device.runtime().stream_synchronize(device.calls());
         refused(nccl.destroy(comm), invalid_usage, "ncclCommDestroy before ncclCommFinalize");
         require(nccl.finalize(comm) == in_progress, "the end");
         refused(add(4, f32, sum, comm, calls), invalid_usage, "a call after ncclCommFinalize");
         settle(comm);
         require(nccl.destroy(comm) == success && nccl.abort(second) == success, "both end");
         int state = success;
         refused(nccl.async_error(comm, &state), invalid_argument, "a communicator that has ended");
         require(sim::nccl_communicators() == 0, "none is left");
       }))
    CHECK_MESSAGE(e.exit == 0, e.error);
}
