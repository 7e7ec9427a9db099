// What two machines of a job say to each other over one connection, without the connection: bytes that go, bytes that
// come, and the region in which both show (comm/shared_region.h). The sockets are the bridge's (comm/bridge.h).
//
//   data         bytes of the ring from a rank here to one there. At most as many are on their way, or unread in the
//                ring there, as that ring holds: a ring that is full stops its own pair and no other
//   credit       how far the reader of a ring has come
//   state        a rank's call and step, for the errors of others
//   left         a rank has ended as it should
//   expendable   the others can go on without this rank (Inbox::may_lose); said by the machine of rank 0
//   lost         and they have to; `ended`, behind the last data of each of its rings: there is no more
//   failure      who failed, who says so, and why
//   farewell     nothing more comes. `heard`, its answer: the connection can be closed and nothing is lost
//
// What a rank did to its state before it wrote to a ring is there before what it wrote. Whoever sends what is none of
// this, or more than there is room for, is at fault: take() throws.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "comm/shared_region.h"

namespace ov {

class Link {
 public:
  // `ranks`: of the job, of which `here` are this machine's and `there` the other's.
  Link(const SharedRegion& region, int ranks, const std::vector<int>& here, std::vector<int> there);

  // What has changed becomes bytes to be sent, until a few hundred thousand are waiting. `states`: calls and steps too.
  void fill(bool states);
  std::span<const std::byte> out() const { return std::span(out_).subspan(sent_); }
  void sent(std::size_t bytes);
  void say_farewell();

  // Bytes that have come, in pieces of any size.
  void take(std::span<const std::byte> bytes);

  const std::vector<int>& there() const { return there_; }
  bool drained() const;                        // nothing waits for a rank there that still listens
  bool farewell() const { return farewell_; }  // of the other machine
  bool heard() const { return heard_; }        // this one's

 private:
  struct Frame;
  struct Pair {
    int here, there;
    std::uint64_t sent = 0, read_there = 0;  // of the ring to there, in bytes
    std::uint64_t credited = 0;              // of the ring to here, as the other machine knows
    std::size_t waiting = 0;                 // to be sent, as it was before states were looked at
    bool look = true;                        // something may have changed
    bool ended = false;                      // this was said
  };
  struct Told {
    std::uint32_t call = 0, left = 0, expendable = 0, lost = 0;
    std::int64_t step = 0;
  };
  void put(const Frame& frame, const void* payload = nullptr);
  void tell_states(bool calls);
  void apply(const Frame& frame, std::span<const std::byte> payload);
  void check(bool holds, const Frame& frame) const;
  bool is_there(int rank) const { return rank >= 0 && rank < ranks_ && pairs_of_[static_cast<std::size_t>(rank)] >= 0; }
  bool is_here(int rank) const {
    return rank >= 0 && rank < ranks_ && place_here_[static_cast<std::size_t>(rank)] >= 0;
  }
  Pair& pair(int here, int there);

  const SharedRegion& region_;
  const int ranks_;
  std::vector<int> here_, there_;
  std::vector<int> place_here_, pairs_of_;  // by rank: its place in here_, the first of its pairs; -1: not on that side
  std::vector<Pair> pairs_;                 // those of a rank there stand together
  std::vector<std::uint32_t> bells_;        // as seen, of those there
  std::vector<Told> told_;                  // of all ranks
  std::size_t turn_ = 0;                    // the pair that begins
  std::vector<std::byte> out_, in_;
  std::size_t sent_ = 0;  // of out_
  bool failed_ = false, farewell_ = false, heard_ = false, said_farewell_ = false;
};

}  // namespace ov
