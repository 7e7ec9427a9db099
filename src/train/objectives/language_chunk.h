// Language modelling of one leaf in one chunk of a model (parallel/pipeline.h).
//
// Between chunks go, forward: h [rows,C], and where experts are balanced how often each was chosen so far [E] i64;
// backward: dh [rows,C] of the accumulation type, and those counts of all layers. To the holder of a lent table: the
// gradient of the words that were looked up.
#pragma once
#include "train/objectives/language_context.h"

namespace ov {

class LanguageChunk : public LeafChunk {
 public:
  struct Leaf {
    const MicroBatch* batch;  // of a shared row this rank's part, as `context` says
    const LossTargets* targets;
    SharedContext context;
    double denominator;
    LoadBalance balance;
    std::int64_t loss_rows;
    Tensor loss, token_loss, aux;  // where those go; aux [layers with experts], of all chunks
  };
  LanguageChunk(const Onevision& model, int chunk, const Leaf& leaf, const Tensor& gradients, Tracer* tracer);
  std::vector<Tensor> forward(const std::vector<Tensor>& from) override;
  std::vector<Tensor> backward(const std::vector<Tensor>& from) override;
  Tape::Products products() const override { return tape_.products(); }
  void measure(OpTimes* times) override { tape_.measure(times); }

  // Of what step `step` of the leaf is handed, tensors to be filled.
  static std::vector<Tensor> message(const Onevision& model, const MicroBatch& batch, const SharedContext& context,
                                     int step);
  // Step 2K: the words' gradient goes into that of the table.
  static void add_words(const Onevision& model, const MicroBatch& batch, const Tensor& words, const Tensor& table);

 private:
  const Onevision& model_;
  const int chunk_;
  const Leaf leaf_;
  Tape tape_;
  Routers routers_;
  Var in_, words_, out_;  // out: h, or in the last chunk the loss
  Tensor counts_;         // so far
};

}  // namespace ov
