// What a stream and an event of SimRuntime are: for the files that implement it.
#pragma once
#include <atomic>
#include <string>
#include <string_view>

#include "base/error.h"
#include "kernels/sim/runtime.h"

namespace ov::sim {

inline std::string at(gpu::Place place) {
  const std::string_view file = place.file_name();
  return cat(file.substr(file.rfind('/') + 1), ":", place.line());
}

struct SimRuntime::Queue : gpu::StreamHandle {
  explicit Queue(SimRuntime& runtime) : runtime(runtime) {}
  void relocate(std::uint64_t* words, std::size_t count) override;
  void reaches(const char* what, const void* address, std::size_t bytes) override;
  void enqueue(const char* what, gpu::Place place, std::function<void()> run) override;
  void move(std::uint64_t* words, std::size_t count);

  SimRuntime& runtime;
  std::deque<Node> nodes;
  std::uint64_t queued = 0;
  std::atomic<std::uint64_t> done = 0;
};

struct SimRuntime::Recorded {
  Queue* queue = nullptr;  // null: never
  std::uint64_t until = 0;
};

}  // namespace ov::sim
