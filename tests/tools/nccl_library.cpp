// The stand-in for NCCL (kernels/sim/nccl_stand_in.h) as a shared library of NCCL's name, build/libnccl.so.2: a process
// that has loaded it gets it from dlopen("libnccl.so.2"), symbol by symbol, as a process with GPUs gets NVIDIA's. Every
// function counts the call and hands it on to the table that ov_forward_to() was given; before, all are refused.
#include <type_traits>

#include "kernels/gpu/nccl_api.h"

using namespace ov::gpu::nccl;

namespace {

const Api* table = nullptr;
long calls = 0;

template <class... A, class... B>
int hand_on(int (*Api::*call)(A...), B... arguments) {
  ++calls;
  return table ? (table->*call)(arguments...) : int(invalid_usage);
}

template <class... A, class... B>
const char* hand_on(const char* (*Api::*call)(A...), B... arguments) {
  ++calls;
  return table ? (table->*call)(arguments...) : "the stand-in has no table";
}

}  // namespace

extern "C" {

void ov_forward_to(const Api* to) { table = to; }
long ov_forwarded() { return calls; }

int ncclGetVersion(int* version) { return hand_on(&Api::version, version); }
int ncclGetUniqueId(Id* id) { return hand_on(&Api::unique_id, id); }
int ncclCommInitRankConfig(Comm* comm, int ranks, Id id, int rank, Config* config) {
  return hand_on(&Api::init, comm, ranks, id, rank, config);
}
int ncclCommFinalize(Comm comm) { return hand_on(&Api::finalize, comm); }
int ncclCommDestroy(Comm comm) { return hand_on(&Api::destroy, comm); }
int ncclCommAbort(Comm comm) { return hand_on(&Api::abort, comm); }
int ncclCommGetAsyncError(Comm comm, int* state) { return hand_on(&Api::async_error, comm, state); }
const char* ncclGetErrorString(int result) { return hand_on(&Api::error_string, result); }
const char* ncclGetLastError(Comm comm) { return hand_on(&Api::last_error, comm); }
int ncclGroupStart() { return hand_on(&Api::group_start); }
int ncclGroupEnd() { return hand_on(&Api::group_end); }
int ncclSend(const void* from, std::size_t count, int type, int peer, Comm comm, Stream stream) {
  return hand_on(&Api::send, from, count, type, peer, comm, stream);
}
int ncclRecv(void* to, std::size_t count, int type, int peer, Comm comm, Stream stream) {
  return hand_on(&Api::recv, to, count, type, peer, comm, stream);
}
int ncclAllReduce(const void* from, void* to, std::size_t count, int type, int op, Comm comm, Stream stream) {
  return hand_on(&Api::all_reduce, from, to, count, type, op, comm, stream);
}
int ncclReduce(const void* from, void* to, std::size_t count, int type, int op, int root, Comm comm, Stream stream) {
  return hand_on(&Api::reduce, from, to, count, type, op, root, comm, stream);
}
int ncclReduceScatter(const void* from, void* to, std::size_t received, int type, int op, Comm comm, Stream stream) {
  return hand_on(&Api::reduce_scatter, from, to, received, type, op, comm, stream);
}
int ncclAllGather(const void* from, void* to, std::size_t sent, int type, Comm comm, Stream stream) {
  return hand_on(&Api::all_gather, from, to, sent, type, comm, stream);
}
int ncclBroadcast(const void* from, void* to, std::size_t count, int type, int root, Comm comm, Stream stream) {
  return hand_on(&Api::broadcast, from, to, count, type, root, comm, stream);
}

#define OV_SAME(name, symbol, type) static_assert(std::is_same_v<decltype(symbol), Api::name##_type>);
OV_NCCL_CALLS(OV_SAME)
#undef OV_SAME
}
