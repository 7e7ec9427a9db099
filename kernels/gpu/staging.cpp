#include "kernels/gpu/staging.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace ov::gpu {

Staging::Staging(Runtime& runtime, std::size_t bytes)
    : runtime_(runtime), bytes_(bytes), memory_(static_cast<std::byte*>(runtime.pinned_allocate(bytes))) {}

Staging::~Staging() {
  for (const Region& r : regions_) runtime_.event_destroy(r.event);
  for (const Event e : events_) runtime_.event_destroy(e);
  runtime_.pinned_release(memory_);
}

void Staging::finish_oldest() {
  const Region r = regions_.front();
  runtime_.event_synchronize(r.event);
  if (r.deliver_to) std::memcpy(r.deliver_to, memory_ + r.begin, r.bytes);
  events_.push_back(r.event);
  regions_.pop_front();
}

std::byte* Staging::take(std::size_t bytes) {
  if (bytes > piece()) throw std::logic_error("staging: more than a piece");
  while (!regions_.empty() && runtime_.event_done(regions_.front().event)) finish_oldest();
  if (next_ + bytes > bytes_) next_ = 0;
  const auto in_the_way = [&](const Region& r) { return r.begin < next_ + bytes && next_ < r.begin + r.bytes; };
  while (std::any_of(regions_.begin(), regions_.end(), in_the_way)) finish_oldest();
  taken_ = bytes;
  return memory_ + next_;
}

void Staging::sent(Stream stream, void* deliver_to) {
  Event event;
  if (events_.empty()) {
    event = runtime_.event_create(false);
  } else {
    event = events_.back();
    events_.pop_back();
  }
  regions_.push_back({next_, taken_, event, deliver_to});
  next_ += (taken_ + 255) / 256 * 256;
  runtime_.event_record(event, stream);
}

void Staging::forget() {
  for (Region& r : regions_) r.deliver_to = nullptr;
}

void Staging::finish() {
  while (!regions_.empty()) finish_oldest();
}

}  // namespace ov::gpu
