// One rank of a job whose others are not there: it does its own part of every call, a listener hears what would pass
// between them, and nothing arrives. For `plan`, whose tensors have no memory; those that have are filled with zeros,
// before the listener hears of them: it may write what the others would have said.
#pragma once
#include "comm/beside.h"

namespace ov {

class AbsentRanks : public Communicator {
 public:
  // By rank, what goes there and what is waited for: null where nothing is.
  using Heard = std::function<void(Call call, const Parts& to, const Parts& from)>;
  AbsentRanks(int rank, int ranks, Heard heard) : Communicator(rank, ranks), heard_(std::move(heard)) {}
  Beside* beside() override { return &beside_; }

 protected:
  void exchange(Call call, const Parts& to, const Parts& from) override {
    for (const Tensor& t : to)
      if (t && t.numel() > 0) t.zero();
    heard_(call, from, to);
  }

 private:
  struct Here : Beside {
    explicit Here(AbsentRanks& ranks) : self(ranks) {}
    Communicator& communicator() override { return self; }
    bool threaded() const override { return false; }
    AbsentRanks& self;
  };
  Heard heard_;
  Here beside_{*this};
};

}  // namespace ov
