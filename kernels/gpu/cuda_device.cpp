#include "kernels/gpu/cuda_device.h"

#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "kernels/gpu/arguments.h"
#include "kernels/gpu/cublaslt.h"
#include "kernels/gpu/nccl.h"

namespace ov::gpu {
namespace {

// The device that a kernel's arguments lie on.
template <class Args>
CudaDevice& device_of(const Args& a) {
  CudaDevice* device = nullptr;
  for_each_field(const_cast<Args&>(a), [&](auto& field) {
    if constexpr (std::is_same_v<decltype(field), Tensor&>)
      if (field && !device) device = dynamic_cast<CudaDevice*>(&field.device());
  });
  if (!device) throw std::logic_error("a kernel of a GPU without a tensor that lies there");
  return *device;
}

const kernels::Table gpu_table = {
#define OV_ENTRY(name, Args)           \
  .name = [](const kernels::Args& a) { \
    CudaDevice& d = device_of(a);      \
    d.launchers().name(a, d.enter());  \
  },
    OV_KERNELS(OV_ENTRY)
#undef OV_ENTRY
};

thread_local CudaDevice* calls_of = nullptr;  // where this thread's kernels go to the stream of calls

}  // namespace

CudaDevice::CudaDevice(Runtime& runtime, const kernels::Launchers& launchers, Options options,
                       const kernels::Table* table)
    : Device(options.kind, options.name, table ? table : &gpu_table),
      runtime_(runtime),
      launchers_(launchers),
      options_(options),
      compute_((enter(), runtime.stream_create(true))),
      copy_(runtime.stream_create(false)),
      calls_(runtime.stream_create(true)),
      ordered_{runtime.event_create(false), runtime.event_create(false)},
      calls_ordered_{runtime.event_create(false), runtime.event_create(false)},
      blocks_(source(For::kernels), runtime.layout(1).alignment, options.chunk),
      data_(source(For::data), runtime.layout(1).alignment, options.data_chunk),
      for_calls_(source(For::calls), runtime.layout(1).alignment, options.data_chunk),
      in_(runtime, options.staging),
      out_(runtime, options.staging) {}

CudaDevice::~CudaDevice() {
  close_cublaslt(*this), forget_nccl(*this);
  out_.forget();
  try {
    synchronize();
    reclaim(true);
  } catch (const std::exception&) {}  // what was queued has failed, and that has been said or nobody asked
  for (const Event e : events_) runtime_.event_destroy(e);
  for (const Event e : {ordered_[0], ordered_[1], calls_ordered_[0], calls_ordered_[1]}) runtime_.event_destroy(e);
  runtime_.stream_destroy(calls_);
  runtime_.stream_destroy(copy_);
  runtime_.stream_destroy(compute_);
}

Stream CudaDevice::enter(ov::Stream stream) {
  runtime_.set_device(options_.index);  // each time: a thread's GPU may have been changed by another's code
  return stream == ov::Stream::compute && in_calls() ? calls_ : of(stream);
}

bool CudaDevice::in_calls() const { return calls_of == this; }

// ---- what it is, and what was chosen on it

std::vector<std::pair<std::string, std::string>> CudaDevice::about() {
  const auto number = [&](Attribute a) { return runtime_.attribute(a, options_.index); };
  const Runtime::Versions v = runtime_.versions();
  About all = {{"name", runtime_.device_name(options_.index)},
               {"compute_capability", cat(number(Attribute::major), ".", number(Attribute::minor))},
               {"multiprocessors", cat(number(Attribute::multiprocessors))},
               {"driver", version_text(v.driver)},
               {"runtime", version_text(v.runtime)}};
  if (multiplies()) all.emplace_back("cublaslt", cat(cublaslt(*this).version()));
  return all;
}

std::string CudaDevice::chosen() {
  if (!multiplies()) return "";
  const Algorithms all = cublaslt(*this).chosen();
  return all.empty() ? "" : algorithms_text(about(), all);
}

std::string CudaDevice::choose(const std::string& text, const std::string& from) {
  if (!multiplies()) return "";
  KeptAlgorithms kept = kept_algorithms(text, from, about());
  cublaslt(*this).choose(std::move(kept.algorithms), from);
  return kept.differs;
}

bool CudaDevice::multiplies() const { return table == &gpu_table; }

// ---- order

void CudaDevice::order(ov::Stream waiting, ov::Stream awaited) {
  const Event event = ordered_[static_cast<int>(awaited)];
  runtime_.event_record(event, of(awaited));
  runtime_.stream_wait(of(waiting), event);
  if (awaited == ov::Stream::copy) copies_awaited_ = true;
}

void CudaDevice::wait(ov::Stream waiting, ov::Stream awaited) {
  enter();
  const std::lock_guard lock(mutex_);
  order(waiting, awaited);
}

CudaDevice::InCalls::InCalls(CudaDevice& device) : outer_(std::exchange(calls_of, &device)) {
  Runtime& r = device.runtime_;
  device.enter();
  const std::lock_guard lock(device.mutex_);
  r.event_record(device.calls_ordered_[0], device.compute_);
  r.stream_wait(device.calls_, device.calls_ordered_[0]);
}

CudaDevice::InCalls::~InCalls() { calls_of = outer_; }

void CudaDevice::await_calls() {
  enter();
  const std::lock_guard lock(mutex_);
  runtime_.event_record(calls_ordered_[1], calls_);
  runtime_.stream_wait(compute_, calls_ordered_[1]);
}

// Whoever is told of a failure frees what the copies were to reach.
template <class F>
void CudaDevice::deliver(F&& copies) {
  try {
    copies();
  } catch (...) {
    out_.forget();
    throw;
  }
}

void CudaDevice::synchronize() {
  enter();
  const std::lock_guard lock(mutex_);
  deliver([&] {
    order(ov::Stream::compute, ov::Stream::copy);
    runtime_.stream_synchronize(compute_);
    if (check_) check_();
    out_.finish();
  });
}

// ---- copies

void CudaDevice::copy_in(void* to, const void* from, std::size_t bytes, ov::Stream stream) {
  const Stream s = enter(stream);
  const std::lock_guard lock(mutex_);
  if (stream == ov::Stream::copy) {
    // Kernels may still use what was there before.
    if (use_of(to) != For::data) order(ov::Stream::copy, ov::Stream::compute);
    copies_awaited_ = false;
  }
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t n = std::min(bytes - done, in_.piece());
    std::byte* pinned = in_.take(n);
    std::memcpy(pinned, static_cast<const std::byte*>(from) + done, n);
    runtime_.copy(static_cast<std::byte*>(to) + done, pinned, n, Copy::to_device, s);
    in_.sent(s);
    done += n;
  }
}

