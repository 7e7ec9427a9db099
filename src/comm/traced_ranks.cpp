#include "comm/traced_ranks.h"

#include <numeric>
#include <utility>

namespace ov {
namespace {

std::vector<int> all_of(const Communicator& world) {
  std::vector<int> members(static_cast<std::size_t>(world.ranks()));
  std::iota(members.begin(), members.end(), 0);
  return members;
}

}  // namespace

class TracedRanks::Lane : public Beside {
 public:
  explicit Lane(Beside& world) : traced(world.communicator()), world_(world) {}
  Communicator& communicator() override { return traced; }
  bool threaded() const override { return world_.threaded(); }
  void run(const std::function<void()>& calls) override { world_.run(calls); }
  void join() override { world_.join(); }
  void give_up() override { world_.give_up(); }
  TracedRanks traced;

 private:
  Beside& world_;
};

TracedRanks::TracedRanks(Communicator& world) : Group(world, all_of(world)) {}
TracedRanks::~TracedRanks() = default;

Beside* TracedRanks::beside() {
  Beside* of_world = lane_ ? nullptr : world().beside();
  if (of_world) lane_ = std::make_unique<Lane>(*of_world);
  if (of_world && on_) lane_->traced.start();
  return lane_.get();
}

void TracedRanks::start() {
  on_ = true;
  sent_to_.clear(), received_from_.clear(), noted_.clear();
  if (lane_) lane_->traced.start();
}

std::vector<TracedRanks::Exchange> TracedRanks::stop() {
  on_ = false;
  std::vector<Exchange> all = std::exchange(noted_, {});
  if (!lane_) return all;
  for (Exchange& e : lane_->traced.stop()) e.beside = true, all.push_back(std::move(e));
  return all;
}

void TracedRanks::exchange(Call call, const Parts& to, const Parts& from) {
  if (!on_) return Group::exchange(call, to, from);
  Exchange e{call, now_ns(), 0, {}, false};
  Group::exchange(call, to, from);
  e.end = now_ns();
  for (int r = 0; r < ranks(); ++r) {
    const Tensor &out = from[static_cast<std::size_t>(r)], &in = to[static_cast<std::size_t>(r)];
    if (out) e.messages.push_back({true, r, static_cast<std::int64_t>(out.nbytes()), sent_to_[r]++});
    if (in) e.messages.push_back({false, r, static_cast<std::int64_t>(in.nbytes()), received_from_[r]++});
  }
  if (!e.messages.empty()) noted_.push_back(std::move(e));
}

}  // namespace ov
