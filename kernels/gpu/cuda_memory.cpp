// The memory of a GPU: chunks that the runtime gives, cut by arenas, and what is said when there is no more.
#include "base/error.h"
#include "kernels/gpu/cuda_device.h"

namespace ov::gpu {
namespace {

bool trains(const MemoryUse& use) {
  const auto had = [&](Segment s) { return use.peak[static_cast<std::size_t>(s)] > 0; };
  return had(Segment::gradients) || had(Segment::optimizer);
}

// Keys that reduce what a segment holds, of the verbs that train and of those that answer.
const char* help_against(Segment segment, bool training) {
  constexpr const char* answers = "engine.max_running and engine.chunk bound a pass, data.max_pixels a picture";
  switch (segment) {
    case Segment::weights: return "dtype=bf16 halves the weights";
    case Segment::gradients: return "train.grad_sum=chain keeps one buffer of gradients; train.modules freezes parts";
    case Segment::optimizer: return "train.offload_optimizer=true keeps the optimiser's state on the host";
    case Segment::activations:
      return training ? "train.recompute=true keeps no activations within blocks; train.memory_budget, "
                        "train.max_tokens and train.micro_batch_samples bound a micro-batch"
                      : "engine.cache_gb bounds keys and values; engine.max_running and engine.chunk bound a pass, "
                        "data.max_pixels a picture";
    case Segment::workspace:
      return training ? "train.max_tokens and train.micro_batch_samples bound a micro-batch" : answers;
    case Segment::data: return training ? "train.max_tokens and data.max_pixels bound a micro-batch" : answers;
  }
  return "";
}

}  // namespace

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
  const For use = segment == Segment::data ? For::data : in_calls() ? For::calls : For::kernels;
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
                arena.largest_hole(), "; ",
                help_against(use.bytes[most] > 0 ? static_cast<Segment>(most) : segment, trains(use)));
}

}  // namespace ov::gpu
