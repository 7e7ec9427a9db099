#include "train/objectives/language.h"

#include <array>
#include <cstdio>
#include <map>

#include "base/sum.h"
#include "base/text.h"
#include "kernels/copy.h"
#include "train/checksums.h"
#include "train/objectives/language_chunk.h"
#include "train/objectives/language_context.h"

namespace ov {

Parameters::Choice trainable(const std::vector<std::string>& modules, bool class_params, bool lora) {
  bool language = false, adapter = false, vision = false;
  for (const std::string& m : modules) {
    if (m == "language_model") language = true;
    else if (m == "adapter") adapter = true;
    else if (m == "vision_model") vision = true;
    else
      input_error("train.modules: '", m, "' is none of language_model, adapter, vision_model",
                  did_you_mean(m, {"language_model", "adapter", "vision_model"}));
  }
  return [=](const Parameter& p) {
    if (lora != is_lora(p)) return false;
    if (p.module == Module::adapter) return adapter;
    if (p.module != Module::vision_model) return language;
    return vision && (class_params || (p.role != Role::class_vector && p.role != Role::class_angles));
  };
}

OnevisionInputs model_inputs(const MicroBatch& batch, Dtype dtype, Device& device, const SharedContext& context,
                             const Tensor& pixels) {
  OnevisionInputs in;
  in.input_ids = batch.input_ids;
  in.positions = index_tensor("positions", batch.positions, {batch.tokens()}, 0, INT64_MAX, device);
  kernels::SegmentTable table;
  for (const TokenSegment& s : batch.segments) table.push_back({s.begin, s.length, s.begin, s.length, s.prefix});
  in.segments =
      context ? context->segments
              : std::make_shared<kernels::Segments>(std::move(table), batch.tokens(), batch.tokens(), true, device);
  in.context = context;
  if (context) in.feature_rows = context->feature_rows;
  if (pixels) in.pixel_values = pixels;
  else if (batch.pixel_values)
    in.pixel_values =
        batch.pixel_values.dtype() == dtype ? batch.pixel_values : batch.pixel_values.to(dtype, Segment::data);
  for (const auto& g : batch.grids) in.grids.push_back({g[0], g[1], g[2]});
  return in;
}

bool balances(const TextConfig& text) {
  bool any = false;
  for (std::int64_t i = 0; i < text.layers; ++i) any = any || text.is_moe(i);
  return any && text.router_aux_loss_coef > 0;
}

Var balance_loss(const std::vector<Var>& probabilities, const Tensor& counts, std::int64_t own_rows,
                 const LoadBalance& step) {
  const auto E = static_cast<double>(probabilities.at(0).dim(1));
  const auto N = static_cast<double>(step.counts.empty() ? own_rows : step.rows);
  const double share = step.counts.empty() ? static_cast<double>(step.micro_batches) : 1;
  const Tensor all = step.counts.empty()
                         ? counts
                         : Tensor::of(step.counts, {static_cast<std::int64_t>(step.counts.size())}, counts.device());
  return load_balance_loss(probabilities, all, E / (N * N * share));
}

namespace {

std::int64_t whole_rows(const Routers& routers, const SharedContext& context) {
  std::int64_t rows = 0;
  for (const Var& p : routers.probabilities) rows += context ? context->tokens : p.dim(0);
  return rows;
}

Var aux_loss(const Routers& routers, const LoadBalance& step, const SharedContext& context) {
  return balance_loss(routers.probabilities, whole_counts(routers, context), whole_rows(routers, context), step);
}

// How often each expert is chosen by the tokens of a micro-batch, and by how many rows.
void count_choices(const Onevision& model, const MicroBatch& batch, const SharedContext& context, LoadBalance& step) {
  Routers routers;
  const OnevisionInputs in = model_inputs(batch, model.parameters().dtype(), model.parameters().device(), context);
  model.hidden(nullptr, in, model.encode_images(nullptr, in), nullptr, &routers);
  step.rows += whole_rows(routers, context);
  const Tensor counts = whole_counts(routers, context);
  if (!counts.has_data()) return;
  const auto own = counts.to_vector<std::int64_t>();
  for (std::size_t e = 0; e < own.size(); ++e) step.counts[e] += own[e];
}

// The load-balancing losses of layers, added as one op adds them: in the accumulation type, one after another.
double chained(const double* losses, std::int64_t n, Dtype dtype) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i)
    sum = dtype == Dtype::f64 ? sum + losses[i]
                              : static_cast<double>(static_cast<float>(sum) + static_cast<float>(losses[i]));
  return sum;
}

