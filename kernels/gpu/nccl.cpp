#include "kernels/gpu/nccl.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>

#include "kernels/gpu/vendor_library.h"

namespace ov::gpu {
namespace {

constexpr int least_version = 22700;
constexpr const char* soname = "libnccl.so.2";
constexpr std::chrono::microseconds between_questions{20};
constexpr std::chrono::milliseconds patience{400};  // with a library call that does not come back, before its end

struct Variable {
  const char *name, *value;  // null: removed
};
constexpr Variable variables[] = {{"NCCL_ALGO", "Ring"},           {"NCCL_NVLS_ENABLE", "0"},
                                  {"NCCL_PROTO", nullptr},         {"NCCL_COLLNET_ENABLE", nullptr},
                                  {"NCCL_MIN_NCHANNELS", nullptr}, {"NCCL_MAX_NCHANNELS", nullptr},
                                  {"NCCL_MIN_CTAS", nullptr},      {"NCCL_MAX_CTAS", nullptr},
                                  {"NCCL_TUNER_PLUGIN", nullptr},  {"NCCL_COMM_BLOCKING", nullptr}};

nccl::Api open_library() {
  if (const std::string names = settle_nccl_environment(); !names.empty())
    std::fprintf(stderr, "NCCL: these environment variables would change numbers or waiting and are overridden: %s\n",
                 names.c_str());
  const VendorLibrary library(soname, "ranks on GPUs need NCCL 2.27 or later (package nvidia-nccl or libnccl2)");
  nccl::Api api;
#define OV_LOAD(name, symbol, type) library.load(api.name, #symbol);
  OV_NCCL_CALLS(OV_LOAD)
#undef OV_LOAD
  return api;
}

std::mutex brought_mutex;
std::map<Device*, nccl::Api>& brought() {
  static auto* all = new std::map<Device*, nccl::Api>;  // outlives every device
  return *all;
}

nccl::Api library_of(Device& device) {
  const std::lock_guard lock(brought_mutex);
  const auto found = brought().find(&device);
  return found == brought().end() ? open_library() : found->second;
}

int type_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f64: return nccl::f64;
    case Dtype::f32: return nccl::f32;
    case Dtype::bf16: return nccl::bf16;
    case Dtype::i64: return nccl::i64;
    case Dtype::u8: return nccl::u8;
    default: input_error("NCCL: no sum of ", name_of(dtype));
  }
}

std::size_t count_of(const Tensor& t) { return static_cast<std::size_t>(t.numel()); }

// Parts of one tensor, of one size, one behind the other: the same on every rank, wherever memory was free.
bool together(const std::vector<Tensor>& of) {
  for (const Tensor& t : of)
    if (t.numel() == 0 || t.storage() != of[0].storage() || t.numel() != of[0].numel() ||
        t.device_bytes() != of[0].device_bytes() + static_cast<std::size_t>(&t - of.data()) * of[0].nbytes())
      return false;
  return true;
}

}  // namespace

std::string settle_nccl_environment() {
  std::string names;
  for (const Variable& v : variables) {
    const char* found = std::getenv(v.name);
    if (found && (!v.value || std::strcmp(found, v.value) != 0)) names += cat(names.empty() ? "" : " ", v.name);
    v.value ? setenv(v.name, v.value, 1) : unsetenv(v.name);
  }
  return names;
}

void bring_nccl(Device& device, const nccl::Api& api) {
  const std::lock_guard lock(brought_mutex);
  brought()[&device] = api;
}

void forget_nccl(Device& device) {
  const std::lock_guard lock(brought_mutex);
  brought().erase(&device);
}

Nccl::Nccl(CudaDevice& device, std::function<void()> waiting)
    : api_(library_of(device)),
      device_(device),
      waiting_(std::move(waiting)),
      stream_((device.enter(), device.calls())),
      ready_(device.runtime().event_create(false)) {
  check(api_.version(&version_), "ncclGetVersion");
  if (version_ < least_version) machine_error(soname, ": version ", version_, "; expected ", least_version);
}

Nccl::~Nccl() {
  abort();
  Runtime& r = device_.runtime();
  try {
    device_.enter();
    r.stream_synchronize(stream_);
  } catch (const std::exception&) {}  // what was queued has failed, and that has been said
  for (const Under& u : under_way_) r.event_destroy(u.done);
  for (const Event e : events_) r.event_destroy(e);
  r.event_destroy(ready_);
}

void Nccl::check(int result, const char* call, nccl::Comm comm) const {
  if (result == nccl::success || result == nccl::in_progress) return;
  const char* more = api_.last_error(comm);
  machine_error("NCCL: ", call, ": ", api_.error_string(result), more && *more ? cat(" (", more, ")") : "");
}

// Until the library has done what the call asks for.
void Nccl::settle(const char* call, nccl::Comm comm) {
  for (int state = nccl::in_progress;;) {
    if (aborted_) waiting_(), machine_error("NCCL: its communicators have ended");
    check(api_.async_error(comm, &state), "ncclCommGetAsyncError", comm);
    check(state, call, comm);
    if (state == nccl::success) return;
    waiting_();
    std::this_thread::sleep_for(between_questions);
  }
}

nccl::Id Nccl::unique_id() const {
  nccl::Id id;
  check(api_.unique_id(&id), "ncclGetUniqueId");
  return id;
}

nccl::Comm Nccl::join(const nccl::Id& id, int ranks, int rank) {
  const std::lock_guard lock(use_);
  device_.enter();
  nccl::Config config;
  nccl::Comm comm = nullptr;
  check(api_.init(&comm, ranks, id, rank, &config), "ncclCommInitRankConfig", comm);
  comms_.push_back(comm);
  settle("ncclCommInitRankConfig", comm);
  return comm;
}

