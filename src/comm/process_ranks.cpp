#include "comm/process_ranks.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "comm/launcher.h"

namespace ov {

// One message on its way, and how far it is.
struct ProcessRanks::Flow {
  int peer;
  bool out;
  Tensor tensor;
  std::size_t done = 0;
  bool begun = false;  // its header is there
  bool whole = true;   // else the header is all
  bool lost = false;   // the peer, before its ring was last looked at

  std::size_t bytes() const { return whole ? tensor.nbytes() : 0; }
  bool finished() const { return begun && done == bytes(); }
};

namespace {

// Before every message, so that a rank that is elsewhere is found out.
struct Header {
  std::uint64_t bytes;
  std::uint32_t call, dtype;
  std::int64_t step, whole;  // whole: Communicator::whole_
};

// send and recv are two names of one thing.
Call kind(Call call) { return call == Call::recv ? Call::send : call; }

std::string shown(Dtype dtype, std::uint64_t bytes, std::int64_t whole) {
  return cat(bytes / size_of(dtype), " x ", name_of(dtype), " (", bytes, " bytes)",
             whole > 0 ? cat(" of ", whole, " bytes") : "");
}

}  // namespace

class ProcessRanks::Second : public Communicator, public Beside {
 public:
  explicit Second(ProcessRanks& all) : Communicator(all.rank(), all.ranks()), all_(all) {}
  Communicator& communicator() override { return *this; }
  bool threaded() const override { return true; }
  void give_up() override {
    all_.given_up_.store(true);
    all_.region_.ring(all_.end_of(rank(), 1));
  }

 protected:
  void exchange(Call call, const Parts& to, const Parts& from) override { all_.pass(call, to, from, true, 1, whole_); }

 private:
  ProcessRanks& all_;
};

Beside* ProcessRanks::beside() {
  for (int r = 0; r < ranks(); ++r)
    if (region_.state(r).away.load()) return nullptr;  // no bridge carries the second lane
  if (!second_) second_ = std::make_unique<Second>(*this);
  return second_.get();
}

ProcessRanks::ProcessRanks(const RankInJob& place, double timeout)
    : ProcessRanks(place, meet(place, timeout), timeout) {}

ProcessRanks::ProcessRanks(const RankInJob& place, Meeting meeting, double timeout)
    : Communicator(place.rank, place.ranks),
      timeout_(timeout),
      meeting_(std::move(meeting)),
      region_(meeting_.memory.get(), place.ranks, meeting_.bell.get()),
      stop_(::eventfd(0, EFD_CLOEXEC)) {
  if (stop_.get() < 0) machine_error("ranks: no eventfd");
  listener_ = std::thread([this] { listen(); });
  if (!meeting_.machines.empty())
    bridge_ = std::make_unique<Bridge>(region_, ranks(), meeting_.here, std::move(meeting_.machines),
                                       meeting_.bell.get(), timeout);
}

ProcessRanks::~ProcessRanks() {
  bridge_.reset();  // while the thread still learns how the others here end
  const std::uint64_t one = 1;
  if (::write(stop_.get(), &one, sizeof one) == static_cast<ssize_t>(sizeof one)) listener_.join();
  else listener_.detach();
}

void ProcessRanks::at_step(std::int64_t step) {
  Communicator::at_step(step);
  region_.state(rank()).step.store(step);
}

void ProcessRanks::works_alone(bool on) {
  between_calls_ = on ? Call::alone : Call::none;
  region_.state(rank()).call.store(static_cast<std::uint32_t>(between_calls_));
}

int ProcessRanks::sender(std::span<const int> of, double seconds) {
  for (Waited waited;;) {
    const std::uint32_t seen = region_.bell(rank());
    for (const int peer : of)
      if (region_.holds(peer, rank(), sizeof(Header))) return peer;
    throw_failure();
    const double left = seconds - waited.seconds();
    if (left <= 0) return -1;
    region_.wait(rank(), seen, std::min(left, Waited::between));
  }
}

void ProcessRanks::listen() {
  std::vector<pollfd> fds = {{stop_.get(), POLLIN, 0}};
  for (const Descriptor& d : meeting_.peers) fds.push_back({d.get(), POLLIN, 0});
  for (;;) {
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[0].revents != 0) return;
    for (std::size_t p = 1; p < fds.size(); ++p) {
      if (fds[p].revents == 0) continue;
      fds[p].fd = -1;
      const auto peer = static_cast<int>(p) - 1;
      const RankState& state = region_.state(peer);
      if (state.left.load()) continue;
      // To a rank that is not its machine's first, that is the only peer: with it went the bridge, and nothing comes
      // from elsewhere.
      const bool cut_off = meeting_.bell.get() >= 0 && meeting_.here.empty();
      if (state.expendable.load() && !cut_off && region_.failure().rank != peer)
        region_.lose(peer), hand_over_loss(peer);
      else
        region_.mourn(
            peer, rank(),
            cat("rank ", peer, " ended without a word in step ", state.step.load(), ": killed, or out of memory"));
    }
  }
}

void ProcessRanks::may_lose(std::span<const int> ranks) {
  if (rank() != 0) input_error("ranks: rank ", rank(), " does not learn how others end; rank 0 says who may be lost");
  for (const int r : ranks)
    if (r != 0) region_.expend(r);
}

bool ProcessRanks::speaks() const {
  const int speaker = region_.failure().speaker;
  return speaker == rank() || (bridge_ && speaker >= 0 && region_.state(speaker).away.load() && is_launched());
}

