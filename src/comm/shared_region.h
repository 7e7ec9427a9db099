// Memory that the ranks of one machine share: an anonymous file (memfd) without a name, which is gone with the last
// process that maps it, however that ends.
//
//   failure         the first rank that failed, and why: whoever waits learns it
//   rank states     a bell to wait at (a futex), and what the rank is doing, for the errors of others
//   channels        one ring of bytes for each ordered pair of ranks
//
// A rank has two ends, for two of its threads: what is said to an end comes from the same end of another rank. End e is
// that of rank e mod `ranks`: ends from `ranks` on are the second ones.
//
// Of a job on several machines each has its own region, with the states and the rings of all ranks: a ring to or from a
// rank that is away is filled and emptied by the machine's bridge (comm/bridge.h), and of two that are away nobody
// touches it, so that it takes no memory. The bridge carries what first ends say.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"

namespace ov {

// Of an end. Every word is 0 at first, as the system gives it.
struct alignas(64) RankState {
  std::atomic<std::uint32_t> bell, waiting;
  std::atomic<std::uint32_t> call, left;        // left: the rank ended as it should; this and below of first ends alone
  std::atomic<std::uint32_t> expendable, lost;  // the others can go on without it, and have to
  std::atomic<std::uint32_t> away;              // on another machine: the bridge hears its bell
  std::atomic<std::int64_t> step;
};

// Bytes that one rank has written and another has read. Positions only grow.
struct Channel {
  alignas(64) std::atomic<std::uint64_t> written;
  std::atomic<std::uint32_t> ended;  // the writer, which was away and is lost, has said all
  alignas(64) std::atomic<std::uint64_t> read;
};

class SharedRegion {
 public:
  static int create(int ranks);  // a file descriptor, to be passed on
  // `bridge`: an eventfd that wakes the machine's bridge; -1: all ranks are here.
  SharedRegion(int fd, int ranks, int bridge = -1);
  ~SharedRegion();
  SharedRegion(const SharedRegion&) = delete;

  RankState& state(int end) const { return states_[end]; }

  // Between ends. Moves what there is room for, or what is there, and rings the other's bell. Returns how many bytes.
  std::size_t write(int from, int to, std::span<const std::byte> bytes) const;
  std::size_t read(int from, int to, std::span<std::byte> bytes) const;
  bool peek(int from, int to, std::span<std::byte> bytes) const;  // as read, and all stays there; false: not so many
  std::size_t available(int from, int to) const;                  // bytes to be read
  bool holds(int from, int to, std::size_t bytes) const { return available(from, to) >= bytes; }
  bool has_room(int from, int to, std::size_t bytes) const;  // to be written
  std::uint64_t read_so_far(int from, int to) const { return channel(from, to).read.load(std::memory_order_acquire); }
  std::size_t capacity() const { return capacity_; }  // of a ring

  std::uint32_t bell(int end) const { return states_[end].bell.load(); }
  void ring(int end) const;
  // Until the bell has rung since it read `seen`, at most `seconds`.
  void wait(int end, std::uint32_t seen, double seconds) const;

  // The first failure counts: true when it is this one. It wakes everybody.
  bool fail(int rank, Exit exit, const std::string& text) const { return fail(rank, rank, exit, text); }
  bool fail(int rank, int speaker, Exit exit, const std::string& text) const;
  struct Failure {
    int rank = -1, speaker = -1;  // that failed, and that has to tell the user
    Exit exit = Exit::machine_failed;
    std::string text;
  };
  Failure failure() const;  // rank -1: none
  // The same for a rank that is dead, by one that lives; it may have died while it said why.
  void mourn(int rank, int speaker, const std::string& text) const;
  void lose(int rank) const;         // a dead one that is expendable: no failure. It wakes everybody
  void end(int from, int to) const;  // of a lost one that was away: all that it said is there
  bool said_all(int from, int to) const;
  void leave(int rank) const;
  void expend(int rank) const;

  // The bridge's bell is rung with that of every rank that is away. With `listens` it writes the eventfd.
  int bridge_end() const;
  void bridge_listens(bool listens) const { states_[bridge_end()].waiting.store(listens); }
  void wake_bridge() const;

 private:
  struct FailureRecord;
  bool tell(int speaker, Exit exit, const std::string& text) const;
  void ring_all() const;
  int number(int from, int to) const { return from * ranks_ + to % ranks_; }  // the ends are of one kind
  Channel& channel(int from, int to) const { return channels_[number(from, to)]; }
  std::byte* ring_of(int from, int to) const { return rings_ + static_cast<std::size_t>(number(from, to)) * capacity_; }
  const int ranks_, bridge_;
  std::size_t bytes_, capacity_;
  std::byte* base_;
  FailureRecord* failure_;
  RankState* states_;
  Channel* channels_;
  std::byte* rings_;
};

}  // namespace ov
