// DPO as an objective of the engine (train/objective.h). A leaf is one pair: its prompt once, as a prefix, and behind
// it the chosen and the rejected answer as branches (rl/branches.h); the original runs the prompt and its pictures
// twice.
//
//   L    = Σ_t log π(y_t | x, y_<t)                    of either answer, the line end included (rl/preferences.h)
//   loss = Σ_pairs loss(L_c, L_r, L_c,ref, L_r,ref) / pairs       rl/losses/preference.h
//
// The reference is the model that the run starts from. Its sums are read once, before the first step, for the pairs
// that the run will meet, and kept in out/references.jsonl:
//
//   {"type": "references", "weights", "config", "dtype", "numerics", "processor", "pixels", "records"}
//   {"id", "chosen", "rejected", "chosen_tokens", "rejected_tokens"}      sums of log-probabilities, all digits
//
// A run that goes on reads them there; the first line must say what it would say now. At the first step the trainer's
// sums are the reference's bit for bit, so every margin is 0.
//
// Of a step's pairs only counts are kept: a pair's pictures are read once to count its tokens, and again when it runs.
// So memory does not grow with rl.prompts.
#pragma once
#include <functional>
#include <map>

#include "rl/branches.h"
#include "rl/losses/preference.h"
#include "rl/preferences.h"
#include "rl/prompt_order.h"
#include "train/engine.h"

namespace ov::rl {

struct PreferenceRun {
  OrderOptions order = {};          // `prompts`: pairs of a step
  PreferenceOptions loss = {};      // beta, kind, label_smoothing
  std::int64_t max_tokens = 32768;  // of a pair: prompt and both answers. input_error for a longer one: nothing is cut
  PixelLimits limits = {};
};

// Sums of the reference by record.
struct ReferenceSums {
  double chosen = 0, rejected = 0;
};
using References = std::map<const Record*, ReferenceSums>;

class PreferenceObjective : public Objective {
 public:
  PreferenceObjective(Onevision& model, const Processor& processor, const RecordFile& records,
                      const PreferenceRun& options);

  // Reads what is in `path`, works out what is missing of the pairs of `steps` steps with the model as it is, ranks
  // side by side, and adds it there; rank 0 alone writes, a line at a time, so that a run that is cut off goes on from
  // there. about: what the sums depend on. progress is told on every rank, when `done` pairs are written; it may
  // throw. input_error when the file is of something else, or names its line when that is no pair's.
  void find_references(const std::string& path, const Json& about, std::int64_t steps, Communicator& ranks,
                       const std::function<void(std::int64_t done, std::int64_t all)>& progress = nullptr);
  const References& references() const { return references_; }

  Parameters& parameters() const override { return model_.parameters(); }
  Loaded prepare(std::int64_t step) override;
  void normalise(const std::vector<std::int64_t>& denominators) override { pairs_ = denominators.at(0); }
  std::int64_t scalars() const override { return std::ssize(leaves_) * scalars_of_leaf; }
  void run(std::int64_t leaf, Tape& tape, const Tensor& scalars) override;
  // Parts: margin (of rewards, β (L - L_ref), of ipo a token's), accuracy (share of pairs whose margin is above 0),
  // chosen_reward, rejected_reward, chosen_logprob, rejected_logprob (L): means over pairs. `labelled`: tokens of the
  // answers.
  Losses losses(std::span<const double> scalars) override;
  std::uint64_t batch_checksum() const override;
  Json state() const override { return Json::object({{"step", steps_}}); }
  void restore(const Json& state) override { steps_ = state.at("step").as_int(); }

 private:
  static constexpr std::int64_t scalars_of_leaf = 7;
  struct Leaf {
    const Record* record = nullptr;
    std::int64_t tokens = 0, patches = 0, labelled = 0;  // labelled: tokens of the answers
    std::uint64_t checksum = 0;                          // of its tokens and pixels
  };
  Branches branches_of(const Record& record) const;  // the chosen answer, then the rejected
  Leaf leaf_of(const Record& record) const;
  void add_known(const std::string& lines, const std::string& path);

  Onevision& model_;
  const Processor& processor_;
  const RecordFile& records_;
  PreferenceRun options_;
  PromptOrder order_;
  References references_;
  std::vector<Leaf> leaves_;
  std::int64_t steps_ = 0, pairs_ = 0;
};

}  // namespace ov::rl
