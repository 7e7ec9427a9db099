// A stream as launch() of the simulator sees it. Null: the launch runs at once, on memory that the host may touch too.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>

struct ov_sim_stream {
  virtual ~ov_sim_stream() = default;
  // The 8-byte words of a launch's parameters: addresses of device memory among them are moved to where kernels can
  // follow them.
  virtual void relocate(std::uint64_t* words, std::size_t count) = 0;
  // After the relocations of its parameters. `run` is the launch.
  virtual void enqueue(std::function<void()> run) = 0;
};
