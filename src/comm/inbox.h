// Who has something to say, without waiting for one rank in particular: what ranks need that talk when they have
// something to say and not all at once (rl/disaggregated.h). A backend of Communicator that can tell is one of these
// too.
#pragma once
#include <span>

namespace ov {

class Inbox {
 public:
  virtual ~Inbox() = default;
  // The first of `of` from which a message can be received; -1 when none has come within `seconds`. Throws what a call
  // throws where another rank failed.
  virtual int sender(std::span<const int> of, double seconds) = 0;
  virtual double timeout() const = 0;  // seconds after which silence is a fault
};

}  // namespace ov
