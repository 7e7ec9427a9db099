#include "audit/rehearsal.h"

#include <numeric>

#include "kernels/gpu/cublaslt.h"
#include "kernels/rehearsed.h"
#include "parallel/expert.h"
#include "train/objectives/language_context.h"

namespace ov {
namespace {

const char* module_of(const Parameter& p) {
  if (is_lora(p)) return "LoRA";
  if (p.module == Module::vision_model) return "vision tower";
  if (p.module == Module::adapter) return "merger";
  if (p.module == Module::experts) return "experts";
  if (p.module == Module::region_head) return p.role == Role::embedding ? "class centres" : "region head";
  return p.role == Role::embedding ? "embedding" : p.role == Role::head ? "head" : "decoder";
}

void count_parameters(const Parameters& parameters, Plan& plan) {
  for (const char* name :
       {"vision tower", "merger", "embedding", "decoder", "experts", "head", "LoRA", "region head", "class centres"})
    plan.modules.push_back({name});
  for (const auto& e : parameters.entries()) {
    for (Plan::Module& m : plan.modules) {
      if (m.name != module_of(e.parameter)) continue;
      ++m.tensors;
      m.parameters += e.whole.numel();
      if (e.parameter.trainable) m.trained += e.whole.numel();
    }
  }
  std::erase_if(plan.modules, [](const Plan::Module& m) { return m.tensors == 0; });
  for (const Plan::Module& m : plan.modules) {
    plan.tensors += m.tensors;
    plan.parameters += m.parameters;
    plan.trained += m.trained;
  }
}

// What a GPU runs. Its kernels ask where a tensor lies: every block at a multiple of 256 bytes, as there.
class GpuToCome : public MetaDevice {
 public:
  bool fuses() const override { return true; }

