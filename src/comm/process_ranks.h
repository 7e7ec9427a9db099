// Ranks that are processes and talk through memory that those of a machine share (comm/shared_region.h); between
// machines a bridge carries what they say (comm/bridge.h).
//
// A call that finds nothing to move waits at its rank's bell; who moves something rings it. Faults:
//
//   a rank fails      it says why before it ends (failed()); whoever waits, or calls next, gets that error at once
//   a rank is killed  the system closes its connection (comm/meeting.h); a thread that listens tells everybody. It is
//                     a failure of all unless rank 0 said that it may be lost (comm/inbox.h). With the first rank of a
//                     machine its bridge is gone, and so the whole machine
//   nothing comes     after `timeout` seconds without a byte, an error names rank, call and step; time in which this
//                     process stood still does not count
//   another message   each has a header: call, type, bytes; what was expected and what came are named
//
// There are two lanes: one for the rank's own calls, a second for those that another of its threads makes beside them.
#pragma once
#include <memory>
#include <thread>

#include "comm/beside.h"
#include "comm/bridge.h"
#include "comm/inbox.h"
#include "comm/meeting.h"
#include "comm/shared_region.h"

namespace ov {

// Another rank failed: its exit code, its error.
class PeerFailed : public Error {
 public:
  PeerFailed(Exit exit, const std::string& text, int which) : Error(exit, text), rank(which) {}
  const int rank;
};

class ProcessRanks : public Communicator, public Inbox {
 public:
  // Returns when all ranks have met. `timeout`: seconds, here and in every call.
  ProcessRanks(const RankInJob& place, double timeout);
  ~ProcessRanks() override;

  void at_step(std::int64_t step) override;
  void works_alone(bool on) override;
  int sender(std::span<const int> of, double seconds) override;
  double timeout() const override { return timeout_; }
  void may_lose(std::span<const int> ranks) override;
  bool lost(int rank) const override { return region_.state(rank).lost.load(); }
  // This rank ends with an error. False when another failed before, whose error counts.
  bool failed(Exit exit, const std::string& text) { return region_.fail(rank(), exit, text); }
  // It was this one that found another dead, and has to say so: the dead cannot. Of the ranks that `launch` started on
  // a machine where nobody failed the first says it.
  bool speaks() const;
  // This rank ends as it should: nobody mourns it.
  void leave() { region_.leave(rank()); }

  void exchange(Call call, const Parts& to, const Parts& from) override { pass(call, to, from, true, 0, whole_); }
  Beside* beside() override;
  // The same without the bytes: who says something and who waits for it agree on call, type and size, for a backend
  // that moves the bytes by itself.
  void agree(Call call, const Parts& to, const Parts& from) { pass(call, to, from, false, 0, whole_); }
  void throw_failure() const;                          // of another rank, if one has failed
  std::string standing(int peer, int lane = 0) const;  // "rank 1, which is in recv of step 3"

 private:
  struct Flow;
  class Second;
  ProcessRanks(const RankInJob& place, Meeting meeting, double timeout);
  int end_of(int rank, int lane) const { return lane * ranks() + rank; }  // comm/shared_region.h
  bool advance(Flow& flow, Call call, int lane, std::int64_t whole);
  bool comes(const Flow& flow, int lane) const;
  void listen();
  void pass(Call call, const Parts& to, const Parts& from, bool bytes, int lane, std::int64_t whole);
  [[noreturn]] void gave_up(Call call, const std::vector<Flow>& flows, int lane) const;

  const double timeout_;
  Call between_calls_ = Call::none;  // of the first lane: none, or alone
  Meeting meeting_;
  SharedRegion region_;
  Descriptor stop_;  // an eventfd that ends the thread
  std::thread listener_;
  std::unique_ptr<Second> second_;
  std::atomic<bool> given_up_ = false;  // the second lane
  std::unique_ptr<Bridge> bridge_;      // at the first rank of each of several machines
};

}  // namespace ov