// The losses of a micro-batch's labelled rows, by the data set that each row's sample comes from.
void sort_by_source(const MicroBatch& batch, const std::vector<std::int64_t>& rows, const double* ce,
                    std::map<std::string, std::vector<double>>& by_source) {
  if (batch.source_of_sample.empty()) return;
  std::size_t s = 0;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    while (s + 1 < batch.segments.size() && batch.segments[s + 1].begin <= rows[r]) ++s;
    const std::string& source = batch.source_of_sample[static_cast<std::size_t>(batch.sample_of_segment[s])];
    by_source[source].push_back(ce[r]);
  }
}

}  // namespace

void LanguageLoss::backward(Tape& tape) const {
  if (!aux) return backward_from(tape, std::span(&loss, 1));
  const Tensor one = Tensor::like(loss.value), coef = Tensor::like(aux.value);
  one.fill(1), coef.fill(aux_coef);
  tape.backward(std::array{loss, aux}, std::array{one, coef});
}

HeadLoss head_loss(const Onevision& model, const Var& hidden, const LossTargets& targets, double denominator,
                   std::int64_t loss_rows) {
  const Dtype dtype = model.parameters().dtype();
  Device& device = model.parameters().device();
  const auto rows = static_cast<std::int64_t>(targets.rows.size());
  // Only rows that predict a labelled token pass through the language head.
  const Tensor index = index_tensor("labelled rows", targets.rows, {rows}, 0, hidden.dim(0), device);
  const Var h = take_rows(hidden, index), logits = loss_rows ? Var{} : model.logits(h);

  std::vector<std::int64_t> target;
  std::vector<double> weight;
  for (const std::int64_t t : targets.rows) {
    const std::int64_t id = targets.targets[static_cast<std::size_t>(t)];
    target.push_back(id == ignored_label ? 0 : id);  // of weight 0: nobody reads it
    weight.push_back(targets.weights[static_cast<std::size_t>(t)]);
  }
  const Tensor weights = Tensor::of(weight, {rows}).to(accum_dtype(dtype), Segment::data).to(device);
  Communicator& tensor = model.parameters().tensor();
  const Tensor ids = index_tensor("targets", target, {rows}, 0, model.config().text.vocabulary, device);
  const CrossEntropy ce =
      loss_rows            ? linear_cross_entropy(h, on_tape_of(h, &model.head()), ids, weights, denominator, loss_rows)
      : tensor.ranks() > 1 ? vocabulary_cross_entropy(logits, ids, weights, denominator, tensor)
                           : cross_entropy(logits, ids, weights, denominator);
  return {logits, ce.loss, ce.token_loss};
}

LanguageLoss language_loss(const Onevision& model, Tape& tape, const MicroBatch& batch, const LossTargets& targets,
                           double denominator, const LoadBalance& balance, std::int64_t loss_rows,
                           const SharedContext& context, const Tensor& pixels) {
  const OnevisionInputs in =
      model_inputs(batch, model.parameters().dtype(), model.parameters().device(), context, pixels);
  Routers routers;
  const Var hidden = model.hidden(&tape, in, model.encode_images(&tape, in), nullptr, &routers);
  const HeadLoss head = head_loss(model, hidden, targets, denominator, loss_rows);
  LanguageLoss out{head.logits, head.loss, head.token_loss, {}};
  if (!balances(model.config().text)) return out;
  out.aux = aux_loss(routers, balance, context);
  // Tensor-parallel ranks route alike, and gradients of what they do alike are added (parallel/tensor.h).
  out.aux_coef = model.parameters().tensor().rank() == 0 ? model.config().text.router_aux_loss_coef : 0;
  return out;
}

