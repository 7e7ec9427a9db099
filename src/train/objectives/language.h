// Language modelling over packed rows: the loss of `train` and of `pretrain --what text`. Trace and plan run it too.
#pragma once
#include <atomic>
#include <optional>
#include <set>

#include "data/normalise.h"
#include "data/source.h"
#include "model/onevision.h"
#include "parallel/context.h"
#include "train/engine.h"

namespace ov {

struct TrainOptions : StepOptions {
  NormaliseBy normalise_by = NormaliseBy::global_token_mean;
  std::vector<std::string> modules = {"language_model", "adapter", "vision_model"};
  bool train_class_params = true;  // the original keeps class_embedding and class_pos_emb frozen
  bool aux_global = false;         // the load-balancing loss is of the whole step, not of each micro-batch
  std::int64_t loss_rows = 0;      // that pass through the head at a time, a multiple of 384; 0: all at once
};

// Which parameters a freeze set trains: names as the original's --trainable-modules. lora: what is learnt beside them
// (nn/lora.h), and nothing else.
Parameters::Choice trainable(const std::vector<std::string>& modules, bool class_params, bool lora = false);

// context: of a rank's part of a row (train/objectives/language_context.h), which is then `batch`.
// pixels: the batch's on the device, where they are there already.
using SharedContext = std::shared_ptr<const ContextPart>;
OnevisionInputs model_inputs(const MicroBatch& batch, Dtype dtype, Device& device, const SharedContext& context = {},
                             const Tensor& pixels = {});

// What balances the experts of a mixture (kernels/router.h): router_aux_loss_coef times E Σ_e f_e P_e, where f_e is how
// often a row chose expert e and P_e its mean probability, over the rows of all layers and tokens (rows hold no
// padding):
//   micro_batch   of each micro-batch, and the mean over the step's: what Transformers gives for each of them
//   global        of all tokens of the step at once. f is counted first, in a forward pass without a tape
struct LoadBalance {
  std::int64_t micro_batches = 1, rows = 0;  // of the step, over all ranks; empty micro-batches do not count
  std::vector<std::int64_t> counts = {};     // how often each expert was chosen in the step; empty: scope micro_batch
};

struct LanguageLoss {
  Var logits;         // [rows with a target, V]; null where they pass through the head in parts
  Var loss;           // [1], Σ w ce / D: this micro-batch's part of what is optimised
  Tensor token_loss;  // [rows with a target], ce
  Var aux;            // [1], this micro-batch's part of the load-balancing loss; null where there is none
  double aux_coef = 0;
  void backward(Tape& tape) const;  // from loss + aux_coef aux
};
// From hidden states after the last norm, all rows, on.
struct HeadLoss {
  Var logits, loss;
  Tensor token_loss;
};
HeadLoss head_loss(const Onevision& model, const Var& hidden, const LossTargets& targets, double denominator,
                   std::int64_t loss_rows = 0);
bool balances(const TextConfig& text);  // has experts, and they are balanced
// `probabilities` of some layers' routers, own_rows in all layers of the micro-batch; counts: of those, unless the step
// says others.
Var balance_loss(const std::vector<Var>& probabilities, const Tensor& counts, std::int64_t own_rows,
                 const LoadBalance& step);
LanguageLoss language_loss(const Onevision& model, Tape& tape, const MicroBatch& batch, const LossTargets& targets,
                           double denominator, const LoadBalance& balance = {}, std::int64_t loss_rows = 0,
                           const SharedContext& context = {}, const Tensor& pixels = {});

// What ranks have of a row that they share.
struct SharedRow {
  ContextPlan plan;
  std::vector<std::vector<std::size_t>> labelled;  // by rank, which of the row's labelled tokens it has
};

// One rank's part: a row of its tokens, pictures and labels, whose segments stand in `context`.
struct RowPart {
  MicroBatch batch;
  LossTargets targets;
  SharedContext context;
};

class LanguageObjective : public Objective {
 public:
  // Sets what is trained; input_error when that is nothing. context: ranks that share every row.
  LanguageObjective(Onevision& model, StepSource& data, const TrainOptions& options,
                    Communicator& context = one_rank());

  Parameters& parameters() const override { return model_.parameters(); }
  bool says_needs() const override { return true; }
  Loaded prepare(std::int64_t step) override;
  // Where the model is on a GPU, the next step's data is taken and the pictures of its first micro-batch are sent while
  // this step computes: the copy is queued behind what computes, and nobody waits. On the CPU nothing is to be sent.
  void prefetch() override;
  void normalise(const std::vector<std::int64_t>& denominators) override;
  std::int64_t scalars() const override { return first_scalar(targets_.micro_batches.size()); }
  void run(std::int64_t leaf, Tape& tape, const Tensor& scalars) override;
  void serve(Tape& tape) override { serve(tape, false); }
  std::unique_ptr<LeafChunk> begin(std::int64_t leaf, int chunk, const Tensor& gradients, const Tensor& scalars,
                                   Tracer* tracer) override;
  std::vector<Tensor> message(std::int64_t leaf, int step) const override;
  void add_lent(std::int64_t leaf, const std::vector<Tensor>& from, const Tensor& gradient) const override;
  int chunks() const override { return model_.chunks().last() + 1; }
  Communicator& context() const override { return context_; }
  // Parts: token_loss, the mean over the step's labelled tokens; token_loss_of, the same for each data set by itself,
  // once a run has met two (sixteen at most); aux_loss, before its coefficient.
  Losses losses(std::span<const double> scalars) override;
  std::uint64_t batch_checksum() const override;
  Json state() const override { return ahead_ ? ahead_->before : source_.state(); }
  void restore(const Json& state) override {
    ahead_.reset(), pixels_ = {};
    source_.restore(state);
  }

 protected:
  GlobalStep data_;
  StepTargets targets_;

 private:
  void serve(Tape& tape, bool leaf) const;
  // A leaf's: its loss, by rank that shares it; those of its labelled tokens, by rank too; aux, likewise.
  std::int64_t first_scalar(std::size_t leaf) const;
  struct Places {
    Tensor loss, token_loss, aux;
  };
  Places places(std::size_t leaf, const Tensor& scalars) const;
  const RowPart& part_here(std::size_t leaf) const;
  const MicroBatch& row_here(std::size_t leaf) const;  // all of it where nobody shares it
  std::int64_t aux_scalars() const;  // of a leaf and rank: one; in a pipeline one for each layer with experts
  Onevision& model_;
  StepSource& source_;
  NormaliseBy by_;
  bool aux_global_;
  std::int64_t loss_rows_;
  static constexpr std::size_t most_sources = 16;
  std::set<std::string> sources_;  // that labelled tokens came from so far
  LoadBalance balance_;
  Communicator& context_;
  struct Ahead {
    Json before;  // where the data stood
    GlobalStep data;
    std::int64_t leaf = -1;    // whose pictures are on their way
    Tensor pixels;             // there
    std::exception_ptr error;  // prepare()'s to throw
  };
  std::optional<Ahead> ahead_;                 // the step to come
  std::int64_t pixels_of_ = -1;                // of the step at hand, the leaf whose pictures are there
  Tensor pixels_;                              // until it runs
  std::atomic<std::int64_t> first_ = no_leaf;  // of this rank's leaves in the step at hand, as far as they have begun
  static constexpr std::int64_t no_leaf = INT64_MAX;
  std::vector<SharedRow> shared_;       // by leaf, where several ranks share them
  mutable std::vector<RowPart> parts_;  // by leaf, as far as this rank has met them
};

}  // namespace ov
