#include "comm/nccl_ranks.h"

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "comm/group.h"

namespace ov {
namespace {

std::size_t at(int rank) { return static_cast<std::size_t>(rank); }

std::int64_t bytes_of(const Parts& parts) {
  std::int64_t n = 0;
  for (const Tensor& t : parts) n += t ? static_cast<std::int64_t>(t.nbytes()) : 0;
  return n;
}

}  // namespace

// The library's own calls among some ranks.
class NcclRanks::Members : public OwnCalls {
 public:
  Members(NcclRanks& all, const std::vector<int>& members)
      : all_(all), members_(members), host_(all.host_, members), comm_(all.join(host_)) {}

  void all_reduce(const Tensor& t) override {
    agree(Call::all_reduce, t, t);
    run(Call::all_reduce, {t}, [&] { all_.library_.all_reduce(comm_, t); });
  }
  void reduce_scatter(const Tensor& part, const Parts& of) override {
    agree(Call::reduce_scatter, of[at(host_.rank())], of[at(next())]);
    run(Call::reduce_scatter, of, [&] { all_.library_.reduce_scatter(comm_, of, part, host_.rank()); });
  }
  void all_gather(const Parts& of) override {
    agree(Call::all_gather, of[at(before())], of[at(host_.rank())]);
    run(Call::all_gather, of, [&] { all_.library_.all_gather(comm_, of, host_.rank()); });
  }
  void broadcast(const Tensor& t, int from) override {
    agree(Call::broadcast, t, t);
    run(Call::broadcast, {t}, [&] { all_.library_.broadcast(comm_, t, from); });
  }

 private:
  int next() const { return (host_.rank() + 1) % host_.ranks(); }
  int before() const { return (host_.rank() + host_.ranks() - 1) % host_.ranks(); }
  // Each with its neighbours, and so all with each other.
  void agree(Call call, const Tensor& to, const Tensor& from) {
    Parts in(at(all_.ranks())), out(at(all_.ranks()));
    in[at(members_[at(before())])] = to, out[at(members_[at(next())])] = from;
    all_.agree(call, in, out);
  }
  void run(Call call, const Parts& of, const std::function<void()>& calls) {
    if (const std::int64_t bytes = bytes_of(of)) all_.run(call, bytes, comm_, calls);
  }

  NcclRanks& all_;
  const std::vector<int> members_;
  Group host_;
  gpu::nccl::Comm comm_;
};

class NcclRanks::Lane : public Beside {
 public:
  explicit Lane(NcclRanks& ranks) : ranks_(ranks) {}
  Communicator& communicator() override { return ranks_; }
  bool threaded() const override { return false; }
  void run(const std::function<void()>& calls) override {
    const gpu::CudaDevice::InCalls within(ranks_.device_);
    calls();
  }
  void join() override { ranks_.device_.await_calls(); }

 private:
  NcclRanks& ranks_;
};

Beside* NcclRanks::beside() {
  if (!lane_) lane_ = std::make_unique<Lane>(*this);
  return lane_.get();
}

NcclRanks::NcclRanks(ProcessRanks& host, gpu::CudaDevice& device, CommSum sum)
    : Communicator(host.rank(), host.ranks()),
      host_(host),
      device_(device),
      sum_(sum),
      library_(device, [this] { waiting(); }),
      watch_(host) {
  const Tensor versions = Tensor::zeros({ranks()}, Dtype::i64, cpu(), Segment::workspace);
  versions.data<std::int64_t>()[rank()] = library_.version();
  host_.all_reduce(versions);
  for (int r = 0; r < ranks(); ++r)
    if (const std::int64_t v = versions.data<std::int64_t>()[r]; v != library_.version())
      machine_error("rank ", rank(), " has NCCL ", library_.version(), ", rank ", r, " ", v, ": expected one version");
  watch_.start(library_);
  all_ = join(host_);
  device_.guard([this] { watch_.check(); });
}

NcclRanks::~NcclRanks() {
  device_.guard({});
  library_.abort();  // unless close() has ended them
  watch_.stop();
}

void NcclRanks::close() {
  deadline_ = monotonic_seconds() + host_.timeout();
  library_.close();
  watch_.check();
}

std::string NcclRanks::version() const {
  const int v = library_.version();
  return cat(v / 10000, ".", v / 100 % 100, ".", v % 100);
}

void NcclRanks::at_step(std::int64_t step) {
  Communicator::at_step(step);
  host_.at_step(step);
}

void NcclRanks::waiting() const {
  watch_.check();
  host_.throw_failure();
  if (monotonic_seconds() > deadline_)
    machine_error("the library has not answered within ", host_.timeout(), " s (comm.timeout)");
}

// Its rank 0 makes the id, which travels through the host's memory.
gpu::nccl::Comm NcclRanks::join(Communicator& members) {
  const Tensor bytes = Tensor::zeros({sizeof(gpu::nccl::Id)}, Dtype::u8, cpu(), Segment::workspace);
  gpu::nccl::Id id;
  if (members.rank() == 0) id = library_.unique_id(), std::memcpy(bytes.bytes(), &id, sizeof id);
  members.broadcast(bytes, 0);
  std::memcpy(&id, bytes.bytes(), sizeof id);
  deadline_ = monotonic_seconds() + host_.timeout();
  return library_.join(id, members.ranks(), members.rank());
}

void NcclRanks::run(Call call, std::int64_t bytes, gpu::nccl::Comm comm, const std::function<void()>& calls) {
  watch_.check();
  deadline_ = monotonic_seconds() + host_.timeout();
  const std::uint64_t number = library_.queued() + 1;
  watch_.note({number, call, step_, bytes});
  try {
    library_.queue(comm, calls);
    library_.finish(number);
  } catch (const PeerFailed&) { throw; } catch (const Error& e) {
    watch_.check();
    machine_error("rank ", rank(), " in ", name_of(call), " of step ", step_, ": ", e.what());
  }
}

void NcclRanks::agree(Call call, const Parts& to, const Parts& from) {
  library_.host_away(), watch_.check();
  const OfWhole whole(host_, whole_);
  host_.agree(call, to, from);
}

// Who waits for a letter may owe others the GPU's part of a call.
int NcclRanks::sender(std::span<const int> of, double seconds) {
  library_.host_away(), watch_.check();
  return host_.sender(of, seconds);
}

void NcclRanks::exchange(Call call, const Parts& to, const Parts& from) {
  bool here = false, there = false;
  for (const Parts* parts : {&to, &from})
    for (const Tensor& t : *parts)
      if (t) (&t.device() == &device_ ? there : here) = true;
  if (here && there) input_error("communicator: ", name_of(call), " of tensors of which some lie on ", device_.name);
  if (!there) {
    library_.host_away(), watch_.check();
    const OfWhole whole(host_, whole_);
    return host_.exchange(call, to, from);
  }
  agree(call, to, from);
  if (const std::int64_t bytes = bytes_of(to) + bytes_of(from))
    run(call, bytes, all_, [&] {
      for (int r = 0; r < ranks(); ++r) {
        if (const Tensor& t = from[at(r)]) library_.send(all_, t, r);
        if (const Tensor& t = to[at(r)]) library_.recv(all_, t, r);
      }
    });
}

OwnCalls* NcclRanks::own_calls(const Tensor& like, const std::vector<int>& members) {
  if (sum_ == CommSum::ordered || &like.device() != &device_) return nullptr;
  std::unique_ptr<Members>& found = members_[members];
  if (!found) found = std::make_unique<Members>(*this, members);
  return found.get();
}

}  // namespace ov
