#include "tensor/arena.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/rng.h"
#include "tensor/tensor.h"

using namespace ov;

namespace {

// Memory that is never touched: addresses alone.
struct Addresses {
  std::size_t left, next = 1 << 20, taken = 0;
  Arena::Backing source() {
    return {.take = [this](std::size_t bytes) -> void* {
              if (bytes > left) return nullptr;
              left -= bytes, ++taken;
              void* data = reinterpret_cast<void*>(next);
              next += bytes;  // the next chunk begins where this one ends
              return data;
            },
            .give = [this](void*, std::size_t bytes) { left += bytes, --taken; }};
  }
};

std::size_t at(void* p) { return reinterpret_cast<std::size_t>(p); }

}  // namespace

TEST_CASE("arena: the smallest hole that fits is cut, and freed neighbours are joined") {
  Addresses memory{.left = 4096};
  Arena arena(memory.source(), 64, 4096);
  void *a = arena.allocate(1000), *b = arena.allocate(64), *c = arena.allocate(500), *d = arena.allocate(1);
  CHECK(at(b) == at(a) + 1024);
  CHECK(at(c) == at(b) + 64);
  CHECK(at(d) == at(c) + 512);
  CHECK(arena.used() == 1024 + 64 + 512 + 64);
  arena.release(a);
  arena.release(c);
  CHECK(arena.allocate(400) == c);  // 512 fits closer than 1024 and than the rest
  arena.release(c);
  arena.release(b);  // between two holes: all three become one
  CHECK(arena.allocate(1600) == a);
  arena.release(a);
  arena.release(d);
  CHECK(arena.largest_hole() == 4096);
  CHECK(arena.used() == 0);
  CHECK(arena.allocate(4097) == nullptr);
  CHECK(arena.allocate(~std::size_t{0} - 5) == nullptr);
  CHECK(arena.allocate(4096) == a);
}

TEST_CASE("arena: chunks are not joined with each other, and go back when nothing in them is used") {
  Addresses memory{.left = 10000};
  Arena arena(memory.source(), 64, 2048);
  void *a = arena.allocate(2048), *b = arena.allocate(1024), *c = arena.allocate(5000);
  CHECK(memory.taken == 3);
  CHECK(at(b) == at(a) + 2048);
  CHECK(arena.allocate(4000) == nullptr);
  arena.release(a);
  CHECK(arena.largest_hole() == 2048);
  arena.flush();
  CHECK(memory.taken == 2);
  CHECK(arena.held() == 2048 + 5056);
  arena.release(b);
  arena.release(c);
  CHECK(arena.largest_hole() == 5056);
  arena.flush();
  CHECK(memory.taken == 0);
  CHECK(memory.left == 10000);
  CHECK(arena.largest_hole() == 0);

  a = arena.allocate(2048), b = arena.allocate(2048);
  CHECK(at(b) == at(a) + 2048);
  arena.release(b);  // a whole chunk behind the one that a fills
  arena.release(a);
  CHECK(arena.largest_hole() == 2048);
  arena.flush();
  CHECK(memory.taken == 0);
}

TEST_CASE("arena: without chunks every block is its own") {
  Addresses memory{.left = 1000};
  Arena arena(memory.source(), 64, 0);
  void* a = arena.allocate(100);
  CHECK(arena.held() == 128);
  CHECK(arena.allocate(900) == nullptr);
  arena.release(a);
  CHECK(memory.left == 1000);
}

TEST_CASE("arena: any order of calls leaves no block in another, and ends in one hole") {
  Addresses memory{.left = 1 << 20};
  Arena arena(memory.source(), 64, 1 << 20);
  const Philox random(3, "arena");
  struct Held {
    std::size_t begin, bytes;
  };
  std::vector<Held> held;
  std::uint64_t draw = 0;
  std::size_t used = 0;
  for (int step = 0; step < 4000; ++step) {
    if (random.below(draw++, 5) < 3) {
      const std::uint64_t most = random.below(draw++, 8) == 0 ? 60000 : 700;
      const std::size_t bytes = 1 + random.below(draw++, most);
      void* p = arena.allocate(bytes);
      if (!p) continue;
      const std::size_t whole = (bytes + 63) / 64 * 64;
      used += whole;
      held.push_back({at(p), whole});
    } else if (!held.empty()) {
      const std::size_t i = random.below(draw++, held.size());
      used -= held[i].bytes;
      arena.release(reinterpret_cast<void*>(held[i].begin));
      held[i] = held.back();
      held.pop_back();
    }
    CHECK(arena.used() == used);
  }
  std::sort(held.begin(), held.end(), [](const Held& a, const Held& b) { return a.begin < b.begin; });
  for (std::size_t i = 1; i < held.size(); ++i) CHECK(held[i - 1].begin + held[i - 1].bytes <= held[i].begin);
  for (const Held& h : held) arena.release(reinterpret_cast<void*>(h.begin));
  CHECK(arena.largest_hole() == 1 << 20);
}

TEST_CASE(
    "device: kept blocks go back before memory is said to be out, and the message names device, size and segment") {
  HostDevice device(Device::Kind::cpu, "small", nullptr, 1 << 20);
  const auto tensor = [&](std::int64_t bytes, Segment segment = Segment::activations) {
    return Tensor({bytes}, Dtype::u8, device, segment);
  };
  {
    std::vector<Tensor> many;
    for (int i = 0; i < 100; ++i) many.push_back(tensor(10000));
  }
  const Tensor whole = tensor(1 << 20);  // the hundred small blocks are joined again
  CHECK(device.memory().total == 1 << 20);
  CHECK_THROWS_WITH_AS(tensor(5, Segment::optimizer),
                       "device small: out of memory: 5 bytes asked for optimizer, 1048576 in use", Error);
  CHECK(device.memory().total == 1 << 20);
}
