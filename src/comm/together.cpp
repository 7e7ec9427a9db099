#include "comm/together.h"

#include <algorithm>
#include <optional>

#include "base/error.h"

namespace ov {

Together::Together(std::vector<Communicator*> axes) : axes_(std::move(axes)) {
  for (const Communicator* axis : axes_) rank_ += ranks_ * axis->rank(), ranks_ *= axis->ranks();
}

// Where all other places are those of `from`, an axis hands it on to all that differ on it, and on the axes before.
std::string Together::hear(const std::string& text, int from) const {
  std::string heard = text;
  for (Communicator* axis : axes_) {
    heard = broadcast_text(*axis, heard, from % axis->ranks());
    from /= axis->ranks();
  }
  return heard;
}

// Rows that are not a rank's own are zero: every axis adds up what is there of others.
std::vector<std::int64_t> Together::gather(const std::vector<std::int64_t>& own) const {
  std::vector<std::int64_t> all(own.size() * static_cast<std::size_t>(ranks_));
  std::copy(own.begin(), own.end(), all.begin() + rank_ * static_cast<std::ptrdiff_t>(own.size()));
  const Tensor rows = Tensor::of(all, {static_cast<std::int64_t>(all.size())});
  for (Communicator* axis : axes_) axis->all_reduce(rows);
  return rows.to_vector<std::int64_t>();
}

void Together::attempt(const std::function<void()>& part) const {
  if (ranks_ == 1) return part();
  std::optional<Error> failed;
  try {
    part();
  } catch (const Error& e) { failed = e; }
  const std::vector<std::int64_t> all = gather({failed ? static_cast<std::int64_t>(failed->exit()) : 0});
  const auto first = std::find_if(all.begin(), all.end(), [](std::int64_t exit) { return exit != 0; });
  if (first == all.end()) return;
  const auto rank = static_cast<int>(first - all.begin());
  const std::string text = hear(failed ? failed->what() : "", rank);
  throw Error(static_cast<Exit>(*first), cat("rank ", rank, ": ", text));
}

}  // namespace ov
