// Some of the ranks, as a communicator of their own: an axis of a mesh (parallel/mesh.h).
#pragma once
#include <memory>

#include "comm/beside.h"

namespace ov {

class Group : public Communicator {
 public:
  // `members`: ranks of `world`, this one among them; their order here is their order there.
  Group(Communicator& world, std::vector<int> members);
  void at_step(std::int64_t step) override { world_.at_step(step); }
  void works_alone(bool on) override { world_.works_alone(on); }
  Beside* beside() override;

 protected:
  Communicator& world() const { return world_; }
  void exchange(Call call, const Parts& to, const Parts& from) override;
  OwnCalls* own_calls(const Tensor& like, const std::vector<int>& members) override;

 private:
  Communicator& world_;
  std::vector<int> members_;
  std::unique_ptr<Beside> beside_;
};

}  // namespace ov
