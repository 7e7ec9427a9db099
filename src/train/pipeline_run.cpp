#include "train/pipeline_run.h"

namespace ov {

PipelineRun::PipelineRun(Objective& objective, bool tree)
    : objective_(objective),
      parameters_(objective.parameters()),
      ranks_(parameters_.pipe()),
      tree_(tree),
      chunks_(objective.chunks()),
      steps_(2 * chunks_ + (!parameters_.lent().empty() && parameters_.lent().front().of->trainable)) {
  if (steps_ > 2 * chunks_) lent_ = &parameters_.lent().front();
  if (lent_ && !tree)
    input_error("train.grad_sum chain with parallel.pipeline ", ranks_.ranks(), ": the tied table's gradients come in ",
                "another order than one rank adds them in; choose train.grad_sum tree");
  const auto is_lent = [this](const Parameters::Entry& e) { return lent_ && &e.parameter == lent_->of; };
  for (int c = ranks_.rank(); c < chunks_; c += ranks_.ranks())
    pieces_.emplace(c, piece([&](const Parameters::Entry& e) { return e.chunk == c && !is_lent(e); }));
  if (lent_ && lent_->from == ranks_.rank()) pieces_.emplace(chunks_, piece(is_lent));
}

PipelineRun::Piece PipelineRun::piece(const std::function<bool(const Parameters::Entry&)>& of) const {
  std::vector<Range> ranges;
  std::int64_t all = 0;
  for (const auto& e : parameters_.entries()) {
    if (!e.parameter.trainable || !parameters_.holds(e) || !of(e)) continue;
    const std::int64_t begin = e.parameter.gradient, n = e.shape.numel();
    if (!ranges.empty() && ranges.back().end == begin) ranges.back().end += n;
    else ranges.push_back({begin, begin + n});
    all += n;
  }
  const Dtype dtype = accum_dtype(parameters_.dtype());
  Device& device = parameters_.device();
  return {
      std::move(ranges), TreeSum([=, &device] { return Tensor({all}, dtype, device, Segment::gradients); }), {}, {}};
}

int PipelineRun::rank_of(int step) const {
  const int chunk = step < chunks_ ? step : step < 2 * chunks_ ? 2 * chunks_ - 1 - step : chunks_ - 1;
  return chunk % ranks_.ranks();
}

// A leaf's part of the buffer is complete, or the head's part of a lent table is.
void PipelineRun::take(Piece& piece, std::int64_t leaf) {
  const Tensor own = piece.tree.leaf();
  std::int64_t at = 0;
  for (const Range& r : piece.ranges) {
    own.slice(0, at, at + r.size()).copy_from(gradients_.slice(0, r.begin, r.end));
    at += r.size();
  }
  piece.open[leaf] = own;
}

PipelineRun::Parts PipelineRun::step(std::int64_t leaf, int step, const Parts& from, const Tensor& scalars,
                                     const Done& done, Tracer* tracer) {
  const auto add = [&](Piece& piece) { piece.tree.add(piece.open.extract(leaf).mapped()); };
  if (step == 2 * chunks_) {
    objective_.add_lent(leaf, from, pieces_.at(chunks_).open.at(leaf).view(lent_->of->value.shape()));
    add(pieces_.at(chunks_));
    return {};
  }
  const bool forward = step < chunks_;
  const int chunk = forward ? step : 2 * chunks_ - 1 - step;
  auto& part = under_way_[{leaf, chunk}];
  OpTimes times;
  const std::int64_t start = trace ? now_ns() : 0;
  const auto traced = [&](const char* pass, auto&& work) {
    if (!trace) return work();
    if (!parameters_.device().on_host()) times.waits_for = &parameters_.device();
    part->measure(&times);
    times.start();
    Parts parts = work();
    part->measure(nullptr);
    trace->leaf(cat(pass, " of micro-batch ", leaf, ", chunk ", chunk), start, times);
    return parts;
  };
  if (forward) {
    part = objective_.begin(leaf, chunk, gradients_, scalars, tracer);
    return part ? traced("forward", [&] { return part->forward(from); }) : Parts();
  }
  const bool lends = chunk == chunks_ - 1 && pieces_.count(chunks_) > 0;
  Piece& own = pieces_.at(chunk);
  const auto zero = [&](const Piece& piece) {
    for (const Range& r : piece.ranges) gradients_.slice(0, r.begin, r.end).zero();
  };
  if (tree_) zero(own);
  if (lends) zero(pieces_.at(chunks_));
  Parts made;
  if (part) {
    made = traced("backward", [&] { return part->backward(from); });
    done(leaf, part->products());
  }
  under_way_.erase({leaf, chunk});
  if (tree_) take(own, leaf), add(own);
  if (lends) take(pieces_.at(chunks_), leaf);
  return made;
}

// At the end of a slot: what all ranks made goes to where the next step of that leaf is made.
void PipelineRun::hand_on(const std::vector<LeafStep>& row, std::int64_t first, const Parts& made) {
  const auto N = static_cast<std::size_t>(ranks_.ranks());
  const int self = ranks_.rank();
  std::vector<std::pair<int, Parts*>> expected;
  std::size_t most = 0;
  int to = -1;
  for (int r = 0; r < ranks_.ranks(); ++r) {
    const LeafStep& slot = row[static_cast<std::size_t>(r)];
    const int next = slot.step + 1;
    if (slot.leaf < 0 || next >= steps_) continue;
    const std::pair key{first + slot.leaf, next};
    if (r == self && rank_of(next) == self) come_[key] = made;
    else if (r == self) to = rank_of(next), most = std::max(most, made.size());
    else if (rank_of(next) == self) {
      Parts& parts = come_[key] = objective_.message(key.first, next);
      expected.emplace_back(r, &parts), most = std::max(most, parts.size());
    }
  }
  for (std::size_t i = 0; i < most; ++i) {
    Parts in(N), out(N);
    if (to >= 0 && i < made.size()) out[static_cast<std::size_t>(to)] = made[i];
    for (const auto& [from, parts] : expected)
      if (i < parts->size()) in[static_cast<std::size_t>(from)] = (*parts)[i];
    ranks_.all_to_all(in, out);
  }
}

const Tensor& PipelineRun::run(std::int64_t begin, std::int64_t end, const Tensor& scalars, const Done& done,
                               Tracer* tracer) {
  if (!gradients_) gradients_ = parameters_.gradient_buffer();
  if (!tree_) gradients_.zero();
  under_way_.clear(), come_.clear();
  for (const std::vector<LeafStep>& row : timetable(ranks_.ranks(), chunks_ / ranks_.ranks(), end - begin)) {
    const LeafStep& slot = row[static_cast<std::size_t>(ranks_.rank())];
    Parts made;
    if (slot.leaf >= 0) {
      auto from = come_.extract({begin + slot.leaf, slot.step});
      made = step(begin + slot.leaf, slot.step, from ? from.mapped() : Parts(), scalars, done, tracer);
    }
    hand_on(row, begin, made);
    for (std::int64_t leaf = begin; lent_ && leaf < end; ++leaf)
      if (auto words = come_.extract({leaf, 2 * chunks_}))
        step(leaf, 2 * chunks_, words.mapped(), scalars, done, tracer);
  }
  for (auto& [chunk, piece] : pieces_) {
    if (!tree_) break;
    piece.tree.reuse(std::exchange(piece.total, piece.tree.finish()));
    std::int64_t at = 0;
    for (const Range& r : piece.ranges) {
      gradients_.slice(0, r.begin, r.end).copy_from(piece.total.slice(0, at, at + r.size()));
      at += r.size();
    }
  }
  return gradients_;
}

}  // namespace ov