void ProcessRanks::throw_failure() const {
  const SharedRegion::Failure f = region_.failure();
  const bool own = f.rank == rank() && f.speaker == rank();  // else another says that this one is gone
  if (f.rank >= 0 && !own) throw PeerFailed(f.exit, f.text, f.rank);
}

bool ProcessRanks::advance(Flow& f, Call call, int lane, std::int64_t whole) {
  const int from = end_of(f.out ? rank() : f.peer, lane), to = end_of(f.out ? f.peer : rank(), lane);
  bool moved = false;
  if (!f.begun) {
    Header h{f.tensor.nbytes(), static_cast<std::uint32_t>(kind(call)), static_cast<std::uint32_t>(f.tensor.dtype()),
             step_, whole};
    if (f.out ? !region_.has_room(from, to, sizeof h) : !region_.holds(from, to, sizeof h)) return false;
    if (f.out) {
      region_.write(from, to, std::as_bytes(std::span(&h, 1)));
    } else {
      Header got;
      region_.read(from, to, std::as_writable_bytes(std::span(&got, 1)));
      if (got.bytes != h.bytes || got.call != h.call || got.dtype != h.dtype || got.whole != h.whole)
        machine_error("rank ", rank(), " in ", name_of(call), " of step ", step_, ": expected ",
                      shown(f.tensor.dtype(), h.bytes, whole), " from rank ", f.peer, ", which sent ",
                      shown(static_cast<Dtype>(got.dtype), got.bytes, got.whole), " in ",
                      name_of(static_cast<Call>(got.call)), " of step ", got.step);
    }
    f.begun = moved = true;
  }
  const std::span<std::byte> left{f.bytes() ? f.tensor.bytes() + f.done : nullptr, f.bytes() - f.done};
  const std::size_t n = left.empty() ? 0 : f.out ? region_.write(from, to, left) : region_.read(from, to, left);
  f.done += n;
  return moved || n > 0;
}

// Whether a lost rank came to a barrier: what it said and nobody took may stand there instead.
bool ProcessRanks::comes(const Flow& f, int lane) const {
  Header h;
  return region_.peek(end_of(f.peer, lane), end_of(rank(), lane), std::as_writable_bytes(std::span(&h, 1))) &&
         h.call == static_cast<std::uint32_t>(Call::barrier);
}

void ProcessRanks::pass(Call call, const Parts& to, const Parts& from, bool bytes, int lane, std::int64_t whole) {
  std::vector<Flow> flows;
  for (int i = 1; i < ranks(); ++i) {  // every rank begins with its neighbour, so that not all go to the same one
    const int next = (rank() + i) % ranks(), before = (rank() + ranks() - i) % ranks();
    if (const Tensor& t = from[static_cast<std::size_t>(next)])
      flows.push_back({.peer = next, .out = true, .tensor = t, .whole = bytes});
    if (const Tensor& t = to[static_cast<std::size_t>(before)])
      flows.push_back({.peer = before, .out = false, .tensor = t, .whole = bytes});
  }
  RankState& state = region_.state(end_of(rank(), lane));
  state.call.store(static_cast<std::uint32_t>(call));
  throw_failure();
  bool alone = false;  // one that is waited for was, meanwhile
  for (Waited waited; !flows.empty();) {
    const std::uint32_t seen = region_.bell(end_of(rank(), lane));
    if (lane == 1 && given_up_.load())
      machine_error("rank ", rank(), " gave up in ", name_of(call), " of step ", step_);
    for (Flow& f : flows)  // before its ring is looked at: then all that it said is there
      f.lost = f.out ? lost(f.peer) : region_.said_all(f.peer, rank());
    std::erase_if(flows,
                  [&](const Flow& f) { return f.lost && (f.out || (call == Call::barrier && !comes(f, lane))); });
    bool moved = false;
    for (Flow& f : flows) moved = advance(f, call, lane, whole) || moved;
    std::erase_if(flows, [](const Flow& f) { return f.finished(); });
    if (flows.empty()) break;
    if (moved) {
      waited.again(), alone = false;
      continue;
    }
    throw_failure();
    for (const Flow& f : flows)  // all that it left has come in
      if (f.lost)
        throw RankLost(Exit::machine_failed, cat("rank ", f.peer, " is lost: killed, or out of memory; rank ", rank(),
                                                 " waited for it in ", name_of(call), " of step ", step_));
    for (const Flow& f : flows)
      alone = alone || region_.state(f.peer).call.load() == static_cast<std::uint32_t>(Call::alone);
    const double left = timeout_ - waited.seconds();
    if (left <= 0) {
      if (!std::exchange(alone, false)) gave_up(call, flows, lane);
      waited.again();  // from what it does alone a rank comes to this call
      continue;
    }
    region_.wait(end_of(rank(), lane), seen, std::min(left, Waited::between));
  }
  state.call.store(static_cast<std::uint32_t>(lane == 0 ? between_calls_ : Call::none));
}

std::string ProcessRanks::standing(int peer, int lane) const {
  const RankState& s = region_.state(peer);
  const auto at = static_cast<Call>(region_.state(end_of(peer, lane)).call.load());
  return cat("rank ", peer, ", which is in ", at == Call::none ? "no call" : name_of(at), " of step ", s.step.load(),
             s.left.load() ? " and has left" : "");
}

void ProcessRanks::gave_up(Call call, const std::vector<Flow>& flows, int lane) const {
  std::string others;
  for (const Flow& f : flows)
    others += cat(others.empty() ? "" : ", ", f.out ? "to " : "from ", standing(f.peer, lane));
  machine_error("rank ", rank(), " waited ", timeout_, " s (comm.timeout) in ", name_of(call), " of step ", step_,
                " for a message ", others);
}

}  // namespace ov
