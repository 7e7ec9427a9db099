#include "parallel/zero3.h"

#include <algorithm>

#include "base/hash.h"

namespace ov {
namespace {

// The memory of a buffer goes, and comes again, while views of it stay: they read what is there then.
void go(const Tensor& buffer) {
  Storage& s = *buffer.storage();
  s.device->release(s.data, s.bytes, s.segment);
  s.data = nullptr, s.owner = std::make_shared<int>();  // owns nothing: there is nothing to release at its end
}

void come(const Tensor& buffer) {
  Storage& s = *buffer.storage();
  s.data = s.device->allocate(s.bytes, s.segment), s.owner = nullptr;
}

// After the division nobody could tell.
void check_alike(Communicator& ranks, const Tensor& values) {
  if (!values.has_data()) return;
  const Tensor here = values.to(cpu()), sums({ranks.ranks()}, Dtype::i64, cpu(), Segment::workspace);
  std::int64_t own = 0;
  by_dtype(here.dtype(),
           [&](auto v) { own = static_cast<std::int64_t>(checksum(here.data<decltype(v)>(), here.numel())); });
  ranks.all_gather(sums, Tensor::of(std::vector<std::int64_t>{own}, {1}));
  if (own != sums.to_vector<std::int64_t>()[0])
    input_error("parallel.zero 3: rank ", ranks.rank(), " starts from other weights than rank 0");
}

}  // namespace

class Zero3::Values {
 public:
  Values(Communicator& ranks, Parameters& parameters) : ranks_(ranks), parameters_(parameters) { divide(); }
  ~Values() { parameters_.divide({}); }  // the model has no values any more
  Values(const Values&) = delete;

  void divide() {
    own_trained_ = shard(true, ranks_.rank()), own_frozen_ = shard(false, ranks_.rank());
    const Tensor& all = parameters_.values();
    own_ = Tensor({own_trained_.size() + own_frozen_.size()}, all.dtype(), all.device(), Segment::weights);
    blocks_.assign(static_cast<std::size_t>(parameters_.blocks()), {});
    frame_.clear();
    std::int64_t frozen = 0, first = INT64_MAX;
    int last_block = -1;
    for (const auto& e : parameters_.entries()) {
      const bool trained = e.parameter.trainable;
      const std::int64_t n = e.shape.numel(), order = trained ? e.parameter.gradient : frozen;
      if (!trained) frozen += n;
      orders_[&e] = order;
      const Range mine = overlap(order, n, trained ? own_trained_ : own_frozen_);
      if (mine.size() > 0)
        place_of(trained, mine).copy_from(all.slice(0, e.offset + mine.begin - order, e.offset + mine.end - order));
      if (e.block < 0 && (frame_.empty() || last_block >= 0)) frame_.emplace_back();
      Block& to = e.block < 0 ? frame_.back() : blocks_[static_cast<std::size_t>(e.block)];
      if (to.stretches.empty()) to.first = e.offset;
      Stretch* before = to.stretches.empty() ? nullptr : &to.stretches.back();
      if (before && before->trained == trained && before->order + before->count == order) before->count += n;
      else to.stretches.push_back({trained, order, e.offset - to.first, n});
      last_block = e.block;
      if (trained && first == INT64_MAX) first = std::max(0, next_block(e));
    }
    for (std::vector<Block>* some : {&frame_, &blocks_})
      for (Block& b : *some) {
        b.values = Tensor({b.count()}, all.dtype(), all.device(), Segment::weights);
        if (some == &frame_) b.values.copy_from(all.slice(0, b.first, b.first + b.count()));
        else go(b.values);
        parameters_.lie_in(b.values, b.first);
      }
    order_.clear();
    const int K = parameters_.blocks();
    for (int b = 0; b < K; ++b) order_.push_back(b);
    for (int b = K - 2; b >= first; --b) order_.push_back(b);
    at_ = here_ = -1;
    parameters_.divide({own_, [this](int block) { need(block); }});
  }

  void undivide() {
    leave();
    frame_.clear(), blocks_.clear(), orders_.clear(), own_ = {};
    parameters_.undivide();
  }

  void need(int block) {
    while (here_ != block || at_ < 0 || order_[static_cast<std::size_t>(at_)] != block) next();
  }
  void begin_round() { at_ = -1; }
  void end_round() {
    while (at_ + 1 < std::ssize(order_)) next();
  }
  void leave() {
    if (here_ >= 0) go(blocks_[static_cast<std::size_t>(here_)].values);
    here_ = -1;
  }
  void share() {
    leave();  // the block that is here is of before the update
    for (const Block& b : frame_) gather(b, true);
  }

  Tensor kept(const Parameters::Entry& e, Range of) const {
    const std::int64_t order = orders_.at(&e);
    return place_of(e.parameter.trainable, {order + of.begin, order + of.end});
  }

