// While one lives, parallel calls that its thread makes run on that thread alone: for a thread that works beside those
// of the process, and is not to take them from the one that computes.
#pragma once

namespace ov {

class Serial {
 public:
  Serial();
  ~Serial();
  Serial(const Serial&) = delete;
};

}  // namespace ov
