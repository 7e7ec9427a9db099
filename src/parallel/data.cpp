#include "parallel/data.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/adamw.h"
#include "parallel/mesh.h"
#include "parallel/pipeline.h"
#include "parallel/zero1.h"
#include "parallel/zero2.h"
#include "parallel/zero3.h"

namespace ov {

Range shard_of(std::int64_t n, int rank, int ranks) {
  const std::int64_t chunks = (n + kernels::norm_chunk - 1) / kernels::norm_chunk;
  const auto border = [&](std::int64_t r) { return std::min(n, chunks * r / ranks * kernels::norm_chunk); };
  return {border(rank), border(rank + 1)};
}

Parts shards_of(const Tensor& flat, int ranks) {
  Parts parts;
  for (int r = 0; r < ranks; ++r) {
    const Range range = shard_of(flat.numel(), r, ranks);
    parts.push_back(flat.slice(0, range.begin, range.end));
  }
  return parts;
}

std::vector<DataParallel::Round> DataParallel::rounds(std::int64_t leaves, int rank) const {
  const auto n = static_cast<std::uint64_t>(ranks_.ranks()), all = static_cast<std::uint64_t>(leaves);
  const auto block = static_cast<std::int64_t>(std::bit_ceil((all + n - 1) / n));
  const auto range = [&](std::int64_t r) {
    return Range{std::min(leaves, r * block), std::min(leaves, (r + 1) * block)};
  };
  return {{range(rank), static_cast<int>((leaves + block - 1) / block)}};
}

Tensor DataParallel::sum(const Tensor& gradients, int adding) const {
  if (ranks_.ranks() == 1) return gradients;
  const Parts shards = shards_of(gradients, ranks_.ranks());
  ranks_.reduce_scatter(shards[static_cast<std::size_t>(ranks_.rank())], shards, adding);
  ranks_.all_gather(shards);
  return gradients;
}

void DataParallel::sum_bucket(const Tensor& gradients, Range bucket, int adding, Communicator& ranks) const {
  const Parts shares = shards_of(gradients.slice(0, bucket.begin, bucket.end), ranks.ranks());
  ranks.reduce_scatter(shares[static_cast<std::size_t>(ranks.rank())], shares, adding);
  ranks.all_gather(shares);
}

std::vector<DataParallel::Piece> DataParallel::pieces(bool precise) const {
  const bool masters = precise && parameters_.masters();
  const Range shard = shard_of(masters ? parameters_.trained() : parameters_.count(), ranks_.rank(), ranks_.ranks());
  if (!masters) return {{parameters_.values().slice(0, shard.begin, shard.end), shard.begin, false}};
  const std::int64_t first = parameters_.masters_begin();
  return {{parameters_.masters().slice(0, shard.begin - first, shard.end - first), shard.begin, true}};
}

std::string DataParallel::describe(std::int64_t leaves, int c) const {
  const int t = parameters_.tensor().ranks(), p = parameters_.pipe().ranks(), n = parameters_.experts().ranks();
  const bool classes = std::any_of(parameters_.entries().begin(), parameters_.entries().end(), [](const auto& e) {
    return e.expert_holder >= 0 && e.parameter.module == Module::region_head;
  });
  const bool in_rounds = rounds(2 * ranks_.ranks(), 0).size() > 1;  // after each a rank keeps its shard's sum alone
  std::string text = cat("mesh: dp ", n * ranks_.ranks(), n > 1 ? cat(classes ? " (classes " : " (ep ", n, ")") : "",
                         p > 1 ? cat(" x pp ", p) : "", c > 1 ? cat(" x cp ", c) : "", t > 1 ? cat(" x tp ", t) : "");
  std::int64_t idle = 0;
  for (int d = 0; d < n * ranks_.ranks(); ++d)
    for (int s = 0; s < p; ++s) {
      const int r = d / n, j = d % n;  // the copy, and the place among those that share its experts
      const auto all = rounds((leaves + n - 1) / n, r);
      std::int64_t runs = 0;
      const std::int64_t turns = std::max<std::int64_t>(0, leaves - j + n - 1) / n;  // in which it has a leaf
      for (const Round& round : all)
        runs += std::max<std::int64_t>(0, std::min(round.own.end, turns) - round.own.begin);
      idle += s == 0 && runs == 0;
      const int first = (d * p + s) * c * t, last = first + c * t - 1;  // those that do the same together
      Parameters::Count part;
      for (const auto& e : parameters_.entries())
        if (e.holder == s && (e.expert_holder < 0 || e.expert_holder == j))
          part.all += e.part.numel(), part.trained += e.parameter.trainable ? e.part.numel() : 0;
      text += cat(
          "\n  ", c * t > 1 ? cat("ranks ", first, " to ", last) : cat("rank ", first), ": ",
          leaves > 0 ? cat(runs, " of ", leaves, " micro-batches") : "a share of a step's micro-batches",
          runs > 0 ? cat(", from ", all[0].own.begin * n + j) : "",
          all.size() > 1 || (n > 1 && runs > 1) ? cat(" in steps of ", all.size() > 1 ? n * ranks_.ranks() : n) : "",
          c > 1 ? cat(", divided by tokens among ", c) : "", "; updates ", own(r, part.trained).size(), " of ",
          part.trained, " parameters, holds ", part.all, " of ", parameters_.whole_count().all,
          divides_values() ? ", of the values a share and one layer at a time" : "",
          n > 1 ? cat(", part ", j, " of ", n, classes ? " of the class tables" : " of the experts") : "",
          sharded() ? cat(", ", in_rounds ? "gradients and " : "", "moments of what it updates") : "",
          p > 1 ? ": " + parameters_.stages.at(static_cast<std::size_t>(s)) : "");
    }
  if (idle > 0 && leaves > 0) text += "\n  " + said_of_idle(idle, leaves, n * ranks_.ranks(), n, p);
  if (p == 1 || leaves == 0) return text;
  int chunks = 1;
  for (const auto& e : parameters_.entries()) chunks = std::max(chunks, e.chunk + 1);
  // In percent of a step. A pipeline fills and empties in every round.
  const auto waiting = [&](const std::vector<Round>& rounds) {
    double all = 0, busy = 0;
    for (const Round& round : rounds) {
      all += static_cast<double>(timetable(p, chunks / p, round.own.size()).size());
      busy += static_cast<double>(2 * chunks / p * round.own.size());
    }
    return std::lround(100 * (1 - busy / std::max(1.0, all)));
  };
  const auto here = rounds(leaves, 0);
  return text +
         cat("\n  where all chunks take equally long, a rank of a pipeline waits ", waiting(here), " % of a step",
             here.size() > 1 ? cat("; with parallel.zero 1 ", waiting(DataParallel::rounds(leaves, 0)), " %") : "");
}

std::unique_ptr<DataParallel> data_parallel(int zero, Communicator& ranks, Parameters& parameters, Device* masters_on) {
  const bool whole = zero == 0 || ranks.ranks() == 1;
  const std::int64_t all = parameters.trained();
  const Range own = whole ? Range{0, all} : shard_of(all, ranks.rank(), ranks.ranks());
  parameters.make_masters(own.begin, own.end, masters_on);  // before stage 3 divides the values that they are made of
  if (whole) return std::make_unique<DataParallel>(ranks, parameters);
  if (zero == 1) return std::make_unique<Zero1>(ranks, parameters);
  if (zero == 2) return std::make_unique<Zero2>(ranks, parameters);
  return std::make_unique<Zero3>(ranks, parameters);
}

}  // namespace ov
