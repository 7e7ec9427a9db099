// The part of RICE-ViT that exists in pre-training only (RICE, Xie et al. 2025, 3.2): Region Transformer layers behind
// the tower, a projection, and the tables of class centres.
//
//   E = tower's rows, class tokens included [N,C];  q⁰_r = the class token of r's picture, or one learned vector
//   layer:  q_r += proj(region_attention(rotate(W_q LN(q_r)), rotate(W_k LN(E)), W_v LN(E)))   over the rows r sees
//           q_r += fc2(gelu(fc1(LN(q_r))))
//   out:    W LN(q_r), without bias [R, D_e]
//
// Every layer projects keys and values from the same E; only the queries evolve. The paper defines neither the query,
// nor the number of layers, nor the projection: what is chosen here is a switch.
#pragma once
#include "kernels/region_attention.h"
#include "model/rice_vit.h"
#include "nn/init.h"
#include "parallel/classes.h"

namespace ov {

enum class RegionQuery { class_token, learned };

struct RegionHeadConfig {
  std::int64_t layers = 2;     // the paper: not given
  std::int64_t embedding = 0;  // D_e; 0: the tower's width
  RegionQuery query = RegionQuery::class_token;
  bool mlp = true;               // the second half of a layer
  bool rope = true;              // keys are rotated by row and column, queries by the class token's angles
  bool class_token_key = false;  // the picture's class token is visible to its regions
  // A patch is visible when the box covers at least this share of it and more than nothing (0: when the box touches
  // it), and the patch that holds the box's centre always is.
  double min_overlap = 0.5;
  std::int64_t classes = 0, characters = 0;  // rows of the two tables; 0: no table
  std::int64_t blocks = 1;                   // of rows, in which a table lies (parallel/classes.h); at most one a row

  void check() const;  // input_error
};

// A box in patches of its picture: x 1.5 is the middle of the second column.
struct RegionBox {
  std::int64_t picture = 0;
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;
};

// Which of the tower's rows every region sees, ascending. The grids have one frame each.
kernels::RegionTable visible_rows(const std::vector<Grid>& grids, const VisionLayout& layout,
                                  const std::vector<RegionBox>& regions, const RegionHeadConfig& config);

struct RegionLayer {
  RegionLayer(Parameters& set, const std::string& name, const VisionConfig& vision, const RegionHeadConfig& config);
  struct Step {
    std::shared_ptr<const kernels::RegionSegments> table;
    RopeTable key_angles, query_angles;  // null without rotation
  };
  Var forward(const Var& q_RC, const Var& e_NC, const Step& step) const;

  std::string name;
  std::int64_t heads, head_dim;
  LayerNorm norm_q, norm_kv, norm2;
  Linear q, kv, proj, fc1, fc2;  // fc1 and fc2 only with an MLP
};

struct RegionHead {
  RegionHead(Parameters& set, const VisionConfig& vision, const RegionHeadConfig& config);
  // e [N,C] as RiceVit::rows gives it -> [R, D_e], not normalised.
  Var forward(const Var& e_NC, const std::vector<Grid>& grids, const VisionLayout& layout,
              const std::vector<RegionBox>& regions, const RiceVit& tower) const;

  RegionHeadConfig config;
  Parameter* probe = nullptr;  // the learned query
  std::vector<RegionLayer> layers;
  LayerNorm norm;
  Linear out;
  // By block its rows of [K, D_e], none where another rank has them; no block without a table.
  std::vector<Parameter*> class_centres, character_centres;
};

// The tower with the head: what pre-training trains.
class RiceModel {
 public:
  // `sharing`: data-parallel ranks that share the class tables (parallel/classes.h).
  RiceModel(const VisionConfig& vision, const RegionHeadConfig& head, Communicator& sharing = one_rank());
  RiceModel(const RiceModel&) = delete;

  // pixel_values [P, 3 patch²], rounded to the model's dtype -> region embeddings [R, D_e].
  Var regions(Tape* tape, const Tensor& pixel_values, const std::vector<Grid>& grids,
              const std::vector<RegionBox>& regions) const;

  // As initialize() of its parameters (nn/init.h); a class starts the same whatever block it lies in.
  void initialize(const InitOptions& options, std::uint64_t seed);

  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }
  const RiceVit& tower() const { return tower_; }
  const RegionHead& head() const { return head_; }

  // Activations within a block of the tower are not kept: of all, or of the first so many.
  bool recompute_blocks = false;
  std::int64_t recompute_first = every_block;

 private:
  Parameters parameters_;
  RiceVit tower_;
  RegionHead head_;
};

// The tower by itself, as a directory: model.safetensors with visual.* as in a LLaVA-OneVision-1.5 checkpoint, without
// the merger, and config.json with the vision_config. The region layers and the class tables are dropped.
// MergeSource::tower (files/merge_sources.h) reads it.
void export_tower(const std::string& directory, const RiceModel& model, Dtype dtype = Dtype::f32);  // as write_model

}  // namespace ov
