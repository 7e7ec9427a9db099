// A stream as launch() of the simulator sees it. Null: the launch runs at once, on memory that the host may touch too.
#pragma once
#include <cstdint>
#include <functional>

#include "kernels/gpu/runtime.h"

namespace ov::gpu {

struct StreamHandle {
  virtual ~StreamHandle() = default;
  // The 8-byte words of a launch's parameters: addresses of device memory among them are moved to where kernels can
  // follow them.
  virtual void relocate(std::uint64_t* words, std::size_t count) = 0;
  // Before that, of a vendor's call: it reaches so many bytes from there on, all of one allocation.
  virtual void reaches(const char* what, const void* address, std::size_t bytes) = 0;
  // After the relocations of its parameters. `run` is the launch.
  virtual void enqueue(const char* what, Place, std::function<void()> run) = 0;
};

}  // namespace ov::gpu
