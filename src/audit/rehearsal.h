// One step of an objective on a device without memory, by one rank of a mesh whose others are not there: what `plan` is
// made of (audit/plan.h).
//
// What passes between ranks is counted. Two things that others would say change what this rank does, and are made up:
//   rows of a mixture  on every rank the rows of a leaf are spread over the experts evenly (nn/moe.h)
//   who runs what      a turn of ranks that share experts or class tables is leaves in order (parallel/expert.h)
#pragma once
#include <optional>

#include "audit/plan.h"
#include "comm/absent_ranks.h"
#include "parallel/mesh.h"

namespace ov {

class Rehearsal {
 public:
  Rehearsal(const PlanOptions& options, Plan& plan);
  void step(Objective& objective);  // fills in the plan

  // What an objective tells: it is in this rank's part of a turn, with a leaf or (-1) without.
  class Turn {
   public:
    Turn(Rehearsal& on, std::int64_t leaf);
    ~Turn();
    Turn(const Turn&) = delete;

   private:
    Rehearsal* const on_;
  };
  // Experts, and layers that have some; by leaf, rows that a router hands to them, on a rank that stands where this one
  // does; which leaves all ranks run forward together, one after another, before the step (train.aux_scope global).
  struct Mixture {
    std::int64_t experts = 0, layers = 0;
    std::vector<std::int64_t> rows = {}, counted = {};
  };
  Mixture mixture;

  Device& device() { return *device_; }

 private:
  void hear(Call call, const Parts& to, const Parts& from, bool beside);
  void answer(Call call, const Parts& from);

  Plan& plan_;
  const PlanOptions options_;
  const std::unique_ptr<MetaDevice> device_;
  MetaDevice host_;
  std::int64_t turn_ = -1, counts_ = 0;  // of choices that were exchanged before the first turn

 public:
  MetaDevice outside;  // where the loader's pixels stand
  TrainOptions train;
  AbsentRanks world;
  Mesh mesh;
};

// The same step again and again.
class SameSteps : public StepSource {
 public:
  explicit SameSteps(GlobalStep step) : step_(std::move(step)) {}
  GlobalStep next() override { return step_; }
  Json state() const override { return {}; }
  void restore(const Json&) override {}

 private:
  GlobalStep step_;
};

// An objective that says whose turn it is.
template <class Objective>
class InTurns : public Objective {
 public:
  template <class... Arguments>
  explicit InTurns(Rehearsal& on, Arguments&&... of) : Objective(std::forward<Arguments>(of)...), on_(on) {}
  void run(std::int64_t leaf, Tape& tape, const Tensor& scalars) override {
    const Rehearsal::Turn turn(on_, leaf);
    Objective::run(leaf, tape, scalars);
  }
  void serve(Tape& tape) override {
    const Rehearsal::Turn turn(on_, -1);
    Objective::serve(tape);
  }

 protected:
  Rehearsal& on_;
};

// The language objective. labelled: rows that pass through the head, the first of each micro-batch; 0: as labels say.
class RehearsedLanguage : public InTurns<LanguageObjective> {
 public:
  RehearsedLanguage(Onevision& model, StepSource& data, Rehearsal& on, std::int64_t labelled)
      : InTurns(on, model, data, on.train, on.mesh.context), labelled_(labelled) {
    describe(model.config(), data.next());
  }
  Loaded prepare(std::int64_t step) override;

 private:
  void describe(const ModelConfig& model, const GlobalStep& step);
  std::int64_t labelled_;
};

using RehearsedRegions = InTurns<RegionObjective>;

}  // namespace ov
