// DPO (Rafailov et al. 2023): pairs of a chosen and a rejected answer, scored against a frozen reference policy.
//
//   m    = β [(L_c - L_c,ref) - (L_r - L_r,ref)]        L is the sum of an answer's token log-probabilities
//   loss = mean over pairs of -log σ(m)                 dloss/dL_c = -β σ(-m) / pairs = -dloss/dL_r
//
// ipo (Azar et al. 2023): (d - 1/(2β))² with d the same difference of means over the tokens.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace ov::rl {

struct PreferenceOptions {
  enum class Kind { sigmoid, ipo } kind = Kind::sigmoid;
  double beta = 0.1;
  double label_smoothing = 0;  // of sigmoid: the share of pairs whose labels are the wrong way round
};

struct Preference {  // one pair: sums of log-probabilities, and tokens
  double chosen, rejected, chosen_reference, rejected_reference;
  std::int64_t chosen_tokens = 1, rejected_tokens = 1;
};

struct PreferenceLoss {
  double loss = 0, accuracy = 0, margin = 0;   // means over pairs: of the loss, of m > 0, of m
  std::vector<double> by_chosen, by_rejected;  // [pairs], dloss/dL: also dloss/dlogπ of each of their tokens
};

PreferenceLoss preference_loss(std::span<const Preference> pairs, const PreferenceOptions& options);

}  // namespace ov::rl
