// The protocol between two machines, without sockets: two regions, and the bytes between them handed over by hand.
#include "comm/link.h"

#include <doctest/doctest.h>

#include <cstring>

#include "comm/descriptor.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

// Rank 0 on one machine, 1 and 2 on the other.
struct TwoMachines {
  static constexpr int ranks = 3;
  Descriptor memory_a{SharedRegion::create(ranks)}, memory_b{SharedRegion::create(ranks)};
  SharedRegion a{memory_a.get(), ranks}, b{memory_b.get(), ranks};
  Link at_a{a, ranks, {0}, {1, 2}}, at_b{b, ranks, {1, 2}, {0}};

  // What goes from one to the other, at most `piece` bytes at a time; what went.
  static std::string carry(Link& from, Link& to, std::size_t piece = 1000) {
    std::string all;
    for (from.fill(true); !from.out().empty(); from.fill(true)) {
      const auto out = from.out().first(std::min(piece, from.out().size()));
      all.append(reinterpret_cast<const char*>(out.data()), out.size());
      to.take(out);
      from.sent(out.size());
    }
    return all;
  }
  void settle() {
    while (!carry(at_a, at_b).empty() || !carry(at_b, at_a).empty()) {}
  }
};

std::vector<std::byte> bytes_of(std::size_t n, int seed) {
  std::vector<std::byte> bytes(n);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i * 7 + static_cast<std::size_t>(seed));
  return bytes;
}

// As much as a ring takes now.
std::size_t write_all(const SharedRegion& region, int from, int to, std::span<const std::byte> bytes) {
  std::size_t done = 0;
  while (const std::size_t n = region.write(from, to, bytes.subspan(done))) done += n;
  return done;
}
std::vector<std::byte> read_all(const SharedRegion& region, int from, int to) {
  std::vector<std::byte> all(region.available(from, to));
  for (std::size_t done = 0; done < all.size();) done += region.read(from, to, std::span(all).subspan(done));
  return all;
}

}  // namespace

TEST_CASE("link: bytes arrive in order and whole, and a pair whose reader sleeps stops no other") {
  TwoMachines m;
  const std::size_t ring = m.a.capacity();
  const auto large = bytes_of(5 * ring, 1), small = bytes_of(100, 2);
  std::size_t said = write_all(m.a, 0, 1, large);
  CHECK(said == ring);
  m.settle();
  said += write_all(m.a, 0, 1, std::span(large).subspan(said));
  CHECK(said == 2 * ring);  // one ring there, one here
  m.settle();
  CHECK(m.a.available(0, 1) == ring);
  CHECK_FALSE(m.at_a.drained());
  CHECK(write_all(m.a, 0, 2, small) == small.size());
  CHECK(write_all(m.b, 2, 0, small) == small.size());
  m.settle();
  CHECK(read_all(m.b, 0, 2) == small);
  CHECK(read_all(m.a, 2, 0) == small);
  std::vector<std::byte> heard;
  while (heard.size() < large.size()) {
    const auto more = read_all(m.b, 0, 1);
    REQUIRE(!more.empty());
    heard.insert(heard.end(), more.begin(), more.end());
    m.settle();
    said += write_all(m.a, 0, 1, std::span(large).subspan(said));
    m.settle();
  }
  CHECK(heard == large);
  CHECK(m.at_a.drained());
}

TEST_CASE("link: steps, calls and ends are those of the rank; what a rank says of itself comes before what it sends") {
  TwoMachines m;
  m.b.state(2).step.store(41), m.b.state(2).call.store(3);
  m.settle();
  CHECK(m.a.state(2).step.load() == 41);
  CHECK(m.a.state(2).call.load() == 3);
  m.b.leave(2);
  m.settle();
  CHECK(m.a.state(2).left.load() == 1);

  // Expendable, then a word: however the bytes are cut, the word is not there before it.
  m.a.expend(1);
  const auto word = bytes_of(8, 3);
  write_all(m.a, 0, 1, word);
  m.at_a.fill(false);
  while (!m.at_a.out().empty()) {
    m.at_b.take(m.at_a.out().first(1)), m.at_a.sent(1);
    if (m.b.available(0, 1) > 0) CHECK(m.b.state(1).expendable.load() == 1);
  }
  CHECK(read_all(m.b, 0, 1) == word);
}