LanguageObjective::LanguageObjective(Onevision& model, StepSource& data, const TrainOptions& options,
                                     Communicator& context)
    : model_(model),
      source_(data),
      by_(options.normalise_by),
      aux_global_(options.aux_global),
      loss_rows_(options.loss_rows),
      context_(context) {
  const bool lora = !model.parameters().adapters().empty();
  model.parameters().train(trainable(options.modules, options.train_class_params, lora));
  if (model.parameters().whole_count().trained == 0) input_error("train.modules: nothing is trained");
  if (aux_global_ && balances(model.config().text) && model.parameters().pipe().ranks() > 1)
    input_error("train.aux_scope global with parallel.pipeline ", model.parameters().pipe().ranks(),
                ": not built; micro_batch is");
  if (context.ranks() > 1) {
    const auto refused = [&](const auto&... why) {
      input_error(why..., " with parallel.context ", context.ranks(), ": not built");
    };
    // What is dropped is drawn by a row's number in the micro-batch.
    if (lora && model.parameters().lora().dropout > 0) refused("lora.dropout ", model.parameters().lora().dropout);
    if (model.config().hf_shift_bug) refused("numerics.hf_shift_bug, which makes pictures depend on those before,");
  }
  if (!loss_rows_) return;
  if (loss_rows_ % linear_cross_entropy_rows)
    input_error("train.loss_rows is ", loss_rows_, ", no multiple of ", linear_cross_entropy_rows,
                ", at which the bits of a run do not depend on it");
  if (model.parameters().tensor().ranks() > 1)
    input_error("train.loss_rows is ", loss_rows_, " with parallel.tensor, whose ranks share the vocabulary; give one");
  for (const auto& a : model.parameters().adapters())
    if (a.w == &model.head())
      input_error("train.loss_rows is ", loss_rows_, " and lora.targets has the head; give one");
}

void LanguageObjective::prefetch() {
  const Parameters& p = model_.parameters();
  const std::int64_t leaf = first_;
  if (p.device().on_host() || leaf == no_leaf || context_.ranks() > 1) return;
  Ahead next{.before = source_.state(), .data = {}, .leaf = leaf, .pixels = {}, .error = {}};
  try {
    next.data = source_.next();
    if (leaf < std::ssize(next.data.micro_batches))
      if (const Tensor& pixels = next.data.micro_batches[static_cast<std::size_t>(leaf)].pixel_values)
        next.pixels = pixels.to(p.dtype(), Segment::data).to(p.device(), Segment::data);
  } catch (...) { next.error = std::current_exception(); }
  ahead_ = std::move(next);
}

Loaded LanguageObjective::prepare(std::int64_t) {
  if (ahead_) {
    Ahead next = std::move(*ahead_);
    ahead_.reset();
    if (next.error) std::rethrow_exception(next.error);
    data_ = std::move(next.data), pixels_ = std::move(next.pixels), pixels_of_ = next.leaf;
  } else {
    data_ = source_.next();
  }
  first_ = no_leaf;
  targets_ = loss_targets(data_, by_);
  shared_.clear(), parts_.clear(), parts_.resize(data_.micro_batches.size());
  for (std::size_t i = 0; context_.ranks() > 1 && i < data_.micro_batches.size(); ++i)
    shared_.push_back(shared_row(model_.config(), data_.micro_batches[i], targets_.micro_batches[i], context_.ranks()));
  Loaded loaded{.leaves = static_cast<std::int64_t>(data_.micro_batches.size()),
                .samples = data_.samples,
                .tokens = data_.tokens,
                .patches = data_.patches,
                .denominators = {static_cast<std::int64_t>(targets_.denominator)}};
  for (const MicroBatch& b : data_.micro_batches) loaded.sizes.push_back(b.tokens() + b.patches());
  if (const TextConfig& text = model_.config().text; balances(text)) {
    LoadBalance own{.micro_batches = 0, .counts = std::vector<std::int64_t>(static_cast<std::size_t>(text.experts))};
    for (std::size_t i = 0; i < data_.micro_batches.size(); ++i) {
      if (data_.micro_batches[i].tokens() == 0) continue;
      ++own.micro_batches;
      if (!aux_global_) continue;  // else all ranks, all of them: those that share experts too
      count_choices(model_, row_here(i), part_here(i).context, own);
    }
    loaded.denominators.insert(loaded.denominators.end(), {own.micro_batches, own.rows});
    if (aux_global_) loaded.denominators.insert(loaded.denominators.end(), own.counts.begin(), own.counts.end());
  }
  return loaded;
}

