#include "rl/preference_objective.h"

#include <bit>
#include <cmath>
#include <cstdio>
#include <set>

#include "base/parallel.h"
#include "base/sum.h"
#include "rl/losses/policy.h"
#include "store/jsonl.h"
#include "train/checksums.h"

namespace ov::rl {
namespace {

// Of the branch k.
double sum_of(const std::vector<double>& logprobs, const Branches& b, std::size_t k) {
  return sum<double>(b.starts[k + 1] - b.starts[k],
                     [&](std::int64_t t) { return logprobs[static_cast<std::size_t>(b.starts[k] + t)]; });
}

}  // namespace

PreferenceObjective::PreferenceObjective(Onevision& model, const Processor& processor, const RecordFile& records,
                                         const PreferenceRun& options)
    : model_(model), processor_(processor), records_(records), options_(options), order_(records, options.order) {
  if (options.order.prompts > std::ssize(records.records()))
    input_error("rl.prompts is ", options.order.prompts, " pairs a step, and there are ", records.records().size(),
                "; a step would train the same pair again");
}

Branches PreferenceObjective::branches_of(const Record& record) const {
  const Pair pair = make_pair(record, records_.pictures(record), processor_, options_.limits);
  Branches both(pair.prompt);
  both.add(pair.prompt, pair.chosen);
  both.add(pair.prompt, pair.rejected);
  if (const std::int64_t n = both.batch.tokens(); n > options_.max_tokens)
    input_error(record.where, ": the prompt with both answers has ", n, " tokens, and train.max_tokens is ",
                options_.max_tokens, "; leave the record out (rl.keep), or allow more");
  return both;
}

PreferenceObjective::Leaf PreferenceObjective::leaf_of(const Record& record) const {
  const Branches b = branches_of(record);
  Leaf leaf{&record, b.batch.tokens(), 0, std::ssize(b.rows), 0};
  for (const auto& g : b.batch.grids) leaf.patches += g[0] * g[1] * g[2];
  ChecksumOfArrays sum;
  sum.add(b.batch.input_ids.data(), b.batch.tokens());
  sum.add(b.targets.data(), std::ssize(b.targets));
  if (b.batch.pixel_values) sum.add(b.batch.pixel_values.data<float>(), b.batch.pixel_values.numel());
  leaf.checksum = sum.value;
  return leaf;
}

// Lines of the file, from its second on.
void PreferenceObjective::add_known(const std::string& lines, const std::string& path) {
  std::map<std::string_view, const Record*> by_id;
  for (const Record& r : records_.records()) by_id.emplace(r.id, &r);
  std::int64_t number = 1;
  for (std::size_t at = 0, end; (end = lines.find('\n', at)) != lines.npos; at = end + 1) {
    const std::string where = cat(path, ":", ++number);
    const Json line = Json::parse(std::string_view(lines).substr(at, end - at), path, static_cast<std::size_t>(number));
    const auto of = [&](const char* key) {
      const Json* v = line.is_object() ? line.find(key) : nullptr;
      if (!v || !v->is_number() || !std::isfinite(v->as_double()))
        input_error(where, ": ", key, ": expected a number, found ", v ? v->shown() : "nothing");
      return v->as_double();
    };
    const Json* id = line.is_object() ? line.find("id") : nullptr;
    const auto found = id && id->is_string() ? by_id.find(id->as_string()) : by_id.end();
    if (found == by_id.end()) input_error(where, ": id: no record of the id ", id ? id->shown() : "nothing");
    if (!references_.insert({found->second, {of("chosen"), of("rejected")}}).second)
      input_error(where, ": id: a second line of the pair ", id->shown());
  }
}

void PreferenceObjective::find_references(const std::string& path, const Json& about, std::int64_t steps,
                                          Communicator& ranks,
                                          const std::function<void(std::int64_t, std::int64_t)>& progress) {
  std::vector<const Record*> met;  // in the order in which the run meets them
  std::set<const Record*> seen;
  for (std::int64_t i = 0; i < steps * options_.order.prompts && seen.size() < records_.records().size(); ++i)
    if (const Record& r = order_.at(i); seen.insert(&r).second) met.push_back(&r);
  std::optional<JsonlWriter> file;
  std::string known;  // lines that are there, for the other ranks
  if (ranks.rank() == 0) {
    bool begun = false;
    file.emplace(JsonlWriter::resume(path, [&](const Json& line) {
      if (!std::exchange(begun, true)) {
        if (line.dump() != about.dump())
          input_error(path, ":1: sums of another model, data or options: ", line.shown(400),
                      "; give another train.out");
        return true;
      }
      known += line.dump() + "\n";
      return true;
    }));
    if (!begun) file->write(about);
  }
  add_known(broadcast_text(ranks, known, 0), path);
  std::erase_if(met, [&](const Record* r) { return references_.count(r) > 0; });

  const std::int64_t all = std::ssize(met);
  const std::int64_t at_once =
      static_cast<std::int64_t>(ranks.ranks()) * (model_.parameters().device().on_host() ? std::max(1, threads()) : 1);
  for (std::int64_t first = 0; first < all; first += at_once) {
    const std::int64_t n = std::min(at_once, all - first);
    std::vector<std::int64_t> found(static_cast<std::size_t>(4 * n));  // where another rank writes, this one has 0
    const std::int64_t own = (n - ranks.rank() + ranks.ranks() - 1) / ranks.ranks();
    parallel_for(std::max<std::int64_t>(own, 0), [&](std::int64_t k) {
      const std::int64_t i = ranks.rank() + k * ranks.ranks();
      const Branches both = branches_of(*met[static_cast<std::size_t>(first + i)]);
      const std::vector<double> logprobs = branch_logprobs(both, branch_logits(model_, nullptr, both).value);
      for (std::size_t b = 0; b < 2; ++b) {
        const std::size_t to = static_cast<std::size_t>(4 * i) + 2 * b;
        found[to] = std::bit_cast<std::int64_t>(sum_of(logprobs, both, b));
        found[to + 1] = both.starts[b + 1] - both.starts[b];
      }
    });
    const Tensor sums = Tensor::of(found, {4 * n});
    ranks.all_reduce(sums);
    found = sums.to_vector<std::int64_t>();
    for (std::int64_t i = 0; i < n; ++i) {
      const Record* r = met[static_cast<std::size_t>(first + i)];
      const std::int64_t* f = &found[static_cast<std::size_t>(4 * i)];
      const ReferenceSums sum{std::bit_cast<double>(f[0]), std::bit_cast<double>(f[2])};
      references_[r] = sum;
      if (file)
        file->write(Json::object({{"id", r->id},
                                  {"chosen", sum.chosen},
                                  {"rejected", sum.rejected},
                                  {"chosen_tokens", f[1]},
                                  {"rejected_tokens", f[3]}}));
    }
    if (progress) progress(first + n, all);
  }
}

Loaded PreferenceObjective::prepare(std::int64_t step) {
  const std::int64_t P = options_.order.prompts;
  std::vector<const Record*> records;
  for (std::int64_t i = 0; i < P; ++i) records.push_back(&order_.at(step * P + i));
  leaves_.assign(static_cast<std::size_t>(P), {});
  parallel_for(P, [&](std::int64_t i) {
    leaves_[static_cast<std::size_t>(i)] = leaf_of(*records[static_cast<std::size_t>(i)]);
  });
  Loaded loaded{.leaves = P, .samples = P, .denominators = {P}};
  for (const Leaf& leaf : leaves_) loaded.tokens += leaf.tokens, loaded.patches += leaf.patches;
  steps_ = step + 1;
  return loaded;
}

void PreferenceObjective::run(std::int64_t number, Tape& tape, const Tensor& scalars) {
  const Leaf& leaf = leaves_[static_cast<std::size_t>(number)];
  const auto reference = references_.find(leaf.record);
  if (reference == references_.end()) machine_error("dpo: no reference of ", leaf.record->where);
  const Branches b = branches_of(*leaf.record);
  const Var logits = branch_logits(model_, &tape, b);
  const std::vector<double> logprobs = branch_logprobs(b, logits.value);
  const Preference pair{sum_of(logprobs, b, 0),     sum_of(logprobs, b, 1),    reference->second.chosen,
                        reference->second.rejected, b.starts[1] - b.starts[0], b.starts[2] - b.starts[1]};
  const PreferenceLoss loss = preference_loss(std::span(&pair, 1), options_.loss);
  const auto pairs = static_cast<double>(pairs_);
  std::vector<double> by_token(b.rows.size());
  for (std::size_t t = 0; t < by_token.size(); ++t)
    by_token[t] = (static_cast<std::int64_t>(t) < b.starts[1] ? loss.by_chosen[0] : loss.by_rejected[0]) / pairs;
  const double beta = options_.loss.beta;
  const bool mean = options_.loss.kind == PreferenceOptions::Kind::ipo;
  const std::vector<double> told = {
      loss.loss / pairs,
      loss.margin,
      loss.accuracy,
      beta * (pair.chosen - pair.chosen_reference) / (mean ? pair.chosen_tokens : 1),
      beta * (pair.rejected - pair.rejected_reference) / (mean ? pair.rejected_tokens : 1),
      pair.chosen,
      pair.rejected};
  const std::int64_t at = number * scalars_of_leaf;
  scalars.slice(0, at, at + scalars_of_leaf)
      .copy_from(Tensor::of(told, {scalars_of_leaf}).to(model_.parameters().device()));
  const Var optimised = loss_of_logprobs(logits, b.targets, by_token);
  backward_from(tape, std::span(&optimised, 1));
}

Losses PreferenceObjective::losses(std::span<const double> scalars) {
  const auto total = [&](std::int64_t of) {
    return sum<double>(std::ssize(leaves_),
                       [&](std::int64_t i) { return scalars[static_cast<std::size_t>(i * scalars_of_leaf + of)]; });
  };
  const auto pairs = static_cast<double>(leaves_.size());
  Losses out;
  out.loss = total(0);
  for (const Leaf& leaf : leaves_) out.labelled += leaf.labelled;
  out.parts = Json::object({{"margin", total(1) / pairs},
                            {"accuracy", total(2) / pairs},
                            {"chosen_reward", total(3) / pairs},
                            {"rejected_reward", total(4) / pairs},
                            {"chosen_logprob", total(5) / pairs},
                            {"rejected_logprob", total(6) / pairs}});
  char note[48];
  std::snprintf(note, sizeof note, "loss %.4f  margin %.3f", out.loss, total(1) / pairs);
  out.note = note;
  return out;
}

std::uint64_t PreferenceObjective::batch_checksum() const {
  ChecksumOfArrays sum;
  for (const Leaf& leaf : leaves_) {
    sum.add(&leaf.checksum, 1);
    const ReferenceSums& reference = references_.at(leaf.record);
    sum.add(&reference.chosen, 1), sum.add(&reference.rejected, 1);
  }
  return sum.value;
}

}  // namespace ov::rl
