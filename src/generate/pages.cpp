#include "generate/pages.h"

#include <algorithm>

#include "base/parallel.h"

namespace ov {

PageTable::PageTable(std::int64_t pages) : pages_(pages) {
  for (std::int64_t p = 0; p < pages; ++p) free_.insert(free_.end(), p);
}

bool PageTable::lease(std::uint64_t who, std::span<const std::int64_t> shared, std::int64_t pages, Lease* lease) {
  const std::size_t whole = shared.size() / page_tokens;
  const auto key_of = [&](std::size_t i, std::uint64_t before) {
    const auto tokens = shared.subspan(i * page_tokens, page_tokens);
    return std::pair(before, std::vector<std::int64_t>(tokens.begin(), tokens.end()));
  };
  std::vector<std::uint64_t> known;
  std::int64_t idle = 0;  // of those known
  for (std::uint64_t before = 0; known.size() < whole; known.push_back(before)) {
    const auto found = numbers_.find(key_of(known.size(), before));
    if (found == numbers_.end()) break;
    before = found->second;
    idle += at(before).users == 0;
  }
  if (pages - std::ssize(known) > unused() + kept() - idle) return false;

  ++clock_;
  *lease = {};
  for (const std::uint64_t number : known) {
    Shared& s = at(number);
    if (s.users++ == 0) idle_.erase({s.stamp, -s.depth, number});
    s.stamp = clock_;
    lease->shared.push_back(number);
    lease->pages.push_back(s.page);
  }
  for (const std::int64_t page : take(pages - std::ssize(known))) {
    const std::size_t i = lease->pages.size();
    lease->pages.push_back(page);
    if (i >= whole) continue;
    auto key = key_of(i, i ? lease->shared.back() : 0);
    numbers_[key] = next_;
    shared_[next_] = {.page = page,
                      .depth = static_cast<std::int64_t>(i),
                      .users = 1,
                      .stamp = clock_,
                      .owner = who,
                      .key = std::move(key)};
    lease->shared.push_back(next_++);
  }
  return true;
}

std::vector<std::int64_t> PageTable::take(std::int64_t n) {
  for (; unused() < n; ++evicted_) forget(std::get<2>(*idle_.begin()));
  auto first = free_.begin();
  std::int64_t length = 0;  // of the run from there on
  for (auto at = first; at != free_.end() && length < n; ++at, ++length)
    if (*at != *first + length) first = at, length = 0;
  if (length < n) first = free_.begin();
  const auto end = std::next(first, n);
  std::vector<std::int64_t> pages(first, end);
  free_.erase(first, end);
  return pages;
}

void PageTable::forget(std::uint64_t number) {
  const auto at = shared_.find(number);
  idle_.erase({at->second.stamp, -at->second.depth, number});
  numbers_.erase(at->second.key);
  free_.insert(at->second.page);
  shared_.erase(at);
}

void PageTable::release(std::uint64_t who, const Lease& lease) {
  for (std::size_t i = lease.pages.size(); i-- > 0;) {
    if (i >= lease.shared.size()) {
      free_.insert(lease.pages[i]);
      continue;
    }
    Shared& s = at(lease.shared[i]);
    if (s.owner == who) s.owner = 0;
    if (--s.users > 0) continue;
    if (s.computed) idle_.insert({s.stamp, -s.depth, lease.shared[i]});
    else forget(lease.shared[i]);
  }
}

// Bytes of a row that a head reads, below which many rows are read slowly; and how many bytes of keys and values are
// few: what a core's own cache holds. Measured (tests/bench/LOG.md); neither changes a bit.
constexpr std::int64_t narrow_head = 256, near_bytes = 1 << 20;

PagePool::PagePool(const TextConfig& c, std::int64_t pages, Dtype dtype, Device& device)
    : users_(static_cast<std::size_t>(pages)) {
  for (std::int64_t i = 0; i < c.layers; ++i)
    for (auto* pool : {&keys_, &values_})
      pool->emplace_back(Shape{pages * page_tokens, c.kv_heads, c.head_dim}, dtype, device);
}

std::int64_t PagePool::page_bytes(const TextConfig& c, Dtype dtype) {
  return 2 * c.layers * page_tokens * c.kv_heads * c.head_dim * static_cast<std::int64_t>(size_of(dtype));
}

void PagePool::add(std::vector<Run>& runs, Run run) {
  if (!runs.empty() && runs.back().from + runs.back().rows == run.from && runs.back().to + runs.back().rows == run.to)
    runs.back().rows += run.rows;
  else runs.push_back(run);
}

kernels::SegmentTable PagePool::begin(std::span<const Part> parts, bool apart) {
  writes_.clear(), reads_.clear(), read_rows_ = 0;
  const auto place = [](const Part& p, std::int64_t token) {
    return (*p.pages)[static_cast<std::size_t>(token / page_tokens)] * page_tokens + token % page_tokens;
  };
  for (const Part& p : parts)
    for (std::int64_t t = p.first, n; t < p.seen(); t += n) {
      n = std::min(p.seen() - t, page_tokens - t % page_tokens);
      add(writes_, {p.begin + (t - p.first), place(p, t), n});
    }
  kernels::SegmentTable table;
  if (begin_in_place(parts, apart, &table)) return table;
  table.clear();
  for (const Part& p : parts) {
    table.push_back({p.begin, p.end - p.begin, read_rows_, p.seen()});
    for (std::int64_t t = 0, n; t < p.seen(); t += n, read_rows_ += n) {
      n = std::min(p.seen() - t, page_tokens);
      add(reads_, {place(p, t), read_rows_, n});
    }
  }
  return table;
}

// False where two runs a part do not say it. Parts that share pages must share all that either shares: rows of the
// table have no key in common but by a prefix, and a prefix has none of its own.
bool PagePool::begin_in_place(std::span<const Part> parts, bool apart, kernels::SegmentTable* table) {
  const auto pages_of = [](const Part& p) {
    return std::span(*p.pages).first(static_cast<std::size_t>((p.seen() + page_tokens - 1) / page_tokens));
  };
  const auto count = [&](std::int32_t by) {
    for (const Part& p : parts)
      for (const std::int64_t page : pages_of(p)) users_[static_cast<std::size_t>(page)] += by;
  };
  std::map<std::int64_t, std::int64_t> prefixes;  // their first page -> row of the table
  std::int64_t read = 0;
  const auto say = [&](const Part& p) {
    const auto pages = pages_of(p);
    const auto run_end = [&](std::size_t i) {
      for (++i; i < pages.size() && pages[i] == pages[i - 1] + 1;) ++i;
      return i;
    };
    std::size_t cut = 0;
    while (cut < pages.size() && users_[static_cast<std::size_t>(pages[cut])] > 1) ++cut;
    if (cut == 0 && run_end(0) < pages.size()) cut = run_end(0);
    if (cut == pages.size() || run_end(0) < cut || run_end(cut) < pages.size() || (apart && cut > 0)) return false;
    const std::int64_t before = static_cast<std::int64_t>(cut) * page_tokens, own = p.seen() - before;
    if (own < p.end - p.begin) return false;  // fresh rows in the prefix
    std::int64_t prefix = -1;
    if (cut > 0) {
      const auto [at, fresh] = prefixes.emplace(pages[0], std::ssize(*table));
      if (fresh) table->push_back({0, 0, pages[0] * page_tokens, before});
      prefix = at->second;
      if ((*table)[static_cast<std::size_t>(prefix)].k_length != before) return false;
    }
    table->push_back({p.begin, p.end - p.begin, pages[cut] * page_tokens, own, prefix});
    read += p.seen();
    return true;
  };
  count(1);
  const bool said = std::all_of(parts.begin(), parts.end(), say);
  count(-1);
  if (!said) return false;
  std::int64_t first = table->front().k_begin, end = 0, keys = 0;
  for (const auto& row : *table) {
    first = std::min(first, row.k_begin), end = std::max(end, row.k_begin + row.k_length);
    keys += row.k_length;
  }
  // The CPU turns all bf16 keys that it is given into f32: not much more of them than are read. Of others a head at a
  // time reads few lines of each row: of many narrow rows that costs more than to copy them in one go, unless most are
  // read for several answers.
  const Tensor& all = keys_[0];
  const std::int64_t head = all.dim(2) * static_cast<std::int64_t>(size_of(all.dtype()));
  const bool narrow = parts.size() > 1 && head < narrow_head && 2 * keys * all.dim(1) * head > near_bytes;
  if (all.dtype() == Dtype::bf16 ? 2 * (end - first) > 3 * read : narrow && 2 * keys > read) return false;
  for (auto& row : *table) row.k_begin -= first;
  reads_ = {{first, 0, end - first}}, read_rows_ = end - first;
  return true;
}

void PagePool::copy(std::int64_t from, std::int64_t to, std::int64_t tokens) {
  for (const auto* pool : {&keys_, &values_})
    for (const Tensor& all : *pool)
      all.slice(0, to * page_tokens, to * page_tokens + tokens)
          .copy_from(all.slice(0, from * page_tokens, from * page_tokens + tokens));
}

Tensor PagePool::append(const std::vector<Tensor>& pool, std::size_t which, std::int64_t layer, const Tensor& fresh) {
  const Tensor& all = pool[static_cast<std::size_t>(layer)];
  for (const Run& r : writes_) all.slice(0, r.to, r.to + r.rows).copy_from(fresh.slice(0, r.from, r.from + r.rows));
  if (reads_.size() == 1) return all.slice(0, reads_[0].from, reads_[0].from + reads_[0].rows);

  Tensor& together = together_[which];
  if (!together || together.dim(0) < read_rows_)
    together = Tensor({read_rows_ + read_rows_ / 4, all.dim(1), all.dim(2)}, all.dtype(), all.device());
  parallel_for(std::ssize(reads_), 4, [&](std::int64_t i) {
    const Run& r = reads_[static_cast<std::size_t>(i)];
    together.slice(0, r.to, r.to + r.rows).copy_from(all.slice(0, r.from, r.from + r.rows));
  });
  return together.slice(0, 0, read_rows_);
}

}  // namespace ov
