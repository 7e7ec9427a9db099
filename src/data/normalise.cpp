#include "data/normalise.h"

#include "base/error.h"
#include "base/text.h"

namespace ov {
namespace {

constexpr NormaliseBy all[] = {NormaliseBy::micro_batch_mean, NormaliseBy::global_token_mean, NormaliseBy::sample_mean};

void check_sizes(const MicroBatch& b, const std::string& where) {
  const auto T = b.input_ids.size();
  if (b.labels.size() != T) input_error(where, ": ", b.labels.size(), " labels for ", T, " tokens");
  if (b.sample_of_segment.size() != b.segments.size())
    input_error(where, ": ", b.sample_of_segment.size(), " sample numbers for ", b.segments.size(), " segments");
  std::int64_t end = 0;
  for (std::size_t i = 0; i < b.segments.size(); ++i) {
    const TokenSegment& s = b.segments[i];
    if (s.begin != end || s.length < 0)
      input_error(where, ": segment ", i, " covers [", s.begin, ", ", s.begin + s.length, "), expected it to begin at ",
                  end);
    end += s.length;
    if (b.sample_of_segment[i] < 0 || b.sample_of_segment[i] >= b.samples)
      input_error(where, ": segment ", i, " belongs to sample ", b.sample_of_segment[i], " of ", b.samples);
  }
  if (end != b.tokens()) input_error(where, ": segments cover ", end, " of ", b.tokens(), " tokens");
}

// Targets and rows; `sample` gets the sample of every row in rows. Weights are left at 0.
LossTargets shifted(const MicroBatch& b, const std::string& where, std::vector<std::size_t>* sample) {
  check_sizes(b, where);
  LossTargets out{std::vector(b.labels.size(), ignored_label), std::vector<double>(b.labels.size()), {}};
  for (std::size_t i = 0; i < b.segments.size(); ++i) {
    const TokenSegment& s = b.segments[i];
    for (std::int64_t t = s.begin; t < s.begin + s.length; ++t) {
      const std::int64_t label = b.labels[static_cast<std::size_t>(t)], id = b.input_ids[static_cast<std::size_t>(t)];
      if (label == ignored_label) continue;
      if (label != id) input_error(where, ": token ", t, " has label ", label, ", expected its own id ", id);
      if (t == s.begin)
        input_error(where, ": segment ", i, ": its first token (", t,
                    ") has a label, but nothing in the segment predicts it");
      out.targets[static_cast<std::size_t>(t - 1)] = label;
      out.rows.push_back(t - 1);
      sample->push_back(static_cast<std::size_t>(b.sample_of_segment[i]));
    }
  }
  return out;
}

}  // namespace

const char* name_of(NormaliseBy by) {
  switch (by) {
    case NormaliseBy::micro_batch_mean: return "micro_batch_mean";
    case NormaliseBy::global_token_mean: return "global_token_mean";
    case NormaliseBy::sample_mean: break;
  }
  return "sample_mean";
}

NormaliseBy normalise_by(const std::string& name) {
  std::vector<std::string> names;
  for (const NormaliseBy by : all) {
    if (name == name_of(by)) return by;
    names.push_back(name_of(by));
  }
  input_error("normalise_by: expected micro_batch_mean, global_token_mean or sample_mean, found '", name, "'",
              did_you_mean(name, names));
}

StepTargets loss_targets(const GlobalStep& step, NormaliseBy by) {
  StepTargets out;
  std::int64_t labelled = 0, labelled_samples = 0;
  for (const MicroBatch& b : step.micro_batches) {
    std::vector<std::size_t> sample;
    LossTargets l = shifted(b, cat("micro-batch ", out.micro_batches.size()), &sample);
    std::vector<std::int64_t> k(static_cast<std::size_t>(b.samples));
    for (const std::size_t s : sample) ++k[s];
    for (std::size_t i = 0; i < l.rows.size(); ++i) {
      double w = 1;
      if (by == NormaliseBy::micro_batch_mean) w /= static_cast<double>(l.rows.size());
      if (by == NormaliseBy::sample_mean) w /= static_cast<double>(k[sample[i]]);
      l.weights[static_cast<std::size_t>(l.rows[i])] = w;
    }
    labelled += static_cast<std::int64_t>(l.rows.size());
    for (const std::int64_t n : k) labelled_samples += n > 0;
    out.micro_batches.push_back(std::move(l));
  }
  switch (by) {
    case NormaliseBy::micro_batch_mean: out.denominator = static_cast<double>(step.micro_batches.size()); break;
    case NormaliseBy::global_token_mean: out.denominator = static_cast<double>(labelled); break;
    case NormaliseBy::sample_mean: out.denominator = static_cast<double>(labelled_samples); break;
  }
  return out;
}

}  // namespace ov
