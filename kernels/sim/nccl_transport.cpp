#include "kernels/sim/nccl_transport.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <stdexcept>

#include "base/error.h"
#include "kernels/gpu/nccl_api.h"
#include "tensor/dtype.h"

namespace ov::sim {

namespace {

constexpr std::size_t piece = 1 << 16;
constexpr std::chrono::seconds longest{30};  // so that a test ends whose program forgot to watch
constexpr std::chrono::microseconds pause{30};

struct alignas(64) Slot {
  std::atomic<std::uint64_t> written, read;  // pieces, headers among them
  NcclHeader header;
  std::byte data[piece];
};

}  // namespace

struct NcclShared {
  std::atomic<int> ranks;      // as the first who joined says
  std::atomic<unsigned> here;  // a bit each
  Slot slots[most_nccl_ranks][most_nccl_ranks];
};

std::size_t nccl_size(int type) {
  switch (type) {
    case gpu::nccl::u8: return 1;
    case gpu::nccl::bf16: return 2;
    case gpu::nccl::f32: return 4;
    case gpu::nccl::f64:
    case gpu::nccl::i64: return 8;
    default: return 0;
  }
}

std::string NcclHeader::str() const {
  constexpr const char* names[] = {"send", "all_reduce", "reduce", "reduce_scatter", "all_gather", "broadcast"};
  constexpr const char* types[] = {"?", "u8", "?", "?", "i64", "?", "?", "f32", "f64", "bf16"};
  return cat(names[static_cast<int>(call)], " of ", count, " x ", type >= 0 && type < 10 ? types[type] : "?",
             root >= 0 ? cat(", root ", root) : "");
}

void NcclRank::fail(int result, const std::string& text) {
  const std::lock_guard lock(mutex);
  int none = 0;
  if (error.compare_exchange_strong(none, result)) what = text;
}

std::string NcclRank::why() {
  const std::lock_guard lock(mutex);
  return what;
}

int nccl_create() {
  const int fd = ::memfd_create("nccl stand-in", MFD_CLOEXEC);
  if (fd < 0 || ::ftruncate(fd, sizeof(NcclShared)) != 0) machine_error("nccl stand-in: no shared memory");
  return fd;
}

std::shared_ptr<NcclShared> nccl_map(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  void* at = ::mmap(nullptr, sizeof(NcclShared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (at == MAP_FAILED) return nullptr;
  return {static_cast<NcclShared*>(at), [](NcclShared* s) { ::munmap(s, sizeof *s); }};
}

bool nccl_join(NcclShared& shared, int ranks, int rank) {
  int said = 0;
  if (!shared.ranks.compare_exchange_strong(said, ranks) && said != ranks) return false;
  return !(shared.here.fetch_or(1u << rank) & 1u << rank);
}

bool nccl_complete(const NcclShared& shared) { return shared.here.load() == (1u << shared.ranks.load()) - 1; }

namespace {

// One message on its way.
struct Message {
  Slot* slot;
  int peer;
  bool out;
  NcclHeader header;
  std::byte* data;
  std::size_t bytes, done = 0;
  bool begun = false;
  std::uint64_t last = 0;  // of the slot's pieces, when all are written
  bool finished() const { return begun && done == bytes && (!out || slot->read.load() >= last); }
};

bool advance(Message& m, NcclRank& rank) {
  Slot& s = *m.slot;
  const std::uint64_t written = s.written.load(std::memory_order_acquire), read = s.read.load();
  if (m.begun && m.done == m.bytes) return false;  // the receiver's turn
  if (m.out ? written != read : written == read) return false;
  const std::size_t n = m.begun ? std::min(piece, m.bytes - m.done) : 0;
  if (m.out) {
    if (m.begun) std::memcpy(s.data, m.data + m.done, n);
    else s.header = m.header;
    s.written.store(m.last = written + 1, std::memory_order_release);
  } else {
    if (m.begun) std::memcpy(m.data + m.done, s.data, n);
    else if (!(s.header == m.header)) {
      rank.fail(gpu::nccl::internal_error, cat("rank ", rank.rank, " of ", rank.ranks, " expects ", m.header.str(),
                                               " from rank ", m.peer, ", which is in ", s.header.str()));
      return false;  // and waits for ever, as the library's kernel may
    }
    s.read.store(read + 1, std::memory_order_release);
  }
  m.done += n;
  m.begun = true;
  return true;
}

// Σ over ranks, as a ring adds: the n-th n-th of the elements begins with the rank after n. `start`: another order.
template <class T, class A>
void add_up(const std::vector<const std::byte*>& of, std::byte* to, std::uint64_t count, std::uint64_t start) {
  const std::uint64_t n = of.size(), each = (count + n - 1) / n;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto at = [&](std::uint64_t r) { return reinterpret_cast<const T*>(of[r % n])[i]; };
    const std::uint64_t first = i / each + 1 + start;
    T sum = at(first);
    for (std::uint64_t k = 1; k < n; ++k) sum = T(A(sum) + A(at(first + k)));
    reinterpret_cast<T*>(to)[i] = sum;
  }
}

void add_up(int type, const std::vector<const std::byte*>& of, std::byte* to, std::uint64_t count,
            std::uint64_t start) {
  switch (type) {
    case gpu::nccl::f32: return add_up<float, float>(of, to, count, start);
    case gpu::nccl::f64: return add_up<double, double>(of, to, count, start);
    case gpu::nccl::bf16: return add_up<Bf16, float>(of, to, count, start);
    case gpu::nccl::i64: return add_up<std::uint64_t, std::uint64_t>(of, to, count, start);
    default: return add_up<std::uint8_t, std::uint8_t>(of, to, count, start);
  }
}

// The messages of one call, and what is done when they have come.
struct Plan {
  std::deque<std::vector<std::byte>> room;
  std::vector<Message> messages;
  std::vector<std::function<void()>> after;
};

void plan(NcclRank& rank, const NcclWork& w, bool reorder, Plan& p) {
  const std::size_t bytes = w.header.count * nccl_size(w.header.type);
  const auto send = [&](int peer, const std::byte* from) {
    p.messages.push_back(
        {&rank.shared->slots[rank.rank][peer], peer, true, w.header, const_cast<std::byte*>(from), bytes});
  };
  const auto recv = [&](int peer, std::byte* to) {
    p.messages.push_back({&rank.shared->slots[peer][rank.rank], peer, false, w.header, to, bytes});
  };
  const auto each = [&](auto f) {
    for (int r = 0; r < rank.ranks; ++r)
      if (r != rank.rank) f(r, static_cast<std::size_t>(r) * bytes);
  };
  const auto sum = [&](const std::byte* own) {
    std::vector<const std::byte*> of(static_cast<std::size_t>(rank.ranks), own);
    each([&](int r, std::size_t) {
      p.room.emplace_back(bytes);
      of[static_cast<std::size_t>(r)] = p.room.back().data();
      recv(r, p.room.back().data());
    });
    p.after.push_back(
        [=, start = reorder ? rank.calls : 0] { add_up(w.header.type, of, w.to, w.header.count, start); });
  };
  const bool root = w.header.root == rank.rank;
  switch (w.header.call) {
    case NcclCall::send: return w.in ? recv(w.peer, w.to) : send(w.peer, w.from);
    case NcclCall::all_reduce:
      ++rank.calls;
      each([&](int r, std::size_t) { send(r, w.from); });
      return sum(w.from);
    case NcclCall::reduce: ++rank.calls; return root ? sum(w.from) : send(w.header.root, w.from);
    case NcclCall::reduce_scatter:
      ++rank.calls;
      each([&](int r, std::size_t at) { send(r, w.from + at); });
      return sum(w.from + static_cast<std::size_t>(rank.rank) * bytes);
    case NcclCall::all_gather:
      p.after.push_back([=, own = w.to + static_cast<std::size_t>(rank.rank) * bytes] {
        if (own != w.from) std::memcpy(own, w.from, bytes);
      });
      return each([&](int r, std::size_t at) { send(r, w.from), recv(r, w.to + at); });
    case NcclCall::broadcast:
      if (!root) return recv(w.header.root, w.to);
      if (w.to != w.from) p.after.push_back([=] { std::memcpy(w.to, w.from, bytes); });
      return each([&](int r, std::size_t) { send(r, w.from); });
  }
}

}  // namespace

void nccl_run(NcclRank& rank, const std::vector<NcclWork>& group, bool reorder) {
  Plan p;
  for (const NcclWork& w : group) plan(rank, w, reorder, p);
  const auto end = std::chrono::steady_clock::now() + longest;
  while (!p.messages.empty()) {
    if (rank.aborted) return;
    bool moved = false;
    std::array<bool, 2 * most_nccl_ranks> busy{};  // of one peer and direction only the first goes on
    for (Message& m : p.messages) {
      bool& before = busy[static_cast<std::size_t>(2 * m.peer + m.out)];
      if (!before) moved = advance(m, rank) || moved;
      before = true;
    }
    std::erase_if(p.messages, [](const Message& m) { return m.finished(); });
    if (moved) continue;
    if (std::chrono::steady_clock::now() > end)
      throw std::logic_error("nccl stand-in: a call has waited for 30 s and nobody has aborted its communicator");
    std::this_thread::sleep_for(pause);
  }
  for (const auto& f : p.after) f();
}

}  // namespace ov::sim
