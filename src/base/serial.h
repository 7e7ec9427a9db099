// For threads that work beside those of the process, and are not to take the workers from the one that computes.
#pragma once

namespace ov {

// While one lives, parallel calls that its thread makes run on that thread alone.
class Serial {
 public:
  Serial();
  ~Serial();
  Serial(const Serial&) = delete;
};

// While one lives, parallel calls that its thread makes have the workers where they are free, and else run on that
// thread alone, at once: for a thread that prepares what the next step needs.
class Aside {
 public:
  Aside();
  ~Aside();
  Aside(const Aside&) = delete;
};

}  // namespace ov
