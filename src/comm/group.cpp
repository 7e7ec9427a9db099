#include "comm/group.h"

#include <algorithm>

namespace ov {
namespace {

int place_in(const std::vector<int>& members, int rank) {
  return static_cast<int>(std::find(members.begin(), members.end(), rank) - members.begin());
}

class BesideGroup : public Beside {
 public:
  BesideGroup(Beside& world, const std::vector<int>& members) : world_(world), group_(world.communicator(), members) {}
  Communicator& communicator() override { return group_; }
  bool threaded() const override { return world_.threaded(); }
  void run(const std::function<void()>& calls) override { world_.run(calls); }
  void join() override { world_.join(); }
  void give_up() override { world_.give_up(); }

 private:
  Beside& world_;
  Group group_;
};

}  // namespace

Group::Group(Communicator& world, std::vector<int> members)
    : Communicator(place_in(members, world.rank()), static_cast<int>(members.size())),
      world_(world),
      members_(std::move(members)) {}

void Group::exchange(Call call, const Parts& to, const Parts& from) {
  if (ranks() == 1) return;
  const auto spread = [&](const Parts& own) {
    Parts all(static_cast<std::size_t>(world_.ranks()));
    for (std::size_t i = 0; i < own.size(); ++i) all[static_cast<std::size_t>(members_[i])] = own[i];
    return all;
  };
  const OfWhole whole(world_, whole_);
  world_.exchange(call, spread(to), spread(from));
}

Beside* Group::beside() {
  Beside* of_world = beside_ ? nullptr : world_.beside();
  if (of_world) beside_ = std::make_unique<BesideGroup>(*of_world, members_);
  return beside_.get();
}

OwnCalls* Group::own_calls(const Tensor& like, const std::vector<int>& members) {
  std::vector<int> all;
  for (const int r : members) all.push_back(members_[static_cast<std::size_t>(r)]);
  return world_.own_calls(like, all);
}

}  // namespace ov
