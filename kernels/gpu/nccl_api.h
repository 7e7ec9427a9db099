// NVIDIA's library of messages between GPUs as we declare it ourselves, so that the program builds without it. Where
// its header is installed, tests/kernels/nccl_declarations_test.cpp compares every line with nccl.h.
#pragma once
#include <climits>
#include <cstddef>

namespace ov::gpu::nccl {

using Comm = void*;  // a communicator: one rank among those that were made with one Id
using Stream = void*;
struct Id {
  char bytes[128];
};

enum Result : int {
  success = 0,
  unhandled_cuda_error = 1,
  system_error = 2,
  internal_error = 3,
  invalid_argument = 4,
  invalid_usage = 5,
  remote_error = 6,
  in_progress = 7
};
enum Type : int { u8 = 1, i64 = 4, f32 = 7, f64 = 8, bf16 = 9 };
enum Operation : int { sum = 0 };

// As NCCL 2.18 had it. A later library takes what it is given and fills in the rest with defaults of its own.
struct Config {
  std::size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = 21800;
  int blocking = 0;            // calls return at once, so that another thread can abort them
  int cluster_size = INT_MIN;  // INT_MIN, null: the library's choice
  int least_blocks = INT_MIN, most_blocks = INT_MIN;
  const char* net = nullptr;
  int split_share = INT_MIN;
};

#define OV_NCCL_CALLS(C)                                                                                              \
  C(version, ncclGetVersion, int(int*))                                                                               \
  C(unique_id, ncclGetUniqueId, int(Id*))                                                                             \
  C(init, ncclCommInitRankConfig, int(Comm*, int ranks, Id, int rank, Config*))                                       \
  C(finalize, ncclCommFinalize, int(Comm))                                                                            \
  C(destroy, ncclCommDestroy, int(Comm))                                                                              \
  C(abort, ncclCommAbort, int(Comm))                                                                                  \
  C(async_error, ncclCommGetAsyncError, int(Comm, int*))                                                              \
  C(error_string, ncclGetErrorString, const char*(int))                                                               \
  C(last_error, ncclGetLastError, const char*(Comm))                                                                  \
  C(group_start, ncclGroupStart, int())                                                                               \
  C(group_end, ncclGroupEnd, int())                                                                                   \
  C(send, ncclSend, int(const void*, std::size_t count, int type, int peer, Comm, Stream))                            \
  C(recv, ncclRecv, int(void*, std::size_t count, int type, int peer, Comm, Stream))                                  \
  C(all_reduce, ncclAllReduce, int(const void*, void*, std::size_t count, int type, int op, Comm, Stream))            \
  C(reduce, ncclReduce, int(const void*, void*, std::size_t count, int type, int op, int root, Comm, Stream))         \
  C(reduce_scatter, ncclReduceScatter, int(const void*, void*, std::size_t received, int type, int op, Comm, Stream)) \
  C(all_gather, ncclAllGather, int(const void*, void*, std::size_t sent, int type, Comm, Stream))                     \
  C(broadcast, ncclBroadcast, int(const void*, void*, std::size_t count, int type, int root, Comm, Stream))

struct Api {
#define OV_MEMBER(name, symbol, type) \
  using name##_type = type;           \
  name##_type* name = nullptr;
  OV_NCCL_CALLS(OV_MEMBER)
#undef OV_MEMBER
};

}  // namespace ov::gpu::nccl