void CudaDevice::copy_out(void* to, const void* from, std::size_t bytes, ov::Stream stream) {
  const Stream s = enter(stream);
  const std::lock_guard lock(mutex_);
  runtime_.unwritten(to, bytes);
  deliver([&] {
    for (std::size_t done = 0; done < bytes;) {
      const std::size_t n = std::min(bytes - done, out_.piece());
      runtime_.copy(out_.take(n), static_cast<const std::byte*>(from) + done, n, Copy::to_host, s);
      out_.sent(s, static_cast<std::byte*>(to) + done);
      done += n;
    }
  });
}

// ---- the machine's GPU

namespace {

#ifdef OV_WITH_CUDA
const kernels::Launchers* built_launchers() { return &kernels::cuda::launchers(); }
#else
const kernels::Launchers* built_launchers() { return nullptr; }
#endif

// Null, and why.
Runtime* usable(std::string& reason) {
  Runtime* runtime = cuda_runtime(reason);
  return runtime && runtime->device_count(reason) > 0 ? runtime : nullptr;
}

Device* brought = nullptr;

// On a machine with a driver somebody expects a GPU to be used: once it is said that none is.
void say_that_none_is_used(const std::string& why) {
  static std::once_flag said;
  std::string none;
  if (Runtime* runtime = cuda_runtime(none); runtime && runtime->versions().driver > 0)
    std::call_once(said, [&] { std::fprintf(stderr, "device=auto is the CPU: %s\n", why.c_str()); });
}

}  // namespace

std::string too_old(Runtime& runtime, int index) {
  const int major = runtime.attribute(Attribute::major, index), minor = runtime.attribute(Attribute::minor, index);
  return major >= least_major ? ""
                              : cat("GPU ", index, ", ", runtime.device_name(index), ", has compute capability ", major,
                                    ".", minor, "; the kernels need ", least_major, ".0 or later");
}

void bring_gpu(Device* simulated) { brought = simulated; }

Device& device_named(std::string_view name, int index) {
  if (name == "cpu") return cpu();
  if (brought) return *brought;
  std::string reason;
  Runtime* runtime = usable(reason);
  if (runtime) {
    if (const int count = runtime->device_count(reason); index >= count)
      machine_error("device=cuda: no GPU number ", index, ", there ", count == 1 ? "is 1" : cat("are ", count),
                    ", from 0: each rank needs one of its own");
    reason = too_old(*runtime, index);
  }
  if (!runtime || !reason.empty()) {
    if (name == "auto") return say_that_none_is_used(reason), cpu();
    machine_error("device=cuda: ", reason, "; device=cpu works without one");
  }
  static CudaDevice* device = new CudaDevice(*runtime, *built_launchers(), {.index = index});  // outlives every tensor
  return *device;
}

}  // namespace ov::gpu
