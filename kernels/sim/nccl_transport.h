// How the stand-in for NCCL moves bytes: ranks are processes that share an anonymous file, with a slot for every
// ordered pair of them. A message is a header and pieces; its sender has sent it when the receiver has taken all of
// it, since nobody may rely on more.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace ov::sim {

constexpr int most_nccl_ranks = 8;

enum class NcclCall : std::uint32_t { send, all_reduce, reduce, reduce_scatter, all_gather, broadcast };

// What a call is of. Both sides of a message must say the same.
struct NcclHeader {
  NcclCall call;
  int type;
  std::uint64_t count;
  int root;
  bool operator==(const NcclHeader&) const = default;
  std::string str() const;  // "all_reduce of 10 x f32"
};

struct NcclShared;  // the file's contents

struct NcclRank {
  int rank = 0, ranks = 0;
  std::shared_ptr<NcclShared> shared;
  std::thread::id owner;
  std::atomic<bool> aborted = false;
  std::atomic<int> error = 0;  // a Result
  std::mutex mutex;            // of what
  std::string what;
  std::uint64_t calls = 0;                     // of sums, so far
  std::vector<std::function<void()>> waiting;  // queued when the caller has asked often enough
  int questions = 0;                           // that are answered with "in progress"
  std::atomic<int> under_way = 0;              // groups that have been queued and have not run
  bool finalized = false;

  void fail(int result, const std::string& text);
  std::string why();
};

int nccl_create();                                              // the file, as a descriptor
std::shared_ptr<NcclShared> nccl_map(const std::string& path);  // null: nobody has it
bool nccl_join(NcclShared& shared, int ranks, int rank);        // false: another says so already
bool nccl_complete(const NcclShared& shared);                   // all have joined

// One call of a group, with the addresses where kernels reach them.
struct NcclWork {
  NcclHeader header;
  int peer;  // of send and recv, or the root
  bool in;   // recv
  const std::byte* from;
  std::byte* to;
};
// All of them at the same time. Returns when they are done, or the communicator is aborted.
void nccl_run(NcclRank& rank, const std::vector<NcclWork>& group, bool reorder);

std::size_t nccl_size(int type);  // bytes; 0: not known

}  // namespace ov::sim
