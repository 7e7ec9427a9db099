// The CUDA language as our kernels use it. The same .cu text compiles
//   with nvcc            to run on a GPU;
//   with g++ or clang++  to run on the CPU, one fiber per thread (kernels/sim/scheduler.h).
//
// What a .cu file keeps to, so that both are the same program:
//   launch(kernel, grid, block, shared_bytes, stream, arguments...) is the only way to start a kernel;
//   shared memory is declared by SHARED and DYN_SHARED only, and read and written by [] or through &array[i];
//   instructions without a CUDA C++ name live in functions of namespace ptx that have a host twin;
//   sums use no atomics, so that a run repeats itself;
//   a loop over a local array is UNROLLed where the compiler might not: an index that it does not know puts the array
//   into memory;
//   everything lives in namespace ov::kernels::OV_CUDA, `cuda` when nvcc compiles it and `simulated` else, so that one
//   program may hold both.
#pragma once

#include <tuple>

#include "kernels/gpu/runtime.h"

namespace ov {

// A stream, and the line that launches into it.
struct Into {
  Into(gpu::Stream stream, gpu::Place place = gpu::Place::current()) : stream(stream), place(place) {}
  gpu::Stream stream;
  gpu::Place place;
};

}  // namespace ov

#ifdef __CUDACC__

#define OV_CUDA cuda

namespace ov {

template <class T, int... extents>
struct ArrayOf;
template <class T>
struct ArrayOf<T> {
  using type = T;
};
template <class T, int first, int... rest>
struct ArrayOf<T, first, rest...> {
  using type = typename ArrayOf<T, rest...>::type[first];
};

// A kernel's arguments, converted to its parameter types. Throws machine_error when the launch is refused.
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes, Into into, A&&... arguments) {
  std::tuple<P...> parameters(static_cast<P>(arguments)...);
  std::apply(
      [&](P&... p) {
        void* addresses[] = {&p..., nullptr};
        gpu::launch({reinterpret_cast<const void*>(kernel),
                     {grid.x, grid.y, grid.z},
                     {block.x, block.y, block.z},
                     shared_bytes,
                     into.stream},
                    addresses, into.place);
      },
      parameters);
}

__device__ inline void check_alignment(const void*, std::size_t) {}  // the hardware does

}  // namespace ov

// SHARED(float, tile, 4, 32): float tile[4][32], one for the block. DYN_SHARED: the launch's shared_bytes, as T[].
#define SHARED(T, name, ...) __shared__ __align__(16) typename ::ov::ArrayOf<T, __VA_ARGS__>::type name
#define DYN_SHARED(T, name)                                      \
  extern __shared__ __align__(128) unsigned char name##_bytes[]; \
  T* name = reinterpret_cast<T*>(name##_bytes)

#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")  // a loop of few turns, whose copies would only take registers

#else  // on the CPU

#define UNROLL
#define ROLLED

#include <cstring>
#include <string>
#include <type_traits>

#include "kernels/sim/scheduler.h"
#include "kernels/sim/stream.h"

#define OV_CUDA simulated
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

using dim3 = ov::sim::Extent3;

#define threadIdx (::ov::sim::thread_index())
#define blockIdx (::ov::sim::block_index())
#define blockDim (::ov::sim::block_extent())
#define gridDim (::ov::sim::grid_extent())

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  ov::sim::block_barrier(file, line);
}

namespace ov::sim {

// A shared array: every index is checked. Row views of an array with several axes are arrays again.
template <class T, int... extents>
class SharedArray;

template <class T, int extent>
class SharedArray<T, extent> {
 public:
  static constexpr std::size_t bytes = sizeof(T) * extent;
  explicit SharedArray(T* data) : data_(data) {}
  template <class I>
  T& operator[](I i) const {
    if (static_cast<std::uint64_t>(i) >= extent)
      fault("shared array of " + std::to_string(extent) + " indexed with " + std::to_string(i));
    return data_[i];
  }

 private:
  T* data_;
};

template <class T, int first, int second, int... rest>
class SharedArray<T, first, second, rest...> {
 public:
  static constexpr std::size_t bytes = first * SharedArray<T, second, rest...>::bytes;
  explicit SharedArray(T* data) : data_(data) {}
  template <class I>
  SharedArray<T, second, rest...> operator[](I i) const {
    if (static_cast<std::uint64_t>(i) >= first)
      fault("shared array of " + std::to_string(first) + " rows indexed with " + std::to_string(i));
    return SharedArray<T, second, rest...>(data_ + static_cast<std::size_t>(i) *
                                                       (SharedArray<T, second, rest...>::bytes / sizeof(T)));
  }

