// Keys and values of many answers at once, in pages of 64 tokens that one pool holds.
//
// A page full of prompt tokens is known by what stands in it and before it, so whoever begins with the same tokens and
// pictures uses the same page: its keys are the same bits. Such pages stay when nobody uses them any more, until their
// place is needed: the one unused for the longest goes, of equals the one farthest from the beginning.
//
// The last tokens of a prompt fill no page. Whoever has the same ones as an answer that runs copies their keys.
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "model/decoder.h"

namespace ov {

constexpr std::int64_t page_tokens = 64;  // a block of keys (kernels/attention.h)

// Which page holds what; knows no tensors.
class PageTable {
 public:
  struct Shared {
    std::int64_t page = 0, depth = 0, users = 0;
    std::uint64_t stamp = 0;
    bool computed = false;    // its keys are there
    std::uint64_t owner = 0;  // the answer that computes it, 0: nobody yet
    std::pair<std::uint64_t, std::vector<std::int64_t>> key;
  };
  // The pages of one answer: the first are shared, the rest its own.
  struct Lease {
    std::vector<std::uint64_t> shared;  // numbers for at()
    std::vector<std::int64_t> pages;    // of all, in order
  };

  explicit PageTable(std::int64_t pages);
  // `pages` pages for answer `who`, of which the first shared.size() / 64 hold these tokens; false when there is not
  // enough room now. Pages that are new to the table belong to `who` until they are computed.
  bool lease(std::uint64_t who, std::span<const std::int64_t> shared, std::int64_t pages, Lease* lease);
  void release(std::uint64_t who, const Lease& lease);
  Shared& at(std::uint64_t number) { return shared_.at(number); }

  std::int64_t pages() const { return pages_; }
  std::int64_t unused() const { return std::ssize(free_); }  // hold nothing
  std::int64_t kept() const { return std::ssize(idle_); }    // hold a prefix that nobody uses now
  std::int64_t evicted() const { return evicted_; }          // so far

 private:
  std::vector<std::int64_t> take(std::int64_t n);  // free pages, by eviction if need be; in a row if any such are
  void forget(std::uint64_t number);

  std::int64_t pages_, evicted_ = 0;
  std::uint64_t next_ = 1, clock_ = 0;
  std::set<std::int64_t> free_;
  std::unordered_map<std::uint64_t, Shared> shared_;
  std::map<std::pair<std::uint64_t, std::vector<std::int64_t>>, std::uint64_t> numbers_;  // (page before, tokens)
  std::set<std::tuple<std::uint64_t, std::int64_t, std::uint64_t>> idle_;                 // stamp, -depth, number
};

// The pool itself. A pass tells with `begin` where its fresh rows go and what they see; layers then read keys where
// they lie. An answer's may lie in two runs, of which the first is the prefix of the second (kernels/segments.h), and
// that of others too. Where more would be needed, the keys of all answers are copied together, one below the other.
class PagePool : public KvStore {
 public:
  PagePool(const TextConfig& config, std::int64_t pages, Dtype dtype, Device& device);
  static std::int64_t page_bytes(const TextConfig& config, Dtype dtype);

  // Rows `fresh` [begin, end) of the pass are tokens first, first + 1 ... of an answer with these pages; it reads its
  // tokens up to the last of them.
  struct Part {
    const std::vector<std::int64_t>* pages;
    std::int64_t begin, end, first;
    std::int64_t seen() const { return first + (end - begin); }  // tokens that its last row sees
  };
  // Returns which of keys() keys they see: a row for each part, in their order, before it its prefix if that is new.
  // `apart`: only rows without a prefix.
  kernels::SegmentTable begin(std::span<const Part> parts, bool apart = false);
  std::int64_t keys() const { return read_rows_; }
  bool in_place() const { return reads_.size() == 1; }  // the last pass copies nothing
  // The first `tokens` keys and values of page `from` stand in page `to` too.
  void copy(std::int64_t from, std::int64_t to, std::int64_t tokens);

  Tensor append_keys(std::int64_t layer, const Tensor& k_TKD) override { return append(keys_, 0, layer, k_TKD); }
  Tensor append_values(std::int64_t layer, const Tensor& v_TKD) override { return append(values_, 1, layer, v_TKD); }
  void advance(std::int64_t) override {}

 private:
  struct Run {
    std::int64_t from, to, rows;
  };
  static void add(std::vector<Run>& runs, Run run);
  bool begin_in_place(std::span<const Part> parts, bool apart, kernels::SegmentTable* table);
  Tensor append(const std::vector<Tensor>& pool, std::size_t which, std::int64_t layer, const Tensor& fresh);

  std::vector<Tensor> keys_, values_;  // one a layer: [64 pages, K, D]
  std::vector<Run> writes_, reads_;    // fresh rows to the pool, the pool to what is read
  std::int64_t read_rows_ = 0;
  std::vector<std::int32_t> users_;  // of each page among the parts of a pass; 0 outside of begin()
  Tensor together_[2];               // [rows, K, D], kept from pass to pass
};

}  // namespace ov
