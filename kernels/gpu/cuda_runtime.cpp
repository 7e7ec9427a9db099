// NVIDIA's runtime behind kernels/gpu/runtime.h. Built with OV_WITH_CUDA where the toolkit is (kernels/cuda.mk); else
// there is none, and it says so.
#include "kernels/gpu/runtime.h"

#ifdef OV_WITH_CUDA
#include <cuda_runtime_api.h>
#include <cxxabi.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>

#include "base/error.h"
#endif

namespace ov::gpu {

#ifndef OV_WITH_CUDA

Runtime* cuda_runtime(std::string& reason) {
  reason = "this program was built without CUDA (README, \"GPUs\": make CUDA=1, where nvcc is installed)";
  return nullptr;
}

#else

namespace {

// Errors that leave the context unusable. What is not in this list concerns the call alone.
bool loses_everything(cudaError_t e) {
  switch (e) {
    case cudaErrorIllegalAddress:
    case cudaErrorAssert:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable: return true;
    default: return false;
  }
}

template <class... A>
void check(cudaError_t e, Place place, const char* call, const A&... arguments) {
  if (e == cudaSuccess) return;
  cudaGetLastError();  // or the next launch would find it
  std::string list;
  ((list += (list.empty() ? "" : ", ") + cat(arguments)), ...);
  const bool all = loses_everything(e);
  machine_error("CUDA: ", call, "(", list, ") at ", place.file_name(), ":", place.line(), ": ", cudaGetErrorName(e),
                " (", static_cast<int>(e), "), ", cudaGetErrorString(e),
                all ? "; of a kernel that was queued before. What is on the GPU is lost: start again, with "
                      "CUDA_LAUNCH_BLOCKING=1 to see which kernel it was"
                    : "");
}

cudaStream_t native(Stream s) { return reinterpret_cast<cudaStream_t>(s); }
cudaEvent_t native(Event e) { return reinterpret_cast<cudaEvent_t>(e); }

class Cuda : public Runtime {
 public:
  int device_count(std::string& reason) override {
    int n = 0;
    const cudaError_t e = cudaGetDeviceCount(&n);
    if (e == cudaSuccess && n > 0) return n;
    cudaGetLastError();
    reason = "no GPU can be used: ";
    if (const Versions v = versions(Place::current()); e == cudaErrorInsufficientDriver)
      reason += v.driver == 0
                    ? "there is no NVIDIA driver"
                    : cat("the NVIDIA driver is for CUDA ", version_text(v.driver), " and older, the program for ",
                          version_text(v.runtime), ": a newer driver is needed");
    else reason += cat(cudaGetErrorName(e), ", ", cudaGetErrorString(e));
    if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES"); visible && e == cudaErrorNoDevice)
      reason += cat(" (CUDA_VISIBLE_DEVICES is '", visible, "': only those are seen)");
    return 0;
  }
  void set_device(int index, Place at) override { check(cudaSetDevice(index), at, "cudaSetDevice", index); }
  int attribute(Attribute a, int index, Place at) override {
    static constexpr cudaDeviceAttr names[] = {cudaDevAttrMultiProcessorCount, cudaDevAttrComputeCapabilityMajor,
                                               cudaDevAttrComputeCapabilityMinor,
                                               cudaDevAttrMaxSharedMemoryPerBlockOptin, cudaDevAttrL2CacheSize};
    int value = 0;
    const cudaDeviceAttr name = names[static_cast<int>(a)];
    check(cudaDeviceGetAttribute(&value, name, index), at, "cudaDeviceGetAttribute", static_cast<int>(name), index);
    return value;
  }
  std::string device_name(int index, Place at) override {
    cudaDeviceProp p;
    check(cudaGetDeviceProperties(&p, index), at, "cudaGetDeviceProperties", index);
    return p.name;
  }
  Memory memory_info(Place at) override {
    Memory m{};
    check(cudaMemGetInfo(&m.free, &m.total), at, "cudaMemGetInfo");
    return m;
  }
  Versions versions(Place at) override {
    Versions v{};
    check(cudaDriverGetVersion(&v.driver), at, "cudaDriverGetVersion");
    check(cudaRuntimeGetVersion(&v.runtime), at, "cudaRuntimeGetVersion");
    return v;
  }

  void* allocate(std::size_t bytes, Place at) override {
    void* data = nullptr;
    const cudaError_t e = cudaMalloc(&data, bytes);
    if (e == cudaErrorMemoryAllocation) return static_cast<void>(cudaGetLastError()), nullptr;
    check(e, at, "cudaMalloc", bytes);
    return data;
  }
  void release(void* data) noexcept override { cudaFree(data); }
  void* pinned_allocate(std::size_t bytes, Place at) override {
    void* data = nullptr;
    check(cudaHostAlloc(&data, bytes, cudaHostAllocDefault), at, "cudaHostAlloc", bytes);
    return data;
  }
  void pinned_release(void* data) noexcept override { cudaFreeHost(data); }

