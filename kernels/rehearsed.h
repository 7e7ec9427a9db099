// The table of a device on which nothing runs (`plan` for a GPU): an entry takes of the device's memory what a GPU's
// kernel takes inside a call (kernels/gpu/scratch.h), and gives it back.
// tests/devices/rehearsed_kernels_test.cpp compares every call of real steps with this.
#pragma once
#include "kernels/table.h"

namespace ov::kernels {

const Table& rehearsed_table();
// Whether work goes to a GPU: to a real one, or to one that a plan rehearses.
inline bool on_gpu(const Device& device) {
  return device.kind == Device::Kind::cuda || device.table == &rehearsed_table();
}

}  // namespace ov::kernels
