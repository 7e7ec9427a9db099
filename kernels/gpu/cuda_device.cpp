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

const char* help_against(Segment segment) {
  switch (segment) {
    case Segment::weights: return "dtype=bf16 halves the weights";
    case Segment::gradients: return "train.grad_sum=chain keeps one buffer of gradients; train.modules freezes parts";
    case Segment::optimizer: return "train.offload_optimizer=true keeps the optimiser's state on the host";
    case Segment::activations:
      return "train.recompute=true keeps no activations within blocks; train.memory_budget, train.max_tokens and "
             "train.micro_batch_samples bound a micro-batch";
    case Segment::workspace: return "train.max_tokens and train.micro_batch_samples bound a micro-batch";
    case Segment::data: return "train.max_tokens and data.max_pixels bound a micro-batch";
  }
  return "";
}

thread_local CudaDevice* in_calls = nullptr;  // where this thread's kernels go to the stream of calls

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
  return stream == ov::Stream::compute && in_calls == this ? calls_ : of(stream);
}

// ---- memory

Arena::Backing CudaDevice::source(For use) {
  return {.take = [this, use](std::size_t bytes) -> void* {
            void* chunk = runtime_.allocate(bytes);
            if (chunk) chunks_[static_cast<std::byte*>(chunk)] = {bytes, use};
            return chunk;
          },
          .give =
              [this](void* chunk, std::size_t) {
                chunks_.erase(static_cast<std::byte*>(chunk));
                runtime_.release(chunk);
              }};
}

CudaDevice::For CudaDevice::use_of(const void* address) const {
  const auto* at = static_cast<const std::byte*>(address);
  const auto chunk = chunks_.upper_bound(at);
  return chunk == chunks_.begin() ? For::kernels : std::prev(chunk)->second.second;
}

// Blocks of data whose last reader has run go back to the arena; all of them when the caller has time to wait.
void CudaDevice::reclaim(bool wait) {
  while (!released_.empty() && (wait || runtime_.event_done(released_.front().event))) {
    const Released r = released_.front();
    if (wait) runtime_.event_synchronize(r.event);
    released_.pop_front();
    events_.push_back(r.event);
    data_.release(r.block);
  }
}

void* CudaDevice::obtain(std::size_t bytes, Segment segment) {
  enter();
  const std::lock_guard lock(mutex_);
  const For use = segment == Segment::data ? For::data : in_calls == this ? For::calls : For::kernels;
  const Runtime::Layout layout = runtime_.layout(bytes);
  Arena& arena = this->arena(use);
  if (use == For::data) reclaim(false);
  void* block = arena.allocate(layout.bytes);
  if (!block) {  // chunks that nothing uses go back, once all that was queued has run
    reclaim(true);
    order(ov::Stream::compute, ov::Stream::copy);
    runtime_.stream_synchronize(compute_);
    runtime_.stream_synchronize(calls_);
    for (Arena* const a : {&blocks_, &data_, &for_calls_}) a->flush();
    block = arena.allocate(layout.bytes);
  }
  if (!block) out_of_memory(bytes, segment, arena);
  void* at = static_cast<std::byte*>(block) + layout.shift;
  runtime_.handed_out(at, bytes, segment, use == For::data ? nullptr : use == For::calls ? calls_ : compute_);
  return at;
}

void CudaDevice::give_back(void* at, std::size_t bytes) noexcept {
  void* block = static_cast<std::byte*>(at) - runtime_.layout(bytes).shift;
  For use = For::kernels;
  try {
    enter();
    const std::lock_guard lock(mutex_);
    use = use_of(at);
    if (!copies_awaited_) order(ov::Stream::compute, ov::Stream::copy);  // one of them may still write to it
    runtime_.retired(at, use == For::calls ? calls_ : compute_);
    if (use == For::data) {
      const Event event = events_.empty() ? runtime_.event_create(false) : events_.back();
      if (!events_.empty()) events_.pop_back();
      runtime_.event_record(event, compute_);
      released_.push_back({event, block});
      return;
    }
  } catch (const std::exception&) {}  // the GPU is lost: whoever waits for it is told
  arena(use).release(block);
}

void CudaDevice::out_of_memory(std::size_t bytes, Segment segment, const Arena& arena) {
  const MemoryUse use = memory();
  std::string table;
  std::size_t most = 0;
  for (std::size_t s = 0; s < segment_count; ++s) {
    table += cat(s ? ", " : "", name_of(static_cast<Segment>(s)), " ", use.bytes[s]);
    if (use.bytes[s] > use.bytes[most]) most = s;
  }
  const Runtime::Memory left = runtime_.memory_info();
  machine_error("device ", name, ": out of memory: ", bytes, " bytes asked for ", name_of(segment), ", ", use.total,
                " in use (", table, "), ", left.free, " of ", left.total, " free on the GPU, largest hole ",
                arena.largest_hole(), "; ", help_against(use.bytes[most] > 0 ? static_cast<Segment>(most) : segment));
}

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

CudaDevice::InCalls::InCalls(CudaDevice& device) : outer_(std::exchange(in_calls, &device)) {
  Runtime& r = device.runtime_;
  device.enter();
  const std::lock_guard lock(device.mutex_);
  r.event_record(device.calls_ordered_[0], device.compute_);
  r.stream_wait(device.calls_, device.calls_ordered_[0]);
}

CudaDevice::InCalls::~InCalls() { in_calls = outer_; }

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
