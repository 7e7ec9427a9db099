// LLaVA-OneVision-1.5: vision tower, merger, decoder and language head as one model, over packed segments; or a decoder
// and its head alone (ModelConfig::has_tower).
#pragma once
#include <memory>

#include "model/decoder.h"
#include "model/rice_vit.h"

namespace ov {

// A packed row of tokens with its pictures. Image placeholders in input_ids are replaced by merged patch features, in
// order.
struct OnevisionInputs {
  std::vector<std::int64_t> input_ids;  // [T], on the host: where pictures stand is read there
  Tensor positions;                     // [T] i64, restarting in every segment, going on after a prefix
  std::shared_ptr<const kernels::Segments> segments;
  Tensor pixel_values;      // [P, 3·14·14] of any floating dtype, on any device, null without pictures
  std::vector<Grid> grids;  // one a picture
  // By token, the row of the features that stands there, -1 for text. Empty: at the placeholders, in order.
  std::vector<std::int64_t> feature_rows = {};
  std::shared_ptr<const ContextPart> context = {};  // null: all of the row is here
};
// Which feature row stands at each token: -1 for text. input_error unless there are as many.
std::vector<std::int64_t> image_sources(const std::vector<std::int64_t>& ids, std::int64_t image_token,
                                        std::int64_t features);

// One causal segment over all ids, positions from 0.
OnevisionInputs single_segment(const std::vector<std::int64_t>& ids, const Tensor& pixel_values,
                               const std::vector<Grid>& grids, Device& device);

class Onevision {
 public:
  explicit Onevision(const ModelConfig& config, Communicator& tensor = one_rank(), Communicator& pipe = one_rank(),
                     int chunks = 1, Communicator& experts = one_rank());  // chunks: of each rank of the pipeline
  Onevision(const Onevision&) = delete;

  // Merged features of all pictures [ΣP/4, H]; of tensor-parallel ranks an addend of them; of context-parallel ranks
  // those of their tokens.
  Var encode_images(Tape* tape, const OnevisionInputs& inputs) const;
  // Hidden states after the last norm [T,H]. `features`: what encode_images gave; null without pictures.
  Var hidden(Tape* tape, const OnevisionInputs& inputs, const Var& features, KvStore* cache = nullptr,
             Routers* routers = nullptr) const;
  Var hidden(Tape* tape, const OnevisionInputs& inputs) const {
    return hidden(tape, inputs, encode_images(tape, inputs));
  }
  // What the first layer sees: words, and features where pictures stand [T,C]; of tensor-parallel ranks own rows.
  // words: where the table is lent (parallel/pipeline.h), rows of it go, as an input of the tape.
  Var embed(Tape* tape, const OnevisionInputs& inputs, const Var& features, Var* words = nullptr) const;
  Var logits(const Var& hidden) const;  // [T,V]; of tensor-parallel ranks own columns

  const ModelConfig& config() const { return config_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  const Decoder& decoder() const { return *language_model_; }
  const Chunks& chunks() const { return chunks_; }
  Parameter& head() const { return *lm_head_; }
  const RiceVit& visual() const { return visual_.value(); }

  // Activations within a block are not kept: of all blocks, or of the first so many in the order in which they run, the
  // tower's and then the decoder's layers. The last ones would save no more, and what a block takes while it is run
  // again would come on top of all that is kept.
  bool recompute_blocks = false;
  std::int64_t recompute_first = every_block;
  std::int64_t recomputed_blocks() const { return recompute_blocks ? recompute_first : 0; }  // of the tower
  std::int64_t recomputed_layers() const;                                                    // of the decoder
  // By layer: the experts of every token [T,k] i64, in place of its router's choice, so that runs of two types can be
  // compared where rounding would route a token otherwise. Empty: the routers choose.
  std::vector<Tensor> forced_experts;

 private:
  Var own_features(Tape* tape, const OnevisionInputs& inputs) const;
  ModelConfig config_;
  Chunks chunks_;
  Parameters parameters_;
  std::optional<RiceVit> visual_;
  std::optional<Merger> merger_;
  std::optional<Decoder> language_model_;
  Parameter *lm_head_, *words_;
};

}  // namespace ov