  void copy(void* to, const void* from, std::size_t bytes, Copy kind, Stream s, Place at) override {
    if (bytes == 0) return;
    const cudaMemcpyKind k = kind == Copy::to_device ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost;
    check(cudaMemcpyAsync(to, from, bytes, k, native(s)), at, "cudaMemcpyAsync", to, from, bytes, static_cast<int>(k));
  }
  void fill(void* to, int byte, std::size_t bytes, Stream s, Place at) override {
    if (bytes > 0) check(cudaMemsetAsync(to, byte, bytes, native(s)), at, "cudaMemsetAsync", to, byte, bytes);
  }

  Stream stream_create(bool urgent, Place at) override {
    int least = 0, greatest = 0;
    check(cudaDeviceGetStreamPriorityRange(&least, &greatest), at, "cudaDeviceGetStreamPriorityRange");
    cudaStream_t s = nullptr;
    check(cudaStreamCreateWithPriority(&s, cudaStreamNonBlocking, urgent ? greatest : least), at,
          "cudaStreamCreateWithPriority", urgent ? greatest : least);
    return reinterpret_cast<Stream>(s);
  }
  void stream_destroy(Stream s) noexcept override { cudaStreamDestroy(native(s)); }
  void stream_synchronize(Stream s, Place at) override {
    check(cudaStreamSynchronize(native(s)), at, "cudaStreamSynchronize", s);
  }
  void stream_wait(Stream s, Event e, Place at) override {
    check(cudaStreamWaitEvent(native(s), native(e), 0), at, "cudaStreamWaitEvent", s, e);
  }

  Event event_create(bool timed, Place at) override {
    cudaEvent_t e = nullptr;
    check(cudaEventCreateWithFlags(&e, timed ? cudaEventDefault : cudaEventDisableTiming), at,
          "cudaEventCreateWithFlags", timed);
    return reinterpret_cast<Event>(e);
  }
  void event_destroy(Event e) noexcept override { cudaEventDestroy(native(e)); }
  void event_record(Event e, Stream s, Place at) override {
    check(cudaEventRecord(native(e), native(s)), at, "cudaEventRecord", e, s);
  }
  bool event_done(Event e, Place at) override {
    const cudaError_t code = cudaEventQuery(native(e));
    if (code == cudaErrorNotReady) return static_cast<void>(cudaGetLastError()), false;
    check(code, at, "cudaEventQuery", e);
    return true;
  }
  void event_synchronize(Event e, Place at) override {
    check(cudaEventSynchronize(native(e)), at, "cudaEventSynchronize", e);
  }
  float event_elapsed(Event from, Event to, Place at) override {
    float ms = 0;
    check(cudaEventElapsedTime(&ms, native(from), native(to)), at, "cudaEventElapsedTime", from, to);
    return ms;
  }
};

std::string name_of_kernel(const void* kernel) {
  const char* mangled = nullptr;
  if (cudaFuncGetName(&mangled, kernel) != cudaSuccess || !mangled) return "a kernel";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
  return name ? name.get() : mangled;
}

// More than 48 KB of shared memory has to be asked for, once a kernel and device; the most that was asked for holds.
void opt_in(const Launch& l, Place at) {
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, std::size_t> granted;
  int device = 0;
  check(cudaGetDevice(&device), at, "cudaGetDevice");
  const std::lock_guard lock(mutex);
  std::size_t& most = granted[{l.kernel, device}];
  if (l.shared_bytes <= most) return;
  int limit = 0;
  check(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), at, "cudaDeviceGetAttribute",
        "MaxSharedMemoryPerBlockOptin", device);
  if (l.shared_bytes > static_cast<std::size_t>(limit))
    machine_error("CUDA: ", name_of_kernel(l.kernel), " at ", at.file_name(), ":", at.line(), " needs ", l.shared_bytes,
                  " bytes of shared memory a block, of which this GPU has ", limit, "; --dtype f32 needs less");
  check(cudaFuncSetAttribute(l.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(l.shared_bytes)),
        at, "cudaFuncSetAttribute", name_of_kernel(l.kernel), "MaxDynamicSharedMemorySize", l.shared_bytes);
  most = l.shared_bytes;
}

}  // namespace

Runtime* cuda_runtime(std::string&) {
  // Every kernel is loaded when the device is opened: a kernel that is loaded at its first launch may wait for the GPU
  // in the middle of a step, and hold back other threads' copies.
  static Cuda* runtime = [] {
    ::setenv("CUDA_MODULE_LOADING", "EAGER", 0);
    return new Cuda;
  }();
  return runtime;
}

void launch(const Launch& l, void** arguments, Place at) {
  if (l.shared_bytes > 48 * 1024) opt_in(l, at);
  cudaLaunchConfig_t c{};
  c.gridDim = dim3{l.grid[0], l.grid[1], l.grid[2]};
  c.blockDim = dim3{l.block[0], l.block[1], l.block[2]};
  c.dynamicSmemBytes = l.shared_bytes;
  c.stream = native(l.stream);
  const cudaError_t e = cudaLaunchKernelExC(&c, l.kernel, arguments);
  if (e == cudaSuccess) return;
  check(e, at, name_of_kernel(l.kernel).c_str(), cat("grid ", l.grid[0], " ", l.grid[1], " ", l.grid[2]),
        cat("block ", l.block[0], " ", l.block[1], " ", l.block[2]), cat(l.shared_bytes, " bytes of shared memory"));
}

#endif

}  // namespace ov::gpu
