// Pages of keys and values: who gets which, and what a pass sees of them.
#include "generate/pages.h"

#include <doctest/doctest.h>

#include <numeric>

#include "base/rng.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

using Pages = std::vector<std::int64_t>;

TextConfig one_layer() {
  TextConfig c;
  c.layers = 1, c.kv_heads = 2, c.head_dim = 3;
  return c;
}

// A pool whose keys say where they belong.
struct Pool {
  explicit Pool(std::int64_t pages) : pool(one_layer(), pages, Dtype::f32, cpu()) {
    Pages all(static_cast<std::size_t>(pages));
    std::iota(all.begin(), all.end(), 0);
    const std::int64_t n = pages * page_tokens;
    const PagePool::Part whole{&all, 0, n, 0};
    pool.begin(std::span(&whole, 1));
    const Tensor k({n, 2, 3}, Dtype::f32, cpu());
    for (std::int64_t i = 0; i < k.numel(); ++i) k.data<float>()[i] = static_cast<float>(i / 6);
    pool.append_keys(0, k);
  }
  static std::int64_t key(std::int64_t page, std::int64_t token) { return page * page_tokens + token % page_tokens; }

  // Whether every part's row of the table leads to its own keys, in order; fresh ones are -1 - (row of the pass).
  bool sees_own(const std::vector<PagePool::Part>& parts, bool apart = false) {
    std::int64_t rows = 0;
    for (const PagePool::Part& p : parts) rows = std::max(rows, p.end);
    kernels::SegmentTable table = pool.begin(parts, apart);
    Tensor fresh({rows, 2, 3}, Dtype::f32, cpu());
    for (std::int64_t i = 0; i < fresh.numel(); ++i) fresh.data<float>()[i] = static_cast<float>(-1 - i / 6);
    const Tensor seen = pool.append_keys(0, fresh);
    CHECK(seen.dim(0) == pool.keys());
    const kernels::Segments checked(table, rows, pool.keys(), true, cpu());  // throws for a table that cannot be
    std::size_t row = 0;
    for (const PagePool::Part& p : parts) {
      while (row < table.size() && table[row].q_length == 0) ++row;
      if (row == table.size() || table[row].q_begin != p.begin || table[row].q_length != p.end - p.begin) return false;
      const kernels::SegmentRow own = table[row++], prefix = own.prefix < 0
                                                                 ? kernels::SegmentRow{}
                                                                 : table[static_cast<std::size_t>(own.prefix)];
      if (prefix.k_length + own.k_length != p.seen() || prefix.k_length % page_tokens) return false;
      if (apart && own.prefix >= 0) return false;
      for (std::int64_t t = 0; t < p.seen(); ++t) {
        const std::int64_t at = t < prefix.k_length ? prefix.k_begin + t : own.k_begin + t - prefix.k_length;
        const std::int64_t page = (*p.pages)[static_cast<std::size_t>(t / page_tokens)];
        const std::int64_t wanted = t < p.first ? key(page, t) : -1 - (p.begin + t - p.first);
        if (seen.data<float>()[at * 6] != static_cast<float>(wanted)) return false;
      }
    }
    return true;
  }
  PagePool pool;
};

}  // namespace