void Nccl::close() {
  device_.enter();
  device_.runtime().stream_synchronize(stream_);
  const std::lock_guard lock(use_);
  if (aborted_) return;
  for (const nccl::Comm comm : comms_) check(api_.finalize(comm), "ncclCommFinalize", comm);
  for (const nccl::Comm comm : comms_) settle("ncclCommFinalize", comm);
  for (const nccl::Comm comm : std::exchange(comms_, {})) check(api_.destroy(comm), "ncclCommDestroy");
}

Event Nccl::event() {
  {
    const std::lock_guard lock(log_);
    if (!events_.empty()) {
      const Event e = events_.back();
      events_.pop_back();
      return e;
    }
  }
  return device_.runtime().event_create(false);
}

std::uint64_t Nccl::queue(nccl::Comm comm, const std::function<void()>& calls) {
  Runtime& r = device_.runtime();
  const gpu::Stream compute = device_.enter();
  const Event done = event();
  if (compute != stream_) {
    r.event_record(ready_, compute);
    r.stream_wait(stream_, ready_);
  }
  const std::uint64_t number = ++queued_;
  {
    const std::lock_guard lock(use_);
    if (aborted_) machine_error("NCCL: its communicators have ended");
    check(api_.group_start(), "ncclGroupStart");
    try {
      calls();
    } catch (...) {  // the library forgets the group's other calls
      api_.group_end();
      throw;
    }
    check(api_.group_end(), "ncclGroupEnd", comm);
    settle("ncclGroupEnd", comm);
  }
  r.event_record(done, stream_);
  const std::lock_guard lock(log_);
  under_way_.push_back({number, done});
  return number;
}

void Nccl::finish(std::uint64_t call) {
  const gpu::Stream compute = device_.enter();
  if (compute == stream_) return;  // in order
  Event done = nullptr;
  {
    const std::lock_guard lock(log_);
    for (const Under& u : under_way_)
      if (u.number == call) done = u.done;
  }
  if (done) device_.runtime().stream_wait(compute, done);  // else it has run
}

std::uint64_t Nccl::done() {
  const std::lock_guard lock(log_);
  while (!under_way_.empty() && device_.runtime().event_past(under_way_.front().done)) {
    done_ = under_way_.front().number;
    events_.push_back(under_way_.front().done);
    under_way_.pop_front();
  }
  return done_;
}

std::string Nccl::error() {
  const std::unique_lock lock(use_, std::try_to_lock);
  if (!lock || aborted_) return "";  // who uses them finds it
  for (const nccl::Comm comm : comms_) {
    int state = nccl::success;
    try {
      check(api_.async_error(comm, &state), "ncclCommGetAsyncError", comm);
      check(state, "an asynchronous error", comm);
    } catch (const Error& e) { return e.what(); }
  }
  return "";
}

// Who waits for a library call gives up by itself, since it asks `waiting`; one that does not come back is left alone.
void Nccl::abort() {
  std::unique_lock lock(use_, std::defer_lock);
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!lock.try_lock() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(between_questions);
  if (aborted_.exchange(true)) return;
  for (const nccl::Comm comm : comms_) api_.abort(comm);
  comms_.clear();
}

// ---- the calls

void Nccl::send(nccl::Comm comm, const Tensor& t, int to) {
  if (t.numel() == 0) return;
  check(api_.send(t.device_bytes(), t.nbytes(), nccl::u8, to, comm, stream_), "ncclSend", comm);
}

void Nccl::recv(nccl::Comm comm, const Tensor& t, int from) {
  if (t.numel() == 0) return;
  check(api_.recv(t.device_bytes(), t.nbytes(), nccl::u8, from, comm, stream_), "ncclRecv", comm);
}

void Nccl::all_reduce(nccl::Comm comm, const Tensor& t) {
  if (t.numel() == 0) return;
  check(api_.all_reduce(t.device_bytes(), t.device_bytes(), count_of(t), type_of(t.dtype()), nccl::sum, comm, stream_),
        "ncclAllReduce", comm);
}

void Nccl::reduce(nccl::Comm comm, const Tensor& t, const Tensor& sum, int root) {
  if (t.numel() == 0) return;
  check(api_.reduce(t.device_bytes(), sum.device_bytes(), count_of(t), type_of(t.dtype()), nccl::sum, root, comm,
                    stream_),
        "ncclReduce", comm);
}

void Nccl::reduce_scatter(nccl::Comm comm, const std::vector<Tensor>& of, const Tensor& part, int rank) {
  if (!together(of))
    for (std::size_t r = 0; r < of.size(); ++r)
      reduce(comm, of[r], static_cast<int>(r) == rank ? part : of[r], static_cast<int>(r));
  else
    check(api_.reduce_scatter(of[0].device_bytes(), part.device_bytes(), count_of(part), type_of(part.dtype()),
                              nccl::sum, comm, stream_),
          "ncclReduceScatter", comm);
}

void Nccl::all_gather(nccl::Comm comm, const std::vector<Tensor>& of, int rank) {
  if (!together(of))
    for (std::size_t r = 0; r < of.size(); ++r) broadcast(comm, of[r], static_cast<int>(r));
  else
    check(api_.all_gather(of[static_cast<std::size_t>(rank)].device_bytes(), of[0].device_bytes(), count_of(of[0]),
                          type_of(of[0].dtype()), comm, stream_),
          "ncclAllGather", comm);
}

void Nccl::broadcast(nccl::Comm comm, const Tensor& t, int root) {
  if (t.numel() == 0) return;
  check(api_.broadcast(t.device_bytes(), t.device_bytes(), count_of(t), type_of(t.dtype()), root, comm, stream_),
        "ncclBroadcast", comm);
}

}  // namespace ov::gpu