void LanguageObjective::normalise(const std::vector<std::int64_t>& denominators) {
  targets_.denominator = static_cast<double>(denominators.at(0));
  if (denominators.size() > 2)
    balance_ = {denominators[1], denominators[2], {denominators.begin() + 3, denominators.end()}};
}

std::int64_t LanguageObjective::first_scalar(std::size_t leaf) const {
  std::int64_t n = 0;
  for (std::size_t i = 0; i < leaf; ++i)
    n += (1 + aux_scalars()) * context_.ranks() + static_cast<std::int64_t>(targets_.micro_batches[i].rows.size());
  return n;
}

std::int64_t LanguageObjective::aux_scalars() const {
  const TextConfig& text = model_.config().text;
  if (!balances(text)) return 0;
  if (model_.parameters().pipe().ranks() == 1) return 1;
  std::int64_t n = 0;
  for (std::int64_t i = 0; i < text.layers; ++i) n += text.is_moe(i);
  return n;
}

// Where what this rank has of a leaf goes.
LanguageObjective::Places LanguageObjective::places(std::size_t leaf, const Tensor& scalars) const {
  const std::int64_t c = context_.ranks(), r = context_.rank(), n = aux_scalars(), at = first_scalar(leaf),
                     aux = first_scalar(leaf + 1) - (c - r) * n;
  std::int64_t first = at + c, rows = std::ssize(targets_.micro_batches[leaf].rows);
  for (std::int64_t k = 0; !shared_.empty() && k <= r; ++k) {
    rows = std::ssize(shared_[leaf].labelled[static_cast<std::size_t>(k)]);
    if (k < r) first += rows;
  }
  return {scalars.slice(0, at + r, at + r + 1), scalars.slice(0, first, first + rows), scalars.slice(0, aux, aux + n)};
}

// This rank's of a leaf that several share, kept until the next step; else it has no context.
const RowPart& LanguageObjective::part_here(std::size_t leaf) const {
  RowPart& part = parts_[leaf];
  if (!shared_.empty() && !part.context)
    part = part_of(shared_[leaf], data_.micro_batches[leaf], targets_.micro_batches[leaf], context_,
                   model_.parameters().device());
  return part;
}

const MicroBatch& LanguageObjective::row_here(std::size_t leaf) const {
  return shared_.empty() ? data_.micro_batches[leaf] : part_here(leaf).batch;
}

std::unique_ptr<LeafChunk> LanguageObjective::begin(std::int64_t leaf, int chunk, const Tensor& gradients,
                                                    const Tensor& scalars, Tracer* tracer) {
  const auto i = static_cast<std::size_t>(leaf);
  if (data_.micro_batches[i].tokens() == 0) return nullptr;
  const Places to = places(i, scalars);
  return std::make_unique<LanguageChunk>(
      model_, chunk,
      LanguageChunk::Leaf{&row_here(i), shared_.empty() ? &targets_.micro_batches[i] : &part_here(i).targets,
                          part_here(i).context, targets_.denominator, balance_, loss_rows_, to.loss, to.token_loss,
                          to.aux},
      gradients, tracer);
}

std::vector<Tensor> LanguageObjective::message(std::int64_t leaf, int step) const {
  const auto i = static_cast<std::size_t>(leaf);
  return LanguageChunk::message(model_, row_here(i), part_here(i).context, step);
}

void LanguageObjective::add_lent(std::int64_t leaf, const std::vector<Tensor>& from, const Tensor& gradient) const {
  if (!from.empty()) LanguageChunk::add_words(model_, row_here(static_cast<std::size_t>(leaf)), from[0], gradient);
}

