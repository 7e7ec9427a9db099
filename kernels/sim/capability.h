// What of a GPU's generation a program can notice: its compute capability, and what follows from it.
#pragma once
#include <cstddef>
#include <string>

namespace ov::sim {

struct Capability {
  int major = 9, minor = 0;
  bool operator==(const Capability&) const = default;
};

struct Generation {
  Capability capability;
  std::size_t shared_bytes;       // the most that a block may have, static and dynamic together
  int multiprocessors, l2_bytes;  // of one GPU of this generation
};

// 8.0, 8.6, 8.9, 9.0 and 10.0; logic_error for others.
const Generation& generation_of(Capability capability);
std::string text(Capability capability);  // "8.6"

// Launches of this OS thread are held to what `capability` has for the lifetime of the object; without one to 9.0's.
class CapabilityScope {
 public:
  explicit CapabilityScope(Capability capability);
  ~CapabilityScope();
  CapabilityScope(const CapabilityScope&) = delete;
  static const Generation& current();

 private:
  const Generation* before_;
};

}  // namespace ov::sim
