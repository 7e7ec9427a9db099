// What ranks say to each other. The calls are collective: every rank makes them in the same order with tensors of the
// same shape and dtype.
//
//   all_reduce      t = Σ_r t_r
//   reduce_scatter  part_r = part r of Σ_r whole_r
//   all_gather      whole = the parts, by rank
//   broadcast       t = t_from
//   all_to_all      part r of `from` goes to rank r and arrives as the sender's part of its `to`
//   send, recv      from one rank to another
//   barrier         nobody leaves before everybody has come
//
// Sums are ordered: Σ is the binary tree over ranks (ordered_sum.h) and not a ring, whose bits change with the number
// of ranks. It is an all-to-all of parts and a local sum, and moves what a ring moves: (N-1)/N of the tensor's bytes
// leave each rank in a reduce_scatter or an all_gather, twice that in an all_reduce.
//
// Sums are made piece by piece. All know the size of the whole, so that one who gave another stands out by the first
// piece.
//
// A backend is one function, exchange(); all calls are made of it. One may have calls of its own beside it (OwnCalls),
// whose sums have an order of their own.
//
// On a device that queues its work "returns" means: in the order of the device's kernels. What is queued after the call
// finds what has arrived.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace ov {

// What a rank is in; `alone`: what the others wait for and cannot share (Alone).
enum class Call { none, all_reduce, reduce_scatter, all_gather, broadcast, all_to_all, send, recv, barrier, alone };
const char* name_of(Call call);

// One tensor for each rank, by rank; null: nothing for that rank. Sizes may differ from rank to rank.
using Parts = std::vector<Tensor>;

// A backend's own calls among some of its ranks. Tensors are contiguous and lie on the backend's device.
class OwnCalls {
 public:
  virtual ~OwnCalls() = default;
  virtual void all_reduce(const Tensor& t) = 0;
  virtual void reduce_scatter(const Tensor& part, const Parts& of) = 0;  // of any sizes; part may be this rank's own
  virtual void all_gather(const Parts& of) = 0;
  virtual void broadcast(const Tensor& t, int from) = 0;
};

class Beside;

class Communicator {
 public:
  Communicator(int rank, int ranks) : rank_(rank), ranks_(ranks) {}
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  int rank() const { return rank_; }
  int ranks() const { return ranks_; }

  virtual void all_reduce(const Tensor& t);
  // The sum over the first `adding` ranks: the others have nothing to add, not even zeros, which would turn -0 into 0.
  // `of`: by rank the part of this rank's tensor that goes there; part may be this rank's own of them.
  virtual void reduce_scatter(const Tensor& part, const Parts& of, int adding);
  virtual void all_gather(const Parts& of);  // this rank's part is there, the others are filled
  virtual void broadcast(const Tensor& t, int from);
  virtual void all_to_all(const Parts& to, const Parts& from);
  virtual void send(const Tensor& t, int to);
  virtual void recv(const Tensor& t, int from);
  virtual void barrier();

  // The same over equal parts, the rows of `whole` by rank.
  void reduce_scatter(const Tensor& part, const Tensor& whole) { reduce_scatter(part, rows_of(whole), ranks_); }
  void all_gather(const Tensor& whole, const Tensor& part);
  void all_to_all(const Tensor& to, const Tensor& from) { all_to_all(rows_of(to), rows_of(from)); }

  virtual Beside* beside() { return nullptr; }  // calls beside these (comm/beside.h); null: there are none
  // For errors: where this rank stands.
  virtual void at_step(std::int64_t step) { step_ = step; }
  virtual void works_alone(bool /*on*/) {}     // Alone calls it
  std::int64_t sent() const { return sent_; }  // bytes to other ranks so far, without headers

 protected:
  // from[r], where not null, goes to rank r; to[r], where not null, is what rank r sends here. Returns when all of it
  // has arrived and `from` may be written again. Neither holds this rank's own part.
  virtual void exchange(Call call, const Parts& to, const Parts& from) = 0;
  // For tensors that lie where this one does, among `members` of the ranks; null: calls are made of exchange().
  virtual OwnCalls* own_calls(const Tensor&, const std::vector<int>& /*members*/) { return nullptr; }
  std::int64_t step_ = 0;
  std::int64_t whole_ = 0;  // bytes of the tensor that a sum is made of piece by piece, while it is; else 0
  // Says so for one scope, unless a sum that this one is part of has said it.
  class OfWhole {
   public:
    OfWhole(Communicator& ranks, std::int64_t bytes) : ranks_(ranks), own_(ranks.whole_ == 0) {
      if (own_) ranks_.whole_ = bytes;
    }
    ~OfWhole() {
      if (own_) ranks_.whole_ = 0;
    }
    OfWhole(const OfWhole&) = delete;

   private:
    Communicator& ranks_;
    const bool own_;
  };

 private:
  friend class Group;      // hands its exchanges on
  friend class NcclRanks;  // and those of the host's tensors
  Parts rows_of(const Tensor& whole) const;
  void check_rank(int rank, const char* what) const;
  void trade(Call call, Parts to, Parts from);
  OwnCalls* own_calls(const Tensor& t);
  const int rank_, ranks_;
  std::int64_t sent_ = 0;
};

// For one scope this rank does what the others wait for and cannot share, a model's export say. They wait for it as
// long as it lives: comm.timeout, which is for messages, does not count meanwhile.
class Alone {
 public:
  explicit Alone(Communicator& ranks) : ranks_(ranks) { ranks_.works_alone(true); }
  ~Alone() { ranks_.works_alone(false); }
  Alone(const Alone&) = delete;

 private:
  Communicator& ranks_;
};

Communicator& one_rank();
std::string broadcast_text(Communicator& ranks, const std::string& text, int from);  // returns that of rank `from`

}  // namespace ov
