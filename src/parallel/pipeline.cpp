#include "parallel/pipeline.h"

#include <algorithm>

#include "autograd/ops.h"
#include "kernels/adamw.h"

namespace ov {

int Chunks::of(std::int64_t layer) const {
  int chunk = 0;
  while (layer >= layers[static_cast<std::size_t>(chunk)].end) ++chunk;
  return chunk;
}

Chunks Chunks::balanced(const std::vector<double>& costs, double first, double last, int count) {
  const auto L = static_cast<std::int64_t>(costs.size());
  if (count - 2 > L)
    input_error("parallel.pipeline, parallel.chunks: ", count, " chunks in all, and the model has ", L, " layers");
  struct Best {
    double most = INFINITY, squares = 0;
    std::int64_t begin = 0;  // of the last chunk
    bool operator<(const Best& b) const { return most != b.most ? most < b.most : squares < b.squares; }
  };
  // best[c][n]: of the first n layers in chunks 0 .. c.
  const auto N = static_cast<std::size_t>(L + 1);
  std::vector<std::vector<Best>> best(static_cast<std::size_t>(count), std::vector<Best>(N));
  for (int c = 0; c < count; ++c)
    for (std::int64_t n = 0; n <= L; ++n) {
      double cost = (c == 0 ? first : 0) + (c == count - 1 ? last : 0);
      Best& here = best[static_cast<std::size_t>(c)][static_cast<std::size_t>(n)];
      for (std::int64_t begin = n; begin >= 0;
           cost += begin > 0 ? costs[static_cast<std::size_t>(begin - 1)] : 0, --begin) {
        if ((c == 0 && begin > 0) || (begin == n && c != 0 && c != count - 1)) continue;
        Best before{0, 0, 0};
        if (c > 0) before = best[static_cast<std::size_t>(c - 1)][static_cast<std::size_t>(begin)];
        here = std::min(here, Best{std::max(before.most, cost), before.squares + cost * cost, begin});
      }
    }
  Chunks found{std::vector<Range>(static_cast<std::size_t>(count))};
  std::int64_t end = L;
  for (auto c = static_cast<std::size_t>(count); c-- > 0;) {
    const std::int64_t begin = best[c][static_cast<std::size_t>(end)].begin;
    found.layers[c] = {begin, end};
    end = begin;
  }
  return found;
}

// Every rank has its forwards in order, p leaves through one of its chunks, then the next, and its backwards likewise.
// In each slot it goes forward while few enough are under way, else back, if what it needs has come.
std::vector<std::vector<LeafStep>> timetable(int p, int v, std::int64_t leaves) {
  const int K = p * v;
  struct Rank {
    std::vector<LeafStep> forward, backward;
    std::size_t went = 0, returned = 0, most;
  };
  std::vector<Rank> ranks;
  for (int r = 0; r < p; ++r) {
    Rank rank{{}, {}, 0, 0, static_cast<std::size_t>((p - r - 1) * (v > 1 ? 2 : 1) + (v - 1) * p + 1)};
    for (std::int64_t group = 0; group < leaves; group += p)
      for (int c = 0; c < v; ++c)
        for (std::int64_t leaf = group; leaf < std::min(leaves, group + p); ++leaf) {
          rank.forward.push_back({leaf, c * p + r});
          rank.backward.push_back({leaf, 2 * K - 1 - ((v - 1 - c) * p + r)});
        }
    ranks.push_back(std::move(rank));
  }
  std::vector<std::vector<LeafStep>> table;
  std::vector<int> steps(static_cast<std::size_t>(leaves), 0);  // that each leaf has made before this slot
  for (std::int64_t left = 2 * K * leaves; left > 0;) {
    std::vector<LeafStep> row;
    for (Rank& r : ranks) {
      const auto ready = [&](const std::vector<LeafStep>& order, std::size_t at) {
        return at < order.size() && order[at].step == steps[static_cast<std::size_t>(order[at].leaf)];
      };
      LeafStep slot;
      if (r.went - r.returned < r.most && ready(r.forward, r.went)) slot = r.forward[r.went++];
      else if (ready(r.backward, r.returned)) slot = r.backward[r.returned++];
      row.push_back(slot);
    }
    for (const LeafStep& slot : row)
      if (slot.leaf >= 0) ++steps[static_cast<std::size_t>(slot.leaf)], --left;
    table.push_back(std::move(row));
  }
  return table;
}

Var rows_of(Tape* tape, const Tensor& ids, Parameter& table, Var* lent) {
  if (!lent) return embedding(ids, tape ? tape->parameter(table) : Var{table.value});
  return *lent = tape->input(embedding(ids, Var{table.value}).value, true);
}

WholeChunks::WholeChunks(const Parameters& parameters, const DataParallel& parallel)
    : parameters_(parameters), parallel_(parallel) {
  constexpr std::int64_t C = kernels::norm_chunk;
  const int ranks = parallel.sharded() ? parallel.ranks().ranks() : 1;
  const Communicator &pipe = parameters.pipe(), &experts = parameters.experts();
  std::int64_t whole = 0;
  using Holder = std::pair<int, int>;   // rank of the pipeline, and of those that share experts
  std::map<Holder, std::int64_t> held;  // so far
  std::map<std::pair<Holder, int>, std::vector<Piece>> all_pieces;  // and place among the data's
  const auto shared = [&](std::int64_t at) {
    if (at % C != 0) shared_.emplace(at / C, 0);
  };
  std::map<Holder, std::int64_t> trained_by;  // ranks that share class tables may have unequal parts
  for (const auto& e : parameters.entries())
    for (int j = 0; j < experts.ranks(); ++j)
      if (e.parameter.trainable && (e.expert_holder < 0 || e.expert_holder == j))
        trained_by[{e.holder, j}] += e.part.numel();
  for (const auto& e : parameters.entries()) {
    if (!e.parameter.trainable) continue;
    const Holder holder{e.holder, std::max(0, e.expert_holder)};  // the first counts what all of them hold
    const std::int64_t n = e.part.numel(), begin = held[holder], trained = trained_by[holder];
    for (int r = 0; r < ranks; ++r) {
      const Range own = parallel.own(r, trained);
      const std::int64_t from = std::max(begin, own.begin), to = std::min(begin + n, own.end);
      if (from >= to) continue;
      shared(whole + from - begin), shared(whole + to - begin);
      std::vector<Piece>& pieces = all_pieces[{holder, r}];
      Piece* last = pieces.empty() ? nullptr : &pieces.back();
      const Piece next{whole + from - begin, from - own.begin, to - from};
      if (last && last->whole + last->count == next.whole && last->own + last->count == next.own)
        last->count += next.count;
      else pieces.push_back(next);
    }
    for (int j = 0; j < experts.ranks(); ++j)
      if (e.expert_holder < 0 || e.expert_holder == j) held[{e.holder, j}] += n;
    whole += n;
  }
  chunks_ = (whole + C - 1) / C;
  // A border within what one rank has is none.
  for (const auto& [holder, pieces] : all_pieces)
    for (const Piece& p : pieces) {
      const auto alone = [&](std::int64_t chunk) { return std::min(whole, (chunk + 1) * C) <= p.whole + p.count; };
      for (auto s = shared_.lower_bound((p.whole + C - 1) / C); s != shared_.end() && alone(s->first);)
        s = shared_.erase(s);
    }
  own_ = all_pieces[{{pipe.rank(), experts.rank()}, parallel.sharded() ? parallel.ranks().rank() : 0}];
  std::int64_t next = 0;
  for (auto& [chunk, place] : shared_) place = next++;
}

// A call of all ranks that have some of the whole buffer.
void WholeChunks::over_all(const Tensor& t) const {
  parameters_.pipe().all_reduce(t), parameters_.experts().all_reduce(t);
  if (parallel_.sharded()) parallel_.ranks().all_reduce(t);
}

Tensor WholeChunks::squares(const Tensor& gradients, const std::vector<Range>& without, const Squares& squares) const {
  constexpr std::int64_t C = kernels::norm_chunk;
  Device& device = gradients.device();
  const Tensor partial = Tensor::zeros({chunks_}, Dtype::f64, device),
               edges = Tensor::zeros({shared(), C}, gradients.dtype(), device);
  const std::int64_t first = parallel_.own().begin;  // of `without`, which counts from the rank's whole buffer
  for (const Piece& p : own_)
    for (std::int64_t at = p.whole, end; at < p.whole + p.count; at = end) {
      const auto edge = shared_.find(at / C);
      if (edge == shared_.end()) {  // up to the next that is shared, or the end
        const auto next = shared_.lower_bound(at / C);
        end = std::min(p.whole + p.count, next == shared_.end() ? INT64_MAX : next->first * C);
        squares(partial.slice(0, at / C, (end + C - 1) / C), p.own + at - p.whole, p.own + end - p.whole);
        continue;
      }
      end = std::min(p.whole + p.count, (at / C + 1) * C);
      const std::int64_t own = p.own + at - p.whole, n = end - at;
      const Tensor to = edges.slice(0, edge->second, edge->second + 1).flat().slice(0, at % C, at % C + n);
      to.copy_from(gradients.slice(0, own, own + n));
      for (const Range& r : without) {
        const std::int64_t from = std::max(r.begin - first, own), until = std::min(r.end - first, own + n);
        if (from < until) to.slice(0, from - own, until - own).zero();
      }
    }
  if (shared() > 0) {
    over_all(edges);  // zeros but for one rank's
    const bool counts = parameters_.pipe().rank() == 0 && parameters_.experts().rank() == 0 &&
                        (!parallel_.sharded() || parallel_.ranks().rank() == 0);
    const Tensor sums({shared()}, Dtype::f64, device, Segment::workspace);
    kernels::squared_sums({.partial = sums, .x = edges.flat()});
    for (const auto& [chunk, place] : shared_)
      if (counts) partial.slice(0, chunk, chunk + 1).copy_from(sums.slice(0, place, place + 1));
  }
  over_all(partial);
  return partial;
}

}  // namespace ov
