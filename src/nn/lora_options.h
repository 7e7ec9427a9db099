// Which matrices LoRA adapts, and how (nn/lora.h).
#pragma once
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace ov {

struct Parameter;

struct LoraOptions {
  std::int64_t rank = 0;  // 0: nothing is adapted
  double alpha = 32;
  bool rslora = false;  // alpha / sqrt(rank) instead of alpha / rank
  // Modules, as PEFT matches them: a whole name or its end behind a dot; "all-linear", every matrix but the head; with
  // "*" for any letters, as AutoModel does.
  std::vector<std::string> targets = {};
  double dropout = 0;                                // share of x that A does not see in training
  std::uint64_t seed = 1;                            // of A and of what is dropped
  std::string start = {};                            // directory of an adapter to go on from
  std::function<bool(const Parameter&)> where = {};  // the matrices to choose from; none: all
  double scale() const {
    const auto r = static_cast<double>(rank);
    return alpha / (rslora ? std::sqrt(r) : r);
  }
};

}  // namespace ov
