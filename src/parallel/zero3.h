// ZeRO, stage 3, or fully sharded data parallelism (Zhao et al. 2023): as stage 2, and values are divided too. Rank r
// keeps those of its shard of the trained elements, which it updates, and of its shard of the frozen ones. A layer of
// the decoder or of the tower is a block, and one block at a time is whole:
//
//   forward of a leaf    for block b = 0 .. K-1:       w_b = all_gather(w_b,r)    h_b = f_b(h_b-1)
//   backward             for block b = K-1 .. first:   w_b = all_gather(w_b,r)    dh_b-1, dw_b = f_b'(dh_b)
//
// first: the first block in which, or before which, something is trained. What is here is not gathered again: K-1
// between forward and backward, `first` between two leaves where it is 0. What lies in no block (patch embedding,
// merger, words, norms, head) is the frame, whole on all ranks, and gathered after an update.
//
// The order in which blocks are gathered is a list that all ranks go through in every round of leaves, whatever their
// leaf is: a rank whose leaf has no picture, or that has no leaf, passes by the blocks that it does not need.
// Gradients are added as in stage 2: the bits are those of one rank. CPU ranks overlap the sum with backward as there
// (parallel/overlap.h); on GPUs it comes after it.
//
// Bytes that leave the N ranks together in a step of L leaves, R = L / N rounds, for P_b values of block b and F
// trained values of the frame, of c bytes each:
//   blocks, all trained   (N-1) c (2 R Σ P_b - R P_K-1 - (R-1) P_0)
//   frame                 (N-1) c F
//   reduce_scatter, squares   as stage 2
// What is held, beside stage 2's gradients and moments: P/N values, those of the frame, those of one block, and masters
// of P/N. While weights are read from a file, all values.
#pragma once
#include "autograd/ops/on_gradient.h"
#include "parallel/zero2.h"

namespace ov {

class Zero3 : public Zero2 {
 public:
  // Divides the values. input_error where ranks have others than rank 0, and where there is a pipeline or LoRA.
  Zero3(Communicator& ranks, Parameters& parameters);
  ~Zero3() override;
  void share_values() const override;
  void begin_round() const override;
  void end_round() const override;
  std::vector<Piece> pieces(bool precise) const override;
  bool divides_values() const override { return true; }
  Tensor kept(const Parameters::Entry& e, Range of) const override;
  void change_values(const std::function<void()>& change) override;

 private:
  class Values;
  std::unique_ptr<Values> values_;
};

// y, what a block makes: its values are here again when y's gradient comes.
inline Var values_come_back(const Parameters& set, int block, const Var& y) {
  return set.divided() ? on_gradient(y, [&set, block] { set.need(block); }) : y;
}

}  // namespace ov