 private:
  T* data_;
};

template <class T>
class DynamicShared {
 public:
  T& operator[](std::size_t i) const {
    if (i >= count_)
      fault("dynamic shared memory of " + std::to_string(count_) + " elements indexed with " + std::to_string(i));
    return data_[i];
  }

 private:
  T* data_ = static_cast<T*>(dynamic_shared());
  std::size_t count_ = dynamic_shared_bytes() / sizeof(T);
};

// Each lane brings a value and names the lane whose value it takes. A lane that is not there gives NaN bytes.
template <class T>
T exchange(const char* name, unsigned mask, T value, unsigned source) {
  struct Lane {
    T brought, taken;
    unsigned source;
  } mine{value, value, source};
  warp_collective(name, mask, &mine, [](void* const lanes[warp_lanes]) {
    for (unsigned i = 0; i < warp_lanes; ++i) {
      if (!lanes[i]) continue;
      Lane& to = *static_cast<Lane*>(lanes[i]);
      if (const void* from = lanes[to.source]) to.taken = static_cast<const Lane*>(from)->brought;
      else std::memset(&to.taken, 0xff, sizeof(T));
    }
  });
  return mine.taken;
}

}  // namespace ov::sim

// The warp is cut into groups of `width` lanes; a source outside the own group leaves the value as it is.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const unsigned lane = ov::sim::lane(), w = static_cast<unsigned>(width);
  return ov::sim::exchange("__shfl_sync", mask, value, lane / w * w + static_cast<unsigned>(source) % w);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = ov::sim::lane(), w = static_cast<unsigned>(width);
  return ov::sim::exchange("__shfl_down_sync", mask, value, lane % w + delta < w ? lane + delta : lane);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const unsigned lane = ov::sim::lane(), w = static_cast<unsigned>(width), source = lane ^ static_cast<unsigned>(bits);
  return ov::sim::exchange("__shfl_xor_sync", mask, value, source < lane / w * w + w ? source : lane);
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  char nothing = 0;
  ov::sim::warp_collective("__syncwarp", mask, &nothing, [](void* const*) {});
}

namespace ov {

namespace sim {
inline thread_local std::int64_t packets_moved = 0;  // of 16 bytes, by the kernels that this thread ran
}
inline void check_alignment(const void* address, std::size_t bytes) {
  sim::packets_moved += bytes == 16;
  if (reinterpret_cast<std::uintptr_t>(address) % bytes)
    sim::fault("misaligned address: a packet needs a multiple of " + std::to_string(bytes) + " bytes");
}

// Parameters are bytes to a GPU. Those of less than a word hold no address.
template <class P>
void relocate(gpu::StreamHandle& stream, P& parameter) {
  static_assert(std::is_trivially_copyable_v<P>);
  constexpr std::size_t words = sizeof(P) / sizeof(std::uint64_t);
  if constexpr (words > 0 && alignof(P) == sizeof(std::uint64_t)) {
#if __has_builtin(__builtin_clear_padding)
    __builtin_clear_padding(&parameter);  // what is left there from before is nobody's address
#endif
    std::uint64_t bytes[words];
    std::memcpy(bytes, &parameter, sizeof bytes);
    stream.relocate(bytes, words);
    std::memcpy(static_cast<void*>(&parameter), bytes, sizeof bytes);
  }
}

// What a fault says of its launch; which kernel it was says the line that queued it.
inline std::string geometry(dim3 grid, dim3 block, std::size_t shared_bytes) {
  const auto of = [](dim3 e) { return std::to_string(e.x) + " " + std::to_string(e.y) + " " + std::to_string(e.z); };
  return "; grid " + of(grid) + ", block " + of(block) + ", " + std::to_string(shared_bytes) +
         " bytes of shared memory";
}

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes, Into into, A&&... arguments) {
  static_assert((sizeof(P) + ... + 0) <= 32764, "more parameters than a launch takes");
  std::tuple<P...> parameters(static_cast<P>(arguments)...);
  const auto run = [=](std::tuple<P...>& p) {
    try {
      sim::run(grid, block, shared_bytes, [&] { std::apply(kernel, p); });
    } catch (const sim::KernelFault& e) { throw sim::KernelFault(e.what() + geometry(grid, block, shared_bytes)); }
  };
  if (!into.stream) return run(parameters);
  std::apply([&](P&... p) { (relocate(*into.stream, p), ...); }, parameters);
  into.stream->enqueue("launch", into.place, [run, parameters]() mutable { run(parameters); });
}

}  // namespace ov

#define SHARED(T, name, ...)                                   \
  static char name##_key;                                      \
  using name##_array = ::ov::sim::SharedArray<T, __VA_ARGS__>; \
  const name##_array name(static_cast<T*>(::ov::sim::static_shared(&name##_key, name##_array::bytes)))
#define DYN_SHARED(T, name) const ::ov::sim::DynamicShared<T> name

#endif