  std::vector<Piece> pieces(bool precise) const {
    if (precise && parameters_.masters()) return {{parameters_.masters(), own_trained_.begin, true}};
    std::vector<Piece> all;
    for (const auto& e : parameters_.entries()) {
      const bool trained = e.parameter.trainable;
      const std::int64_t order = orders_.at(&e);
      const Range mine = overlap(order, e.shape.numel(), trained ? own_trained_ : own_frozen_);
      if (mine.size() > 0) all.push_back({place_of(trained, mine), e.offset + mine.begin - order, false});
    }
    return all;
  }

 private:
  // Elements from `order` on among the trained, or the frozen ones, lie from `at` on.
  struct Stretch {
    bool trained;
    std::int64_t order, at, count;
  };
  struct Block {
    std::vector<Stretch> stretches;
    std::int64_t first = 0;  // in the flat buffer
    Tensor values;
    std::int64_t count() const { return stretches.empty() ? 0 : stretches.back().at + stretches.back().count; }
  };

  static Range overlap(std::int64_t order, std::int64_t n, Range own) {
    return {std::max(order, own.begin), std::min(order + n, own.end)};
  }
  Range shard(bool trained, int rank) const {
    const std::int64_t all = parameters_.trained();
    return shard_of(trained ? all : parameters_.count() - all, rank, ranks_.ranks());
  }
  Tensor place_of(bool trained, Range mine) const {
    const std::int64_t begin =
        trained ? mine.begin - own_trained_.begin : own_trained_.size() + mine.begin - own_frozen_.begin;
    return own_.slice(0, begin, begin + mine.size());
  }
  // The block of e, or the first that comes after it.
  int next_block(const Parameters::Entry& e) const {
    bool behind = false;
    for (const auto& other : parameters_.entries()) {
      behind = behind || &other == &e;
      if (behind && other.block >= 0) return other.block;
    }
    return parameters_.blocks();
  }

  void gather(const Stretch& s, const Tensor& to) const {
    Parts parts;
    for (int r = 0; r < ranks_.ranks(); ++r) {
      const Range mine = overlap(s.order, s.count, shard(s.trained, r));
      const std::int64_t begin = std::min(s.at + s.count, std::max(s.at, s.at + mine.begin - s.order));
      parts.push_back(to.slice(0, begin, begin + std::max<std::int64_t>(0, mine.size())));
      if (r != ranks_.rank() || mine.size() <= 0) continue;
      const std::int64_t own =
          s.trained ? mine.begin - own_trained_.begin : own_trained_.size() + mine.begin - own_frozen_.begin;
      parts.back().copy_from(own_.slice(0, own, own + mine.size()));
    }
    ranks_.all_gather(parts);
  }
  void gather(const Block& b, bool trained_alone) const {
    for (const Stretch& s : b.stretches)
      if (s.trained || !trained_alone) gather(s, b.values);
  }
  void next() {
    at_ = (at_ + 1) % std::ssize(order_);
    const int block = order_[static_cast<std::size_t>(at_)];
    if (block == here_) return;
    leave();
    come(blocks_[static_cast<std::size_t>(block)].values);
    here_ = block;
    gather(blocks_[static_cast<std::size_t>(block)], false);
  }

  Communicator& ranks_;
  Parameters& parameters_;
  Range own_trained_, own_frozen_;
  Tensor own_;
  std::map<const Parameters::Entry*, std::int64_t> orders_;  // place among the trained, or the frozen
  std::vector<Block> blocks_, frame_;
  std::vector<int> order_;  // in which blocks are gathered for a leaf
  std::ptrdiff_t at_ = -1;  // in that; -1: before its first
  int here_ = -1;           // the block; -1: none
};

Zero3::Zero3(Communicator& ranks, Parameters& parameters) : Zero2(ranks, parameters, 3) {
  if (parameters.pipe().ranks() > 1)
    input_error("parallel.zero 3 with parallel.pipeline ", parameters.pipe().ranks(), ": not built; 2 is");
  if (!parameters.adapters().empty()) input_error("parallel.zero 3 with lora.rank: not built; 2 is");
  check_alike(ranks, parameters.values());
  values_ = std::make_unique<Values>(ranks, parameters);
}

Zero3::~Zero3() = default;

void Zero3::share_values() const { values_->share(); }
void Zero3::begin_round() const { values_->begin_round(); }
void Zero3::end_round() const { values_->end_round(); }
std::vector<DataParallel::Piece> Zero3::pieces(bool precise) const { return values_->pieces(precise); }
Tensor Zero3::kept(const Parameters::Entry& e, Range of) const { return values_->kept(e, of); }

void Zero3::change_values(const std::function<void()>& change) {
  values_->undivide();
  change();
  values_->divide();
}

}  // namespace ov
