// How similar two pictures are that have nothing to do with each other: the cosines of pairs drawn at random from a
// pool of embeddings. A threshold that such pairs reach finds chance, not duplicates: a weak CLIP holds everything for
// much the same.
#pragma once
#include <array>
#include <functional>
#include <string>

#include "base/json.h"
#include "curate/embeddings.h"

namespace ov {

struct RandomPairs {
  static constexpr std::int64_t most = 4096;  // pairs that are drawn
  // From this share of random pairs at or above a threshold on, it lies within what random pairs reach. In a pool of N
  // a picture then has N / 100 near duplicates by chance.
  static constexpr double too_many = 0.01;

  std::int64_t pairs = 0;
  double mean = 0, median = 0, upper = 0, largest = 0;  // upper: the 0.99-quantile
  std::array<double, 2> threshold = {}, share = {};     // of the data's own pairs, and towards evaluations

  Json json() const;
  std::string str() const;  // one line
  // Why the thresholds should not be trusted, "" when nothing speaks against them. `left_out` of `records` went for
  // their embeddings alone: more than half is not what duplicates look like.
  std::string warning(std::int64_t left_out, std::int64_t records) const;
};

// The same pairs for the same pool, whatever threads and shards. `apart(a, b)`: whether rows a and b are not known to
// be one picture, which would be no random pair.
RandomPairs random_pairs(const EmbeddingPool& pool, std::array<double, 2> thresholds,
                         const std::function<bool(std::int64_t, std::int64_t)>& apart);

}  // namespace ov
