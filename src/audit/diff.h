// Where two traces, or two runs, first differ.
//
// Traces: tensors of the reference B named act.*, grad.*, and what else a trace writes (is_traced) are compared, in
// order of execution. One passes if
//   max|a-b| <= rtol · max(max|b|, 1e-6 · the largest |b| of its class)
// where the maxima of |b| are over finite numbers (1e-6: some gradients are zero in exact arithmetic). NaN differs from
// all but NaN, an infinity from all but itself: by infinity, which no tolerance allows.
// Missing in A is a failure, extra in A is listed. Element types may differ.
// Runs (run.jsonl): the checksums of every step both logged; the first step that differs is named, and how far apart
// the logged numbers come, for runs that differ within rounding.
#pragma once
#include <string>
#include <vector>

#include "audit/trace.h"

namespace ov {

struct TensorDifference {
  std::string name;
  double absolute = 0, relative = 0;  // largest |a-b|, and it over the denominator above
  double ulps = 0;                    // of f32, at that element
  std::int64_t element = 0;
  double a = 0, b = 0;
  bool missing = false, misshapen = false, within = false;
};

struct TraceDifference {
  std::vector<TensorDifference> compared;  // in order
  std::vector<std::string> extra;
  bool within() const;
  const TensorDifference* first() const;  // that is not within; null when all are
  // Largest relative difference of the names that start so; infinite when one is missing.
  double worst(const std::string& prefix) const;
};

TraceDifference compare_tensors(const std::vector<NamedTensor>& a, const std::vector<NamedTensor>& b,
                                const std::vector<std::string>& order, double rtol);
TraceDifference diff_traces(const std::string& a, const std::string& b, double rtol);

struct RunDifference {
  std::int64_t compared = 0;       // checksums
  std::string first;               // "step 12: gradients"; empty when all are equal
  std::vector<std::string> apart;  // by how much at most rate, loss, gradient norm differ, and where
};
RunDifference diff_runs(const std::string& a, const std::string& b);

// Any two files, or directories of runs; the report is one line a finding. Returns whether they agree; input_error
// when they cannot be compared.
bool diff_files(const std::string& a, const std::string& b, double rtol, std::string& report);

}  // namespace ov
