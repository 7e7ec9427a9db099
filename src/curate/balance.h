// `balance`: pictures drawn so that rare concepts come about as often as frequent ones (curate/sampling.h).
//
//   every picture's k nearest concepts (kernels/nearest.h), in blocks -> counts -> weights -> draw -> manifest
//
// The manifest is Parquet, a row for every picture of the pool, or for the kept ones alone, in the pool's order:
//
//   id, source, record      which picture: the record, from 0, in its source
//   concepts, scores        its k nearest and their cosines, those too that did not count
//   weight, probability     w_i and π_i: whoever keeps them can weigh a result as if it were the pool, or thin it
//   u, draws                its random number, and how often it was drawn: 0 or 1, more only with replacement
//   reason                  why it can not be drawn, "no_concept"; "" where it can
//
// Memory is that of the concepts, of one block and of 8 M hashes of ids, whatever the number of pictures (with
// replacement 8 bytes a draw): each step is a pass over the blocks.
//
// OUT.report.json says what came in and went out and why, the quantiles of the counts, Gini's coefficient and the
// effective number of concepts in the pool and in what was drawn, and the curve of how few concepts hold how much.
#pragma once
#include "base/json.h"
#include "curate/blocks.h"
#include "curate/sampling.h"

namespace ov {

inline constexpr std::int64_t balance_ids_at_a_time = 1 << 23;  // that are told apart in one pass: 128 MB of hashes

struct BalanceOptions {
  std::vector<std::string> pictures;  // files of curate/embeddings.h, one pool
  std::string concepts, out;
  std::string within;  // a manifest: pictures that it does not draw take no part; "": all do
  std::int64_t k = 10, n = 0;
  enum class Draw { poisson, exact, replacement } draw = Draw::poisson;
  ConceptWeight weight = ConceptWeight::sum;
  std::uint64_t seed = 1;
  double floor = -1;           // pairs of a lower cosine do not count
  double floor_quantile = 0;   // nor do those below this quantile of all pairs' cosines
  double cap = 0;              // largest weight; 0: none
  std::int64_t min_count = 1;  // concepts that fewer pictures have do not count
  bool whole_pool = true;      // rows of pictures that were not drawn
  Shard shard;
};

// The report, or null where a shard has made its blocks and others are still to come. Throws input_error: widths that
// differ, two pictures of one id, a direction that is none.
Json balance(const BalanceOptions& options);

}  // namespace ov
