// What ranks need that talk when they have something to say and not all at once (rl/disaggregated.h): to hear whoever
// speaks first, and to go on without some of them. A backend of Communicator that can do it is one of these too.
#pragma once
#include <span>

#include "base/error.h"

namespace ov {

// This rank waited for another that is lost (Inbox::may_lose).
class RankLost : public Error {
 public:
  using Error::Error;
};

class Inbox {
 public:
  virtual ~Inbox() = default;
  // The first of `of` from which a message can be received; -1 when none has come within `seconds`. Throws what a call
  // throws where another rank failed.
  virtual int sender(std::span<const int> of, double seconds) = 0;
  virtual double timeout() const = 0;  // seconds after which silence is a fault

  // Said by rank 0, which alone learns how every other rank ends: one of `ranks` that is killed fails nobody. It is
  // lost: what is sent to it goes nowhere, a barrier does without it, and to receive from it throws RankLost. One that
  // fails with an error of its own fails all, as any rank does.
  virtual void may_lose(std::span<const int> ranks) = 0;
  virtual bool lost(int rank) const = 0;
};

}  // namespace ov