TEST_CASE("page pool: every part sees its own keys, in place where two runs say it, else copied") {
  struct Case {
    std::vector<Pages> pages;
    std::vector<std::int64_t> seen;  // tokens, the last of them fresh
    bool in_place, apart_in_place;
  };
  const std::vector<Case> cases = {
      {{{3, 4, 5}}, {150}, true, true},
      {{{9, 4, 5}}, {150}, true, false},                                       // two runs
      {{{9, 4, 6}}, {150}, false, false},                                      // three
      {{{9, 4, 6}}, {100}, true, false},                                       // of which two are read
      {{{3, 4, 5}, {3, 4, 9}, {3, 4, 11, 12}}, {150, 129, 200}, true, false},  // one prefix
      {{{3, 4, 5}, {3, 4, 9}, {7, 8}}, {150, 129, 100}, true, false},
      {{{3, 4, 5}, {3, 4, 9}, {3, 8}}, {150, 129, 100}, false, false},  // prefixes of two lengths
      {{{3, 9, 5}, {3, 9, 6}}, {150, 150}, false, false},               // a prefix of two runs
      {{{0, 1}, {2, 3}, {4, 5}}, {65, 128, 1}, true, true},
  };
  for (const Case& c : cases)
    for (const bool apart : {false, true}) {
      Pool pool(16);
      std::vector<PagePool::Part> parts;
      for (std::size_t i = 0; i < c.pages.size(); ++i) {
        const auto row = static_cast<std::int64_t>(i);
        parts.push_back({&c.pages[i], row, row + 1, c.seen[i] - 1});
      }
      CAPTURE(&c - cases.data());
      CAPTURE(apart);
      CHECK(pool.sees_own(parts, apart));
      CHECK(pool.pool.in_place() == (apart ? c.apart_in_place : c.in_place));
    }
  // Fresh tokens on both sides of a gap are no own row of a prefix.
  const Pages gap = {9, 4};
  for (const std::int64_t first : {62, 64}) {
    Pool pool(16);
    CHECK(pool.sees_own({{&gap, 0, 3, first}}));
    CHECK(pool.pool.in_place() == (first == 64));
  }
  // Many narrow rows are copied, unless one answer or several read them.
  Pages left(200), right(200), all(400), branches[3];
  std::iota(all.begin(), all.end(), 0);
  std::iota(left.begin(), left.end(), 0), std::iota(right.begin(), right.end(), 201);
  for (int i = 0; i < 3; ++i) branches[i] = left, branches[i].push_back(390 + i);
  const std::int64_t n = 200 * page_tokens;
  Pool many(401);
  CHECK(many.sees_own({{&left, 0, 1, n - 1}, {&right, 1, 2, n - 1}}));
  CHECK(!many.pool.in_place());
  CHECK(Pool(400).sees_own({{&all, 0, 1, 2 * n - 1}}));
  Pool shared(400);
  CHECK(shared.sees_own({{&branches[0], 0, 1, n}, {&branches[1], 1, 2, n}, {&branches[2], 2, 3, n}}));
  CHECK(shared.pool.in_place());
  // bf16: what lies between is turned into f32 with the rest.
  PagePool bf16(one_layer(), 16, Dtype::bf16, cpu());
  const Pages near = {2, 4}, far = {2, 14};
  for (const Pages* pages : {&near, &far}) {
    const PagePool::Part part{pages, 0, 1, 127};
    bf16.begin(std::span(&part, 1));
    CHECK(bf16.in_place() == (pages == &near));
  }
}

TEST_CASE("page pool: whatever pages answers have, each sees its own keys") {
  const Philox random(3, "pages");
  std::uint64_t at = 0;
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random.below(at++, static_cast<std::uint64_t>(n)));
  };
  int in_place = 0, copied = 0;
  for (int round = 0; round < 60; ++round) {
    PageTable table(40);
    std::vector<PageTable::Lease> leases(1 + static_cast<std::size_t>(below(6)));
    std::vector<std::vector<std::int64_t>> ids;
    for (std::size_t i = 0; i < leases.size(); ++i) {
      std::vector<std::int64_t> shared;  // chains of equal pages that part somewhere
      for (std::int64_t page = below(4); page > 0; --page)
        shared.insert(shared.end(), page_tokens, round % 3 ? 0 : below(2));
      ids.push_back(shared);
      const std::int64_t pages = std::ssize(shared) / page_tokens + 1 + below(3);
      if (!table.lease(i + 1, shared, pages, &leases[i])) leases[i] = {};
      for (const std::uint64_t number : leases[i].shared) {  // as if computed at once
        auto& s = table.at(number);
        s.computed = true, s.owner = 0;
      }
      if (below(4) == 0) table.release(i + 1, leases[i]), leases[i] = {};
    }
    Pool pool(40);
    std::vector<PagePool::Part> parts;
    std::int64_t rows = 0;
    for (const PageTable::Lease& l : leases) {
      if (l.pages.empty()) continue;
      const std::int64_t own = std::ssize(l.shared) * page_tokens, room = std::ssize(l.pages) * page_tokens - own;
      const std::int64_t n = 1 + below(std::min<std::int64_t>(room, 70)), first = own + below(room - n + 1);
      parts.push_back({&l.pages, rows, rows + n, first});
      rows += n;
    }
    if (parts.empty()) continue;
    CAPTURE(round);
    CHECK(pool.sees_own(parts));
    ++(pool.pool.in_place() ? in_place : copied);
  }
  CHECK(in_place > 20);
  CHECK(copied > 2);
}

TEST_CASE("page table: pages are in a row where so many are free, and the lowest otherwise") {
  PageTable table(10);
  std::vector<PageTable::Lease> leases(5);
  const auto lease = [&](std::uint64_t who, std::int64_t pages) {
    REQUIRE(table.lease(who, {}, pages, &leases[who]));
    return leases[who].pages;
  };
  CHECK(lease(0, 2) == Pages{0, 1});
  CHECK(lease(1, 1) == Pages{2});
  CHECK(lease(2, 3) == Pages{3, 4, 5});
  table.release(0, leases[0]);
  CHECK(lease(3, 3) == Pages{6, 7, 8});  // not 0 and 1
  CHECK(lease(4, 3) == Pages{0, 1, 9});  // there is no such row
}
