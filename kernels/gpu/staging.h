// Pinned memory that copies between a device and the rest of the host's memory pass through, used in turns. A region
// belongs to its copy until the event behind it has come; who needs the room before that waits for the oldest.
#pragma once
#include <deque>
#include <vector>

#include "kernels/gpu/runtime.h"

namespace ov::gpu {

class Staging {
 public:
  Staging(Runtime& runtime, std::size_t bytes);
  ~Staging();
  Staging(const Staging&) = delete;

  std::size_t piece() const { return bytes_ / 4; }  // the most that take() gives: so that copies overlap
  std::byte* take(std::size_t bytes);
  // The copy of what was taken last is queued in the stream. `deliver_to`: where its bytes go once it has run.
  void sent(Stream stream, void* deliver_to = nullptr);
  void forget();  // nothing that is under way is delivered: those who asked for it may be gone
  void finish();  // waits for every copy, and delivers

 private:
  struct Region {
    std::size_t begin, bytes;
    Event event;
    void* deliver_to;
  };
  void finish_oldest();

  Runtime& runtime_;
  const std::size_t bytes_;
  std::byte* const memory_;
  std::size_t next_ = 0, taken_ = 0;  // where the next region begins; the last one's bytes
  std::deque<Region> regions_;        // oldest first
  std::vector<Event> events_;         // not in use
};

}  // namespace ov::gpu