void LanguageObjective::serve(Tape& tape, bool leaf) const {
  if (model_.parameters().experts().ranks() == 1) return;
  const Var end = model_.decoder().serve(tape, leaf, model_.recomputed_layers());
  tape.backward(end, Tensor::like(end.value));
}

void LanguageObjective::run(std::int64_t leaf, Tape& tape, const Tensor& scalars) {
  const auto i = static_cast<std::size_t>(leaf);
  for (std::int64_t first = first_; leaf < first && !first_.compare_exchange_weak(first, leaf);) {}
  if (data_.micro_batches[i].tokens() == 0) return serve(tape, true);  // every record of it is faulty
  const Tensor pixels = leaf == pixels_of_ ? std::exchange(pixels_, {}) : Tensor();
  const LanguageLoss l =
      language_loss(model_, tape, row_here(i), shared_.empty() ? targets_.micro_batches[i] : part_here(i).targets,
                    targets_.denominator, balance_, loss_rows_, part_here(i).context, pixels);
  const Places to = places(i, scalars);
  kernels::copy({.y = to.loss, .x = l.loss.value});
  kernels::copy({.y = to.token_loss, .x = l.token_loss});
  if (l.aux) kernels::copy({.y = to.aux, .x = l.aux.value});
  l.backward(tape);
}

Losses LanguageObjective::losses(std::span<const double> scalars) {
  const auto total = [](const std::vector<double>& v) {
    return sum<double>(static_cast<std::int64_t>(v.size()),
                       [&](std::int64_t i) { return v[static_cast<std::size_t>(i)]; });
  };
  std::vector<double> loss, token_loss;
  const double* next = scalars.data();
  Losses out;
  const TextConfig& text = model_.config().text;
  const bool balanced = balances(text);
  std::vector<double> aux;
  std::map<std::string, std::vector<double>> by_source;
  const int c = context_.ranks();
  for (std::size_t i = 0; i < targets_.micro_batches.size(); ++i) {
    const std::size_t rows = targets_.micro_batches[i].rows.size();
    loss.push_back(total({next, next + c}));
    next += c;
    std::vector<double> ce(next, next + rows);
    if (!shared_.empty())
      for (const auto& labelled : shared_[i].labelled)
        for (const std::size_t place : labelled) ce[place] = *next++;
    else next += rows;
    sort_by_source(data_.micro_batches[i], targets_.micro_batches[i].rows, ce.data(), by_source);
    token_loss.push_back(total(ce));
    std::vector<double> parts;
    for (int r = 0; balanced && r < c; ++r, next += aux_scalars())
      parts.push_back(chained(next, aux_scalars(), model_.parameters().dtype()));
    if (balanced) aux.push_back(total(parts));
    out.labelled += static_cast<std::int64_t>(rows);
  }
  out.loss = total(loss);
  if (balanced) {
    out.loss += text.router_aux_loss_coef * total(aux);
    out.parts.set("aux_loss", total(aux));
  }
  const double mean = out.labelled > 0 ? total(token_loss) / static_cast<double>(out.labelled) : 0;
  out.parts.set("token_loss", mean);
  for (const auto& [source, ce] : by_source)
    if (sources_.size() < most_sources) sources_.insert(source);
  if (sources_.size() > 1) {
    Json means = Json::object();
    for (const auto& [source, ce] : by_source)
      if (sources_.count(source)) means.set(source, total(ce) / static_cast<double>(ce.size()));
    out.parts.set("token_loss_of", means);
  }
  char note[32];
  std::snprintf(note, sizeof note, "loss %.4f", mean);
  out.note = note;
  return out;
}

std::uint64_t LanguageObjective::batch_checksum() const {
  ChecksumOfArrays sum;
  for (const MicroBatch& b : data_.micro_batches) {
    sum.add(b.input_ids.data(), b.tokens());
    sum.add(b.labels.data(), b.tokens());
    sum.add(b.positions.data(), b.tokens());
    if (b.pixel_values) sum.add(b.pixel_values.data<float>(), b.pixel_values.numel());
  }
  return sum.value;
}

}  // namespace ov