 private:
  void* obtain(std::size_t, Segment) override { return reinterpret_cast<void*>(std::uintptr_t{256}); }
};

}  // namespace

Rehearsal::Rehearsal(const PlanOptions& options, Plan& plan)
    : plan_(plan),
      options_(options),
      device_(options.gpu ? std::make_unique<GpuToCome>() : std::make_unique<MetaDevice>()),
      train(options.train),
      world(
          options.rank, options.ranks,
          [this](Call call, const Parts& to, const Parts& from, bool beside) { hear(call, to, from, beside); },
          !options.gpu, options.machines),
      mesh(world, train.tensor, train.pipeline, train.context, train.experts, train.classes, true) {
  outside.table = &kernels::meta_table();
  device_->table = options.gpu ? &kernels::rehearsed_table() : &kernels::meta_table();
  if (train.optimizer.state_on) train.optimizer.state_on = &host_;
  train.steps = options.gpu ? 2 : 1;  // one is made; on a GPU the next one's pictures come in it
  train.checksum_every = 0;
}

// Ranks that share nothing run leaves side by side, and nobody asks for their turn.
Rehearsal::Turn::Turn(Rehearsal& on, std::int64_t leaf) : on_(on.mesh.experts.ranks() > 1 ? &on : nullptr) {
  // A rank without a leaf is in the last turn.
  if (on_) on.turn_ = (leaf < 0 ? on.plan_.micro_batches : leaf) / on.mesh.experts.ranks();
}

Rehearsal::Turn::~Turn() {
  if (on_) on_->turn_ = -1;
}

// What arrives in `from` from ranks that share experts or class tables.
void Rehearsal::answer(Call call, const Parts& from) {
  const int n = mesh.experts.ranks(), self = mesh.experts.rank(), apart = train.tensor * train.context * train.pipeline,
            first = world.rank() - self * apart;
  if (n == 1) return;
  bool counts = false;
  for (int j = 0; j < n; ++j) {
    const Tensor& t = from[static_cast<std::size_t>(first + j * apart)];
    if (j == self || !t || t.dtype() != Dtype::i64 || !t.has_data()) continue;
    std::int64_t leaf = turn_ * n + j;
    counts = call == Call::all_to_all;
    if (turn_ < 0) {
      if (!counts) continue;  // numbers of the report
      leaf = mixture.counted.at(static_cast<std::size_t>(counts_ / mixture.layers));
    }
    const bool there = leaf < plan_.micro_batches;
    auto* say = t.data<std::int64_t>();
    if (call == Call::all_gather && train.classes > 1 && t.numel() == 1) say[0] = there ? leaf : -1;
    if (!counts) continue;
    say[0] = there;
    const auto rows = even_rows(there ? mixture.rows.at(static_cast<std::size_t>(leaf)) : 0, mixture.experts);
    for (std::int64_t e = 1; e < t.numel(); ++e)
      say[e] = rows[static_cast<std::size_t>(self * (t.numel() - 1) + e - 1)];
  }
  counts_ += counts;
}

void Rehearsal::hear(Call call, const Parts& to, const Parts& from, bool beside) {
  const auto add = [&](const Parts& parts, std::map<int, std::int64_t> Plan::Traffic::*by_rank) {
    std::string axis;
    for (std::size_t r = 0; r < parts.size(); ++r) {
      if (!parts[r]) continue;
      const auto peer = static_cast<int>(r);
      axis = axis_between(world.rank(), peer,
                          {train.tensor, train.pipeline, train.context, train.experts * train.classes});
      if (axis == "experts" && train.classes > 1) axis = "classes";
      // Rows and keys go within a pass, gradients behind it.
      if ((axis == "experts" || axis == "context") && call != Call::all_to_all) axis += " sums";
      if (axis == "data" && beside) axis += " beside";
      else if (axis == "data" && call == Call::reduce_scatter) axis += " sums";
      else if (axis == "data" && call == Call::all_gather) axis += " values";
      (plan_.traffic[axis].*by_rank)[peer] += static_cast<std::int64_t>(parts[r].nbytes());
    }
    return axis;
  };
  const std::string sent = add(to, &Plan::Traffic::sent), received = add(from, &Plan::Traffic::received);
  if (!sent.empty() || !received.empty()) ++plan_.traffic[sent.empty() ? received : sent].calls;
  answer(call, from);
}

void Rehearsal::step(Objective& objective) {
  StepEngine engine(objective, train, mesh.data);
  if (engine.parallel().divides_values()) device_->reset_peaks();  // of all values, before they were divided
  plan_.micro_batches = options_.micro_batches;
  const Tensor library =
      options_.gpu ? Tensor({gpu::cublaslt_workspace_taken}, Dtype::u8, *device_, Segment::workspace) : Tensor();
  plan_.floor_seconds = engine.step().floor_seconds;
  const Parameters& parameters = objective.parameters();
  count_parameters(parameters, plan_);
  plan_.held = parameters.count(), plan_.held_trained = parameters.trained();
  plan_.updated = engine.optimizer().own().size();
  if (engine.overlaps()) plan_.buckets = (parameters.trained() + engine.options().bucket - 1) / engine.options().bucket;
  else if (engine.ranks().ranks() > 1)
    plan_.hindrance = Overlap::hindrance(engine.parallel(), parameters, engine.context());
  const Range own = engine.optimizer().own();
  for (const auto& e : parameters.entries())
    if (e.parameter.trainable && e.cut == Cut::none)
      plan_.uncut += std::max<std::int64_t>(
          0, std::min(own.end, e.parameter.gradient + e.shape.numel()) - std::max(own.begin, e.parameter.gradient));
  const std::int64_t n = mesh.experts.ranks(), turns = (options_.micro_batches + n - 1) / n;
  for (const DataParallel::Round& r : engine.parallel().rounds(turns)) plan_.rounds.push_back(r.own.size());
  if (parameters.pipe().ranks() > 1)
    plan_.stage = parameters.stages.at(static_cast<std::size_t>(parameters.pipe().rank()));
  if (parameters.pipe().ranks() > 1 || n > 1) plan_.shared_chunks = WholeChunks(parameters, engine.parallel()).shared();
  plan_.scalars = objective.scalars();
  plan_.dtype = options_.dtype;
  plan_.forward_flops = 2.0 * static_cast<double>(engine.products().forward);
  plan_.backward_flops = 2.0 * static_cast<double>(engine.products().backward);
  plan_.recomputed_flops = 2.0 * static_cast<double>(engine.products().recomputed);
  plan_.memory = device_->memory();
  plan_.host = host_.memory();
}

Loaded RehearsedLanguage::prepare(std::int64_t step) {
  const Loaded loaded = LanguageObjective::prepare(step);
  for (LossTargets& t : targets_.micro_batches) {
    if (labelled_ == 0) break;
    t.rows.resize(static_cast<std::size_t>(labelled_));
    std::iota(t.rows.begin(), t.rows.end(), 0);
  }
  return loaded;
}

void RehearsedLanguage::describe(const ModelConfig& model, const GlobalStep& step) {
  Rehearsal::Mixture& m = on_.mixture;
  m.experts = model.text.experts;
  for (std::int64_t i = 0; i < model.text.layers; ++i) m.layers += model.text.is_moe(i);
  const StepTargets targets = loss_targets(step, on_.train.normalise_by);
  for (std::size_t i = 0; m.layers > 0 && i < step.micro_batches.size(); ++i) {
    const MicroBatch& row = step.micro_batches[i];
    std::int64_t tokens = row.tokens();
    if (const int c = on_.mesh.context.ranks(); c > 1)
      tokens = std::ssize(shared_row(model, row, targets.micro_batches[i], c)
                              .plan.tokens[static_cast<std::size_t>(on_.mesh.context.rank())]);
    m.rows.push_back(tokens * model.text.experts_per_token);
    if (on_.train.aux_global && row.tokens() > 0) m.counted.push_back(static_cast<std::int64_t>(i));
  }
}

}  // namespace ov
