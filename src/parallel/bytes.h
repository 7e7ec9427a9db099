// The formulas of data.h, zero1.h to zero3.h, pipeline.h, tensor.h, context.h, expert.h and classes.h as functions:
// bytes that leave the ranks of one axis together in a step. Tests compare them with what `plan` counts, and with what
// real ranks sent.
//
// `gradient` and `value` are bytes of an element: a and b of those headers. `reports`: numbers of 8 bytes that the
// step's report is summed from, losses of labelled rows among them.
#pragma once
#include <cstdint>

namespace ov {

// What a report, or another sum of n numbers of 8 bytes, takes: an all_reduce.
inline std::int64_t report_bytes(std::int64_t ranks, std::int64_t n) { return 2 * (ranks - 1) * 8 * n; }
std::int64_t norm_chunks(std::int64_t trained);  // of the gradient norm (kernels/adamw.h)

struct DataBytes {
  std::int64_t ranks = 1, leaves = 1, trained = 0, gradient = 4, value = 4;
  int zero = 1;
  std::int64_t bucket = 0;    // elements that are summed at a time beside backward (parallel/overlap.h); 0: after it
  std::int64_t gathered = 0;  // ZeRO 3: values that every rank has gathered in the step, of blocks and of the frame
  std::int64_t reports = 0;
  // Of ranks of a pipeline, the norm is over the whole model's chunks: of so many parameters, of which so many chunks
  // are put together first (parallel/pipeline.h). 0: there is none.
  std::int64_t whole_trained = 0, shared = 0;
  std::int64_t total() const;
};

struct PipelineBytes {
  std::int64_t ranks = 1, chunks = 1;  // of all ranks together: K
  std::int64_t leaves = 1, tokens = 0, width = 0, vocabulary = 0, experts = 0, gradient = 4, value = 4;
  bool tied = false;   // and trained
  bool learns = true;  // something before the last chunk
  std::int64_t trained = 0, shared = 0, reports = 0;
  std::int64_t total() const;
};

struct TensorBytes {
  std::int64_t ranks = 1, leaves = 1;
  std::int64_t tokens = 0, patches = 0, labelled = 0;  // of all leaves; patches with class tokens
  std::int64_t layers = 0, width = 0, blocks = 0, tower_width = 0, gradient = 4, value = 4;
  bool recompute = false;
  bool decoder_learns = true, tower_learns = true;  // something flows back through them
  std::int64_t uncut = 0, held = 0;                 // parameters that are updated and not cut, and all that are trained
  std::int64_t total() const;
};

struct ContextBytes {
  std::int64_t ranks = 1, leaves = 1;
  std::int64_t cut = 0, prefix = 0, features = 0;      // L, Q and F of all leaves
  std::int64_t layers = 0, keys = 0, width = 0;        // keys: of k and v together, 2 K H
  std::int64_t experts = 0, trained = 0, reports = 0;  // experts: where they are balanced
  std::int64_t gradient = 4, value = 4;
  bool recompute = false;
  std::int64_t total() const;
};

struct ExpertBytes {
  std::int64_t ranks = 1, turns = 1;
  std::int64_t experts = 0, layers = 0, chose = 0, width = 0;   // chose: X, of one pass of all leaves
  std::int64_t rest = 0, trained = 0, shared = 0, reports = 0;  // rest: S; trained: of the model; shared: B
  std::int64_t gradient = 4, value = 4;
  bool tree = true, recompute = false;
  std::int64_t total() const;
};

struct ClassBytes {
  std::int64_t ranks = 1, turns = 1;
  // Of all leaves: R; numbers of the loss; labels, of a row and draw each once.
  std::int64_t regions = 0, numbers = 0, labels = 0, tables = 1, width = 0;
  std::int64_t rest = 0, trained = 0, shared = 0, reports = 0;  // as above
  std::int64_t gradient = 4, value = 4;
  bool tree = true;
  std::int64_t total() const;
};

}  // namespace ov