TEST_CASE("link: a lost rank has said all only when its last byte is there") {
  TwoMachines m;
  const std::size_t ring = m.a.capacity();
  const auto large = bytes_of(2 * ring, 4);
  std::size_t said = write_all(m.b, 1, 0, large);
  m.settle();
  said += write_all(m.b, 1, 0, std::span(large).subspan(said));
  CHECK(said == large.size());
  m.b.lose(1);
  m.settle();
  m.a.state(1).away.store(1), m.a.state(2).away.store(1);
  CHECK(m.a.state(1).lost.load() == 1);
  CHECK_FALSE(m.a.said_all(1, 0));
  CHECK_FALSE(m.at_b.drained());
  CHECK(read_all(m.a, 1, 0).size() == ring);
  m.settle();
  CHECK(m.a.said_all(1, 0));
  CHECK(read_all(m.a, 1, 0).size() == ring);
  CHECK_FALSE(m.a.said_all(2, 0));
  CHECK(m.at_b.drained());
}

TEST_CASE("link: a failure and a farewell come once, and are answered") {
  TwoMachines m;
  CHECK(m.b.fail(2, Exit::wrong_input, "rank 2 read nonsense"));
  m.settle();
  const SharedRegion::Failure f = m.a.failure();
  CHECK(f.rank == 2);
  CHECK(f.speaker == 2);
  CHECK(f.exit == Exit::wrong_input);
  CHECK(f.text == "rank 2 read nonsense");
  m.at_b.say_farewell(), m.at_b.say_farewell();
  m.settle();
  CHECK(m.at_a.farewell());
  CHECK(m.at_b.heard());
  CHECK_FALSE(m.at_a.heard());
}

TEST_CASE("link: what is no message of the other machine is refused, and nothing of it is done") {
  struct Raw {
    std::uint32_t kind, bytes;
    std::int32_t from, to;
    std::int64_t value;
  };
  constexpr std::uint32_t data = 1, credit = 2, state = 3, left = 4, expendable = 5, lost = 6, ended = 7, failure = 8;
  const std::vector<Raw> wrong = {
      {0, 0, 0, 1, 0},        {99, 0, 0, 1, 0},         {data, 8, 1, 2, 0},       {data, 8, 0, 3, 0},
      {data, 8, -1, 1, 0},    {data, 1 << 20, 0, 1, 0}, {credit, 0, 1, 0, 1},     {credit, 0, 0, 1, 0},
      {credit, 0, 1, 0, -1},  {state, 0, 1, 0, 5},      {state, 0, 0, 10, 5},     {state, 4, 0, 1, 5},
      {left, 0, 2, 0, 0},     {expendable, 0, 0, 0, 0}, {expendable, 0, 3, 0, 0}, {lost, 0, 1, 0, 0},
      {ended, 0, 0, 1, 0},    {failure, 0, 3, 0, 2},    {failure, 0, 0, 0, 0},    {failure, 2001, 0, 0, 2},
      {failure, 0, 0, -1, 2},
  };
  for (const Raw& raw : wrong) {
    TwoMachines m;
    std::vector<std::byte> bytes(sizeof raw + 16);
    std::memcpy(bytes.data(), &raw, sizeof raw);
    const std::string said = thrown([&] { m.at_b.take(bytes); }, Exit::machine_failed);
    CHECK_MESSAGE(contains(said, cat("rank 1: from the machine of rank 0 came what is no message (kind ", raw.kind)),
                  raw.kind, " ", raw.from, " ", raw.to, ": ", said);
    CHECK(m.b.available(0, 1) == 0);
    CHECK(m.b.failure().rank == -1);
  }
  // More than the ring holds: the sender did not wait for credit.
  TwoMachines m;
  const Raw raw{data, 1 << 16, 0, 1, 0};
  std::vector<std::byte> bytes(sizeof raw + (1 << 16));
  std::memcpy(bytes.data(), &raw, sizeof raw);
  for (std::size_t n = 0; n < m.b.capacity(); n += 1 << 16) m.at_b.take(bytes);
  CHECK(thrown([&] { m.at_b.take(bytes); }, Exit::machine_failed) != "");
}
