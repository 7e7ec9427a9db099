// Pipeline parallelism: p ranks hold one model together, each some of its layers, and a step's leaves (micro-batches)
// follow each other through them: one forward and one backward in turns (1F1B, Narayanan et al. 2019), or with v chunks
// of layers on every rank (interleaved, Narayanan et al. 2021).
//
//   K = p v chunks of layers; chunk c is rank (c mod p)'s. The first has the tower and the embedding too, the last the
//   last norm and the head.
//   leaf i:   h_c = f_c(h_c-1), c = 0 .. K-1     then dh_c-1 = f_c'(dh_c), c = K-1 .. 0    steps 0 .. 2K-1 of the leaf
//   bubble:   (p - 1) / (v L) of the work of L leaves, for v > 1 where p divides L (else more), as forward and backward
//             of all chunks take equally long
//
// Every chunk sees the leaves in order, and each leaf's gradients are added as on one rank, parameter by parameter, so
// the bits are those of one rank. Three things do not lie within one chunk:
//   a tied table      is the last chunk's; the first reads a copy, which is sent in every step. The gradient of a leaf
//                     is the head's, to which the embedding's rows are added in this order: dh of the words goes to the
//                     last chunk as step 2K, which adds them
//   the norm          is over the chunks of 4096 of the buffer that one rank would have. Those that several ranks have
//                     some of are put together first
//   balanced experts  how often each was chosen is counted forward from layer to layer, and known to all backward
//
// Bytes that leave the p ranks together in a step, T tokens in all of its leaves, width C, values of b, gradients of a
// bytes, P trained parameters, B chunks of the norm that several have, a table [V,C]:
//   forward, backward   (K-1) T C (b + a)        the latter as far as something before it is trained
//   tied                T C a + V C b
//   norm                2 (p-1) (4096 B a + 8 P / 4096); where N ranks shard each stage (parallel/zero1.h), they
//                       2 (N-1) of the same, in place of that file's squares
//   experts             16 (K-1) E for each leaf
// What a rank holds: values, gradients and moments of its chunks; activations of at most p - r leaves, v = 1, or of
// 2 (p - r - 1) + (v - 1) p + 1 of its chunks; of a tied table p buffers of a leaf's gradients.
#pragma once
#include <functional>
#include <map>

#include "autograd/tape.h"
#include "nn/parameters.h"
#include "parallel/data.h"

namespace ov {

// Which layers each chunk has.
struct Chunks {
  std::vector<Range> layers = {{0, INT64_MAX}};
  int last() const { return static_cast<int>(layers.size()) - 1; }
  int of(std::int64_t layer) const;
  // The division into `count` whose most costly is the cheapest, and of those the most even. `first`, `last`: what the
  // first and the last chunk have besides; they alone may have no layer. input_error when there are too few layers.
  static Chunks balanced(const std::vector<double>& costs, double first, double last, int count);
};

// What each rank does when: rows are slots, at whose end messages are handed on; -1: nothing.
struct LeafStep {
  std::int64_t leaf = -1;
  int step = 0;  // of the leaf: 0 .. 2K-1
};
std::vector<std::vector<LeafStep>> timetable(int ranks, int chunks, std::int64_t leaves);  // `chunks`: of a rank

// Rows of a table [T,C]. lent: the table is a copy, and the rows are an input of the tape, which goes there, since its
// holder adds their gradient.
Var rows_of(Tape* tape, const Tensor& ids, Parameter& table, Var* lent = nullptr);

// The gradient norm over ranks that hold one model together, by stages or by experts (parallel/expert.h).
class WholeChunks {
 public:
  // `parallel`: divides what each rank holds further.
  WholeChunks(const Parameters& parameters, const DataParallel& parallel);
  // Sums of squares by chunk of the whole buffer, alike on all ranks. `gradients`: own() of this rank, of which
  // `without` is counted elsewhere; squares(to, begin, end): of whole chunks [begin, end) of them.
  using Squares = std::function<void(const Tensor& to, std::int64_t begin, std::int64_t end)>;
  Tensor squares(const Tensor& gradients, const std::vector<Range>& without, const Squares& squares) const;
  std::int64_t chunks() const { return chunks_; }
  std::int64_t shared() const { return static_cast<std::int64_t>(shared_.size()); }

 private:
  void over_all(const Tensor& t) const;
  struct Piece {
    std::int64_t whole, own, count;  // where it begins in the whole buffer, and in what this rank has
  };
  const Parameters& parameters_;
  const DataParallel& parallel_;
  std::vector<Piece> own_;
  std::int64_t chunks_ = 0;
  std::map<std::int64_t, std::int64_t> shared_;  // chunks that nobody has alone, counted
};

}  // namespace ov
