#include "comm/communicator.h"

#include <algorithm>
#include <numeric>

#include "comm/ordered_sum.h"
#include "kernels/rehearsed.h"

namespace ov {
namespace {

// Of a sum that is made at a time: what its one more buffer takes a rank. On the host it stays in the caches; a GPU's
// messages need the length. The sum's bits do not depend on it.
std::int64_t piece_bytes(const Device& device) { return kernels::on_gpu(device) ? std::int64_t{16} << 20 : 512 << 10; }

class OneRank : public Communicator {
 public:
  OneRank() : Communicator(0, 1) {}

 protected:
  void exchange(Call, const Parts&, const Parts&) override {}  // nobody is there
};

// Range r of n that ranks divide among themselves.
Tensor share(const Tensor& flat, int r, int ranks) {
  const std::int64_t n = flat.numel(), each = (n + ranks - 1) / ranks;
  return flat.slice(0, std::min(n, r * each), std::min(n, (r + 1) * each));
}

std::size_t at(int rank) { return static_cast<std::size_t>(rank); }

}  // namespace

const char* name_of(Call call) {
  constexpr const char* names[] = {
      "no call",    "all_reduce", "reduce_scatter", "all_gather", "broadcast",
      "all_to_all", "send",       "recv",           "barrier",    "work that it does alone"};
  return names[static_cast<int>(call)];
}

Communicator& one_rank() {
  static OneRank self;
  return self;
}

std::string broadcast_text(Communicator& ranks, const std::string& text, int from) {
  const Tensor size = Tensor::of(std::vector<std::int64_t>{static_cast<std::int64_t>(text.size())}, {1});
  ranks.broadcast(size, from);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(size.to_vector<std::int64_t>()[0]));
  if (ranks.rank() == from) std::copy(text.begin(), text.end(), bytes.begin());
  const Tensor whole = Tensor::of(bytes, {static_cast<std::int64_t>(bytes.size())});
  ranks.broadcast(whole, from);
  bytes = whole.to_vector<std::uint8_t>();
  return {bytes.begin(), bytes.end()};
}

void Communicator::check_rank(int rank, const char* what) const {
  if (rank < 0 || rank >= ranks_)
    input_error("communicator: ", what, " rank ", rank, ": there are ", ranks_, ", from 0");
}

Parts Communicator::rows_of(const Tensor& whole) const {
  if (whole.rank() == 0 || whole.dim(0) % ranks_ != 0)
    input_error("communicator: ", whole.shape().str(), " does not divide into rows for ", ranks_, " ranks");
  const std::int64_t each = whole.dim(0) / ranks_;
  Parts rows;
  for (int r = 0; r < ranks_; ++r) rows.push_back(whole.slice(0, r * each, (r + 1) * each));
  return rows;
}

void Communicator::trade(Call call, Parts to, Parts from) {
  const std::size_t own = at(rank_);
  if (to[own] && from[own]) to[own].copy_from(from[own]);
  to[own] = from[own] = {};
  for (const Parts* parts : {&to, &from})
    for (const Tensor& t : *parts)
      if (t && !t.contiguous()) input_error("communicator: ", name_of(call), " of a tensor that is not contiguous");
  for (const Tensor& t : from)
    if (t) sent_ += static_cast<std::int64_t>(t.nbytes());
  exchange(call, to, from);
}

OwnCalls* Communicator::own_calls(const Tensor& t) {
  std::vector<int> all(at(ranks_));
  std::iota(all.begin(), all.end(), 0);
  return own_calls(t, all);
}

void Communicator::all_reduce(const Tensor& t) {
  if (ranks_ == 1) return;
  const Tensor flat = t.flat();
  if (OwnCalls* own = own_calls(flat)) {
    sent_ += 2 * static_cast<std::int64_t>(t.nbytes()) * (ranks_ - 1) / ranks_;
    return own->all_reduce(flat);
  }
  const OfWhole whole(*this, static_cast<std::int64_t>(t.nbytes()));
  Parts shares;
  for (int r = 0; r < ranks_; ++r) shares.push_back(share(flat, r, ranks_));
  // On the host every piece goes to the others as soon as it is summed, while the caches have it.
  const std::int64_t most = shares[0].numel(),
                     piece = kernels::on_gpu(t.device())
                                 ? std::max<std::int64_t>(1, most)
                                 : piece_bytes(t.device()) / static_cast<std::int64_t>(size_of(t.dtype()));
  for (std::int64_t begin = 0; begin < most; begin += piece) {
    Parts pieces;
    for (const Tensor& s : shares)
      pieces.push_back(s.slice(0, std::min(begin, s.numel()), std::min(begin + piece, s.numel())));
    reduce_scatter(pieces[at(rank_)], pieces, ranks_);
    all_gather(pieces);
  }
}

