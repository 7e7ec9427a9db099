// k-means by Lloyd's algorithm, on rows that come in parts.
//
//   y_i = argmin_k |x_i - c_k|²     over all K, exactly; of equal ones the lower k
//   c_k = mean of the rows with y_i = k
//   J   = Σ_i |x_i - c_{y_i}|²      never rises, but for the rounding of means to f32
//
// argmin_k |x - c_k|² = argmax_k x·c_k - |c_k|²/2, which is one product: kernels/nearest.h on [x, 1, 1] and [c, h, l],
// where h + l is -|c|²/2 to 48 bits. So no distance but the least is ever kept, and ids are those of f64 arithmetic.
//
// A cluster without a row takes over the row that lies farthest from its centre in one of the largest clusters
// (ove, the authors' next encoder, tests for none; Faiss splits the largest at random). Each such move lowers J, so
// repeated it ends, with no cluster empty or every row on a centre; or with rows so near to each other that 48 bits of
// |c|²/2 do not tell their centres apart, where moves change nothing any more.
//
// Sums are of f64, over a part's rows in their order, then over the parts in theirs: bits do not depend on threads, nor
// on who made which part.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "tensor/tensor.h"

namespace ov {

// The nearest centre of each row: rows [n,C], centres [K,C] f32, finite.
struct Assignment {
  std::vector<std::int32_t> cluster;
  std::vector<double> distance;  // squared
};
Assignment assign(const Tensor& rows, const Tensor& centres);

// What an update needs of some rows: of every cluster that has one of them.
struct ClusterSums {
  std::vector<std::int32_t> cluster;  // ascending
  std::vector<std::int64_t> count;
  std::vector<double> sum;             // [clusters, C]
  std::vector<std::int64_t> farthest;  // the row of the largest distance, of equal ones the lower
  std::vector<double> distance;        // its
  double objective = 0;                // Σ of all distances
};
// `first`: the number of rows[0] among all.
ClusterSums sums_of(const Tensor& rows, const Assignment& assignment, std::int64_t first);

// The same of all rows so far.
class Clusters {
 public:
  Clusters(std::int64_t K, std::int64_t C);
  void add(const ClusterSums& part);  // parts come in their order
  std::int64_t size() const { return static_cast<std::int64_t>(count_.size()); }
  const std::vector<std::int64_t>& counts() const { return count_; }
  double objective() const { return objective_; }
  std::int64_t empty() const;
  // Whether what was filled before these sums won nothing; `before` and `empty`: J and empty clusters then.
  bool stuck(double before, std::int64_t empty) const { return this->empty() >= empty && objective_ >= before; }

  // The means, rounded to f32; of a cluster without a row the centre that it had. [K,C]
  Tensor means(const Tensor& centres) const;
  // Puts centres of clusters without a row on rows, and says how many: 0 where every row lies on its centre.
  std::int64_t fill_empty(const Tensor& centres, const std::function<Tensor(std::int64_t)>& row) const;

 private:
  std::vector<double> sum_;
  std::vector<std::int64_t> count_, farthest_;
  std::vector<double> distance_;
  double objective_ = 0;
};

// K of the rows as first centres (k-means++, Arthur and Vassilvitskii 2007): each with a chance in proportion to its
// squared distance to the nearest one before it. A row twice only where there are fewer different ones.
Tensor first_centres(const Tensor& rows, std::int64_t K, std::uint64_t seed, std::uint64_t step);

struct KmeansOptions {
  std::int64_t K = 8, iterations = 20;
  double tolerance = 1e-4;  // ends when J falls by less than this share of it
  std::uint64_t seed = 1, step = 0;
};
// When Lloyd's iterations end; `before`: J of the iteration before, infinite at first.
bool settled(const KmeansOptions& options, std::int64_t iteration, double before, double now);

// All of it for rows in memory: the centres of clusters that have a row, K unless there are fewer different rows.
Tensor kmeans(const Tensor& rows, const KmeansOptions& options);

// How many of K centres each of several groups of rows gets: at least 1, in proportion to its rows, never more than it
// has; what is left over by the largest fractions. Every count is at least 1, and K between their number and their sum.
std::vector<std::int64_t> shares_of(std::int64_t K, const std::vector<std::int64_t>& counts);

// How clusters and names agree (Manning, Raghavan, Schütze 2008, 16.3): the share of rows whose name is their cluster's
// commonest, and 2 I(cluster; name) / (H(cluster) + H(name)).
struct Agreement {
  double purity = 0, nmi = 0;
};
Agreement agreement(const std::vector<std::int32_t>& cluster, const std::vector<std::int32_t>& name);

}  // namespace ov
