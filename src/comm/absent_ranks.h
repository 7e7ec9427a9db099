// One rank of a job whose others are not there: it does its own part of every call, a listener hears what would pass
// between them, and nothing arrives. For `plan`, whose tensors have no memory; those that have are filled with zeros,
// before the listener hears of them: it may write what the others would have said.
#pragma once
#include "comm/communicator.h"

namespace ov {

class AbsentRanks : public Communicator {
 public:
  // By rank, what goes there and what is waited for: null where nothing is.
  using Heard = std::function<void(Call call, const Parts& to, const Parts& from)>;
  AbsentRanks(int rank, int ranks, Heard heard) : Communicator(rank, ranks), heard_(std::move(heard)) {}

 protected:
  void exchange(Call call, const Parts& to, const Parts& from) override {
    for (const Tensor& t : to)
      if (t && t.numel() > 0) t.zero();
    heard_(call, from, to);
  }

 private:
  Heard heard_;
};

}  // namespace ov