void Communicator::reduce_scatter(const Tensor& part, const Parts& of, int adding) {
  const Tensor own = of[at(rank_)];
  if (part.numel() != own.numel() || part.dtype() != own.dtype())
    input_error("communicator: reduce_scatter into ", name_of(part.dtype()), " ", part.shape().str(),
                ": this rank's part is ", name_of(own.dtype()), " ", own.shape().str());
  if (ranks_ == 1) return trade(Call::reduce_scatter, {part}, of);
  if (OwnCalls* calls = adding == ranks_ ? own_calls(part) : nullptr) {
    for (int r = 0; r < ranks_; ++r) sent_ += r == rank_ ? 0 : static_cast<std::int64_t>(of[at(r)].nbytes());
    return calls->reduce_scatter(part, of);
  }
  std::int64_t most = 0, bytes = 0;
  for (const Tensor& t : of) most = std::max(most, t.numel()), bytes += static_cast<std::int64_t>(t.nbytes());
  const OfWhole whole(*this, bytes);
  const std::int64_t piece = piece_bytes(part.device()) / static_cast<std::int64_t>(size_of(part.dtype()));
  const Tensor room({ranks_, std::min(piece, part.numel())}, part.dtype(), part.device(), Segment::workspace);
  for (std::int64_t begin = 0; begin < most; begin += piece) {
    const auto range = [&](const Tensor& t) {
      return t.flat().slice(0, std::min(begin, t.numel()), std::min(begin + piece, t.numel()));
    };
    const std::int64_t n = range(part).numel();
    Parts to(at(ranks_)), from(at(ranks_));
    for (int r = 0; r < ranks_; ++r) {
      if (r == rank_) continue;
      if (r < adding && n > 0) to[at(r)] = room.slice(0, r, r + 1).flat().slice(0, 0, n);
      if (rank_ < adding && range(of[at(r)]).numel() > 0) from[at(r)] = range(of[at(r)]);
    }
    trade(Call::reduce_scatter, to, from);
    if (n == 0) continue;
    if (rank_ < adding) to[at(rank_)] = range(own);
    sum_in_order(std::span(to).first(at(adding)), range(part), range(own));
  }
}

void Communicator::all_gather(const Parts& of) {
  if (OwnCalls* own = ranks_ > 1 ? own_calls(of[at(rank_)]) : nullptr) {
    sent_ += static_cast<std::int64_t>(of[at(rank_)].nbytes()) * (ranks_ - 1);
    return own->all_gather(of);
  }
  Parts from(at(ranks_), of[at(rank_)]), to = of;
  from[at(rank_)] = to[at(rank_)] = {};
  for (Parts* parts : {&to, &from})
    for (Tensor& t : *parts)
      if (t && t.numel() == 0) t = {};
  trade(Call::all_gather, to, from);
}

void Communicator::all_gather(const Tensor& whole, const Tensor& part) {
  const Parts rows = rows_of(whole);
  rows[at(rank_)].copy_from(part.view(rows[0].shape()));
  all_gather(rows);
}

void Communicator::broadcast(const Tensor& t, int from) {
  check_rank(from, "broadcast from");
  if (OwnCalls* own = ranks_ > 1 ? own_calls(t) : nullptr) {
    sent_ += rank_ == from ? static_cast<std::int64_t>(t.nbytes()) : 0;
    return own->broadcast(t, from);
  }
  Parts to(at(ranks_)), out(at(ranks_));
  if (rank_ == from) out.assign(at(ranks_), t);
  else to[at(from)] = t;
  trade(Call::broadcast, to, out);
}

void Communicator::all_to_all(const Parts& to, const Parts& from) { trade(Call::all_to_all, to, from); }

void Communicator::send(const Tensor& t, int to) {
  check_rank(to, "send to");
  if (to == rank_) input_error("communicator: send to rank ", to, ", which is this one");
  Parts out(at(ranks_));
  out[at(to)] = t;
  trade(Call::send, Parts(at(ranks_)), out);
}

void Communicator::recv(const Tensor& t, int from) {
  check_rank(from, "receive from");
  if (from == rank_) input_error("communicator: receive from rank ", from, ", which is this one");
  Parts to(at(ranks_));
  to[at(from)] = t;
  trade(Call::recv, to, Parts(at(ranks_)));
}

void Communicator::barrier() {
  const Parts nothing(at(ranks_), Tensor({0}, Dtype::u8, cpu(), Segment::workspace));
  trade(Call::barrier, nothing, nothing);
}

}  // namespace ov
