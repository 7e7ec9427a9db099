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
  while (std::ssize(lease->pages) < pages) {
    const std::size_t i = lease->pages.size();
    const std::int64_t page = take();
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

std::int64_t PageTable::take() {
  if (free_.empty()) {
    ++evicted_;
    forget(std::get<2>(*idle_.begin()));
  }
  const std::int64_t page = *free_.begin();
  free_.erase(free_.begin());
  return page;
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

PagePool::PagePool(const TextConfig& c, std::int64_t pages, Dtype dtype, Device& device) {
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

std::int64_t PagePool::begin(std::span<const Part> parts) {
  writes_.clear(), reads_.clear(), read_rows_ = 0;
  for (const Part& p : parts) {
    const std::int64_t end = p.first + (p.end - p.begin);
    const auto place = [&](std::int64_t token) {
      return (*p.pages)[static_cast<std::size_t>(token / page_tokens)] * page_tokens + token % page_tokens;
    };
    for (std::int64_t t = p.first, n; t < end; t += n) {
      n = std::min(end - t, page_tokens - t % page_tokens);
      add(writes_, {p.begin + (t - p.first), place(t), n});
    }
    for (std::int64_t t = 0, n; t < end; t += n, read_rows_ += n) {
      n = std::min(end - t, page_tokens);
      add(reads_, {place(t), read_rows_, n});
    }
  }
  return read_rows_;
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
