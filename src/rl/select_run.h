// A selection from a file to a directory: the `rl-select` verb.
//
//   out/rollouts.jsonl   the rewards of every record, in order, a line each: {"id", "rewards", "blind"}, and "raised",
//                        why verifiers gave up and how often, where one did
//   out/manifest.json    rates by source and template, what was dropped and why, the options (rl/selection.h)
//   out/rates.jsonl      pass@1, pass@n and mean reward of every record, and why those are dropped that are
//   out/kept.jsonl       the records that are kept, {"id", "question"}: what `rl` takes as rl.keep, which refuses
//                        another file's records of the same ids by the hash of their questions
//   out/page.html        the manifest for people, with a histogram for each template (report/selection_page.h); the
//                        verb writes it
//
// A run that was cut off goes on behind the last whole line of rollouts.jsonl; its first says what they depend on, and
// nothing is cut that another selection wrote: such a file is an input_error. The filters are no part of that: the same
// out, given again with others, is filtered anew and draws nothing.
#pragma once
#include <functional>

#include "model/files/hf_directory.h"
#include "rl/rollout.h"
#include "rl/selection.h"

namespace ov::rl {

struct SelectionRun {
  std::string model_dir, records, image_dir, out;
  std::vector<std::string> templates;
  std::int64_t at_a_time = 8;  // records
  RolloutOptions rollouts;     // `group`: N
  int grey = -1;               // 0 to 255: everything a second time, with this in place of the pictures
  std::uint64_t seed = 219;
  PixelLimits limits = {};
  LoadOptions load;
  SelectionOptions selection;
  std::function<void(std::int64_t done, std::int64_t total)> progress = nullptr;
};

// Of rl.keep: what to tell a run that asks in another form than the selection did whose manifest.json stands beside it;
// "" where both are the same, or there is none.
std::string said_of_other_prompts(const std::string& keep, PromptStyle style);

// Rewards are without problem_type, as in the release: the bonus for a box in the thinking does not count here.
Selection run_selection(const SelectionRun& options);

}  // namespace ov::rl
