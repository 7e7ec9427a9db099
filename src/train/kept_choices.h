// What a device chose by shape and what decides bits (a GPU: the algorithms of its products), kept beside a run's log,
// so that a run that goes on computes with what it began with. Nothing on a device that chooses nothing.
#pragma once
#include <string>

#include "tensor/device.h"

namespace ov {

class KeptChoices {
 public:
  // The rank's own file: `out`/algorithms.json, or algorithms.rank-1.json ... Brings back what stands there; where that
  // is of another device, it says so on stderr, and the device chooses anew. input_error when the file is damaged.
  KeptChoices(Device& device, const std::string& out, int rank);
  // Writes what has been chosen, durably, if that is more than the file has. machine_error names the file.
  void save();

 private:
  Device& device_;
  const std::string path_;
  std::string written_;
};

}  // namespace ov
