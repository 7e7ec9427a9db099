// One rank of a job whose others are not there: it does its own part of every call, a listener hears what would pass
// between them, and nothing arrives. For `plan`, whose tensors have no memory; those that have are filled with zeros,
// before the listener hears of them: it may write what the others would have said. Calls beside these (comm/beside.h)
// are heard as such; nobody makes them in a thread.
#pragma once
#include "comm/beside.h"

namespace ov {

class AbsentRanks : public Communicator {
 public:
  // By rank, what goes there and what is waited for: null where nothing is.
  using Heard = std::function<void(Call call, const Parts& to, const Parts& from, bool beside)>;
  // shared_memory: ranks that would talk so; else those of devices would. machines: over several of them, where such
  // ranks have no calls beside.
  AbsentRanks(int rank, int ranks, Heard heard, bool shared_memory = false, bool machines = false)
      : Communicator(rank, ranks), heard_(std::move(heard)), beside_(*this, shared_memory), machines_(machines) {}
  Beside* beside() override { return beside_.threaded() && machines_ ? nullptr : &beside_; }

 protected:
  void exchange(Call call, const Parts& to, const Parts& from) override { hear(call, to, from, false); }

 private:
  void hear(Call call, const Parts& to, const Parts& from, bool beside) const {
    for (const Tensor& t : to)
      if (t && t.numel() > 0) t.zero();
    heard_(call, from, to, beside);
  }
  struct Lane : Communicator, Beside {
    Lane(const AbsentRanks& all, bool as_thread)
        : Communicator(all.rank(), all.ranks()), ranks_(all), threaded_(as_thread) {}
    Communicator& communicator() override { return *this; }
    bool threaded() const override { return threaded_; }
    void exchange(Call call, const Parts& to, const Parts& from) override { ranks_.hear(call, to, from, true); }
    const AbsentRanks& ranks_;
    const bool threaded_;
  };
  Heard heard_;
  Lane beside_;
  const bool machines_;
};

}  // namespace ov
