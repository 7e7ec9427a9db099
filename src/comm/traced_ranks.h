// A communicator that hands every call on to another, and while it is asked to, notes what passed: to whom, how much,
// from when to when. For traces (train/step_trace.h); who wants none goes without it.
#pragma once
#include <map>

#include "comm/clocks.h"
#include "comm/group.h"

namespace ov {

class TracedRanks : public Group {
 public:
  explicit TracedRanks(Communicator& world);
  ~TracedRanks() override;
  Beside* beside() override;

  struct Message {
    bool out;
    int peer;
    std::int64_t bytes, number;  // number: of those from the sender to the receiver since start(), alike on both
  };
  struct Exchange {
    Call call;
    std::int64_t begin, end;  // now_ns
    std::vector<Message> messages;
    bool beside = false;  // of the calls beside the others (comm/beside.h), whose messages have numbers of their own
  };
  void start();                  // all ranks at the same place among their calls
  std::vector<Exchange> stop();  // what was noted since

 protected:
  void exchange(Call call, const Parts& to, const Parts& from) override;

 private:
  class Lane;
  std::unique_ptr<Lane> lane_;
  bool on_ = false;
  std::map<int, std::int64_t> sent_to_, received_from_;  // messages, by rank
  std::vector<Exchange> noted_;
};

}  // namespace ov
