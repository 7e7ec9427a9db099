// Compares a kernel's CUDA twin, run by kernels/sim, with the CPU kernel: same arguments, same bits.
#pragma once
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/sim/device.h"
#include "tensor/tensor.h"
#include "tests/check.h"

namespace ov {

using test::same_bits;

inline std::vector<float> drawn(std::int64_t n, unsigned seed) {
  std::uint64_t state = seed;
  std::vector<float> v(static_cast<std::size_t>(n));
  for (float& x : v) {  // splitmix64 to 24 bits in (-4, 4)
    std::uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    x = static_cast<float>(static_cast<std::int64_t>((z ^ z >> 31) >> 40) - (1 << 23)) * 0x1p-21f;
  }
  return v;
}

template <class T>
Tensor on(Device& device, const std::vector<T>& values, const Shape& shape) {
  Tensor t(shape, dtype_of<T>(), device);
  t.copy_from(Tensor::of(values, shape));
  return t;
}

// A tensor that no kernel has written yet: NaN everywhere.
inline Tensor unwritten(Device& device, const Shape& shape) {
  return on(device, std::vector<float>(static_cast<std::size_t>(shape.numel()), NAN), shape);
}

// 1, around a packet of 4, around the 16 lanes, around a block and its tile, and primes.
inline const std::vector<std::int64_t> edge_sizes = {1,   3,   4,   5,    15,   16,   17,   31,
                                                     255, 256, 257, 1021, 2047, 2048, 2049, 4099};

}  // namespace ov
