#include "kernels/sim/nccl_stand_in.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <utility>

#include "base/error.h"
#include "kernels/sim/nccl_transport.h"
#include "kernels/sim/stream.h"

namespace ov::sim {
namespace {

using namespace gpu::nccl;
using Queue = gpu::nccl::Stream;  // not a device's

constexpr int asked_before_done = 2;  // a call is in progress for that many questions

NcclModes modes;
std::mutex live_mutex;
std::map<Comm, std::shared_ptr<NcclRank>> live;
thread_local std::string complaint;
int ran = 0;  // groups, in this process

template <class... A>
int refuse(Result result, const A&... why) {
  complaint = cat(why...);
  return result;
}

std::shared_ptr<NcclRank> find(Comm comm) {
  const std::lock_guard lock(live_mutex);
  const auto found = live.find(comm);
  return found == live.end() ? nullptr : found->second;
}

// The group that is being made; its calls keep the addresses that the host has.
struct Group {
  int depth = 0;
  Comm comm = nullptr;
  Queue stream = nullptr;
  std::vector<NcclWork> calls;
  int failed = success;  // a call of it was refused: none is made
};
thread_local Group group;

struct Reach {
  std::size_t from, to;  // bytes that a call reads and writes
};
Reach reach_of(const NcclWork& w, const NcclRank& rank) {
  const std::size_t bytes = w.header.count * nccl_size(w.header.type),
                    all = bytes * static_cast<std::size_t>(rank.ranks);
  switch (w.header.call) {
    case NcclCall::send: return {w.in ? 0 : bytes, w.in ? bytes : 0};
    case NcclCall::reduce: return {bytes, w.header.root == rank.rank ? bytes : 0};
    case NcclCall::reduce_scatter: return {all, bytes};
    case NcclCall::all_gather: return {bytes, all};
    default: return {bytes, bytes};
  }
}

// Puts a group into its stream: addresses move to where kernels reach them, first and last byte.
void enqueue(const std::shared_ptr<NcclRank>& rank, Queue stream, std::vector<NcclWork> calls) {
  std::vector<std::uint64_t> words;
  const auto add = [&](const std::byte* at, std::size_t bytes) {
    if (bytes == 0) return;
    words.push_back(reinterpret_cast<std::uint64_t>(at));
    words.push_back(reinterpret_cast<std::uint64_t>(at + bytes - 1));
  };
  for (const NcclWork& w : calls) {
    const Reach r = reach_of(w, *rank);
    add(w.from, r.from), add(w.to, r.to);
  }
  auto* queue = static_cast<gpu::StreamHandle*>(stream);
  for (const NcclWork& w : calls) {
    const Reach r = reach_of(w, *rank);
    if (r.from) queue->reaches("a call of NCCL", w.from, r.from);
    if (r.to) queue->reaches("a call of NCCL", w.to, r.to);
  }
  queue->relocate(words.data(), words.size());
  std::size_t next = 0;
  for (NcclWork& w : calls) {
    const Reach r = reach_of(w, *rank);
    if (r.from) w.from = reinterpret_cast<const std::byte*>(words[std::exchange(next, next + 2)]);
    if (r.to) w.to = reinterpret_cast<std::byte*>(words[std::exchange(next, next + 2)]);
  }
  ++rank->under_way;
  queue->enqueue("a call of NCCL", gpu::Place::current(), [rank, calls = std::move(calls)] {
    if (++ran == modes.dies_at) std::raise(SIGKILL);
    if (ran == modes.fails_at) rank->fail(remote_error, "the network has gone");
    nccl_run(*rank, calls, modes.reorder);
    --rank->under_way;
  });
}

// A call may have one buffer where it reads what it writes at the same place; else its buffers lie apart.
bool apart_or_in_place(const NcclWork& w, const NcclRank& rank) {
  const Reach r = reach_of(w, rank);
  const std::size_t own = w.header.count * nccl_size(w.header.type) * static_cast<std::size_t>(rank.rank);
  const auto at = [](const std::byte* p) { return reinterpret_cast<std::uintptr_t>(p); };
  if (r.from == 0 || r.to == 0 || at(w.from) >= at(w.to) + r.to || at(w.to) >= at(w.from) + r.from) return true;
  if (w.header.call == NcclCall::all_gather) return w.from == w.to + own;
  if (w.header.call == NcclCall::reduce_scatter) return w.to == w.from + own;
  return w.from == w.to;
}

int close_group() {
  Group g = std::exchange(group, {});
  if (g.failed || g.calls.empty()) return g.failed;
  const auto rank = find(g.comm);
  rank->questions = asked_before_done;
  rank->waiting.push_back([rank, stream = g.stream, calls = std::move(g.calls)] { enqueue(rank, stream, calls); });
  return in_progress;
}

int add(const std::shared_ptr<NcclRank>& rank, Comm comm, Queue stream, const NcclWork& w) {
  if (!rank) return refuse(invalid_argument, "a communicator that has ended");
  if (rank->error) return refuse(Result(rank->error.load()), rank->why());
  if (rank->owner != std::this_thread::get_id()) return refuse(invalid_usage, "a call from another thread");
  if (rank->finalized) return refuse(invalid_usage, "a call after ncclCommFinalize");
  if (!rank->waiting.empty() || rank->questions > 0)
    return refuse(invalid_usage, "a call while the one before is in progress");
  if (nccl_size(w.header.type) == 0) return refuse(invalid_argument, "a type that is not known");
  if (w.header.count == 0) return refuse(invalid_argument, "no elements");
  const bool of_one = w.header.call == NcclCall::send || w.header.call == NcclCall::reduce ||
                      w.header.call == NcclCall::broadcast;  // peer or root is a rank
  if (w.peer >= rank->ranks || (of_one && w.peer < 0)) return refuse(invalid_argument, "a rank that is not there");
  if (w.header.call == NcclCall::send && w.peer == rank->rank) return refuse(invalid_usage, "a message to oneself");
  if (!stream) return refuse(invalid_argument, "no stream");
  const Reach r = reach_of(w, *rank);
  if ((r.from && !w.from) || (r.to && !w.to)) return refuse(invalid_argument, "no address");
  if (!apart_or_in_place(w, *rank)) return refuse(invalid_argument, "buffers that overlap, and not in place");
  if (!group.calls.empty() && (group.comm != comm || group.stream != stream))
    return refuse(invalid_usage, "one group in two communicators or streams");
  group.comm = comm, group.stream = stream;
  group.calls.push_back(w);
  return success;
}

int call(Comm comm, Queue stream, const NcclWork& w) {
  const auto rank = find(comm);
  if (const int refused = add(rank, comm, stream, w)) return group.failed = group.depth > 0 ? refused : 0, refused;
  if (group.depth > 0 && modes.groups) return success;
  const int depth = group.depth;
  const int result = close_group();
  group.depth = depth;
  if (modes.groups) return result;
  rank->questions = 0;
  for (const auto& f : std::exchange(rank->waiting, {})) f();
  return success;
}

int sum_call(NcclCall kind, const void* from, void* to, std::size_t count, int type, int op, int root, Comm comm,
             Queue stream) {
  if (op != sum) return refuse(invalid_argument, "an operation other than the sum");
  return call(
      comm, stream,
      {{kind, type, count, root}, root, false, static_cast<const std::byte*>(from), static_cast<std::byte*>(to)});
}

int init(Comm* comm, int ranks, Id id, int rank, Config* config) {
  if (!config || config->size != sizeof(Config) || config->magic != Config{}.magic)
    return refuse(invalid_argument, "a configuration that is not initialised");
  if (config->blocking != 0)
    return refuse(invalid_argument, "a communicator that blocks cannot be ended when ranks die");
  if (ranks < 1 || ranks > most_nccl_ranks || rank < 0 || rank >= ranks)
    return refuse(invalid_argument, "rank ", rank, " of ", ranks, ", at most ", most_nccl_ranks);
  id.bytes[sizeof id.bytes - 1] = 0;
  auto r = std::make_shared<NcclRank>();
  r->rank = rank, r->ranks = ranks, r->owner = std::this_thread::get_id(), r->questions = asked_before_done;
  r->shared = nccl_map(id.bytes);
  if (!r->shared) return refuse(system_error, "nobody has this id");
  if (!nccl_join(*r->shared, ranks, rank))
    return refuse(invalid_argument, "two ranks ", rank, " or other numbers of ranks");
  const std::lock_guard lock(live_mutex);
  live[*comm = r.get()] = r;
  return in_progress;
}

int ask(Comm comm, int* state) {
  const auto rank = find(comm);
  if (!rank) return refuse(invalid_argument, "a communicator that has ended");
  *state = rank->error;
  if (*state) return complaint = rank->why(), success;
  *state = in_progress;
  if (rank->owner != std::this_thread::get_id()) return *state = success, success;  // who watches sees errors alone
  if (!nccl_complete(*rank->shared)) return success;
  if (rank->questions > 0 && rank->questions-- > 0) return success;
  const auto waiting = std::exchange(rank->waiting, {});
  for (const auto& f : waiting) f();
  *state = rank->error ? int(rank->error) : int(success);
  return success;
}

int end(Comm comm, bool aborts) {
  const auto rank = find(comm);
  if (!rank) return refuse(invalid_argument, "a communicator that has ended");
  if (!aborts && !rank->finalized) return refuse(invalid_usage, "ncclCommDestroy before ncclCommFinalize");
  if (aborts) rank->aborted = true;
  const std::lock_guard lock(live_mutex);
  live.erase(comm);
  return success;
}

int finalize(Comm comm) {
  const auto rank = find(comm);
  if (!rank) return refuse(invalid_argument, "a communicator that has ended");
  if (rank->under_way > 0) return refuse(invalid_usage, "a communicator ends whose calls have not run");
  rank->finalized = true, rank->questions = asked_before_done;
  return in_progress;
}

}  // namespace

const Api& nccl_stand_in() {
  static const Api api = {
      .version = [](int* v) { return *v = modes.version, int(success); },
      .unique_id =
          [](Id* id) {
            std::snprintf(id->bytes, sizeof id->bytes, "/proc/%d/fd/%d", int(::getpid()), nccl_create());
            return int(success);
          },
      .init = init,
      .finalize = finalize,
      .destroy = [](Comm c) { return end(c, false); },
      .abort = [](Comm c) { return end(c, true); },
      .async_error = ask,
      .error_string =
          [](int result) {
            constexpr const char* names[] = {"no error",
                                             "unhandled cuda error",
                                             "unhandled system error",
                                             "internal error",
                                             "invalid argument",
                                             "invalid usage",
                                             "remote process exited or there was a network error",
                                             "in progress"};
            return names[result];
          },
      .last_error = [](Comm) { return complaint.c_str(); },
      .group_start = [] { return ++group.depth, int(success); },
      .group_end =
          [] {
            if (group.depth == 0) return refuse(invalid_usage, "ncclGroupEnd without ncclGroupStart");
            return --group.depth > 0 ? int(success) : close_group();
          },
      .send =
          [](const void* from, std::size_t count, int type, int peer, Comm c, Queue s) {
            return call(c, s,
                        {{NcclCall::send, type, count, -1}, peer, false, static_cast<const std::byte*>(from), nullptr});
          },
      .recv =
          [](void* to, std::size_t count, int type, int peer, Comm c, Queue s) {
            return call(c, s, {{NcclCall::send, type, count, -1}, peer, true, nullptr, static_cast<std::byte*>(to)});
          },
      .all_reduce = [](const void* from, void* to, std::size_t n, int type, int op, Comm c,
                       Queue s) { return sum_call(NcclCall::all_reduce, from, to, n, type, op, -1, c, s); },
      .reduce = [](const void* from, void* to, std::size_t n, int type, int op, int root, Comm c,
                   Queue s) { return sum_call(NcclCall::reduce, from, to, n, type, op, root, c, s); },
      .reduce_scatter = [](const void* from, void* to, std::size_t n, int type, int op, Comm c,
                           Queue s) { return sum_call(NcclCall::reduce_scatter, from, to, n, type, op, -1, c, s); },
      .all_gather = [](const void* from, void* to, std::size_t n, int type, Comm c,
                       Queue s) { return sum_call(NcclCall::all_gather, from, to, n, type, sum, -1, c, s); },
      .broadcast = [](const void* from, void* to, std::size_t n, int type, int root, Comm c,
                      Queue s) { return sum_call(NcclCall::broadcast, from, to, n, type, sum, root, c, s); },
  };
  return api;
}

NcclModes& nccl_modes() { return modes; }
std::string nccl_complaint() { return complaint; }
int nccl_communicators() {
  const std::lock_guard lock(live_mutex);
  return int(live.size());
}

}  // namespace ov::sim
