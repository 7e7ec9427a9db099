#include "comm/traced_ranks.h"

#include <chrono>
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

std::int64_t now_ns() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

TracedRanks::TracedRanks(Communicator& world) : Group(world, all_of(world)) {}

void TracedRanks::start() {
  on_ = true;
  sent_to_.clear(), received_from_.clear(), noted_.clear();
}

std::vector<TracedRanks::Exchange> TracedRanks::stop() {
  on_ = false;
  return std::exchange(noted_, {});
}

void TracedRanks::exchange(Call call, const Parts& to, const Parts& from) {
  if (!on_) return Group::exchange(call, to, from);
  Exchange e{call, now_ns(), 0, {}};
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
