// Which prompt comes when: prompt i of a run depends on the records, the options and i alone.
#pragma once
#include "rl/records.h"

namespace ov::rl {

struct OrderOptions {
  std::int64_t prompts = 32;  // of a step
  std::uint64_t seed = 219;
  bool by_picture = false;  // questions about the same pictures come together: what they have in common cancels
  std::vector<std::string> replay = {};  // templates of another stage
  // Of a step's prompts, to the nearest; of a share above 0 at least one, and one is left to the others.
  double replay_share = 0.1;
};

class PromptOrder {
 public:
  // input_error for templates of replay without a record, when nothing but them is left, and with
  // them for steps of one prompt.
  PromptOrder(const RecordFile& records, const OrderOptions& options);
  const Record& at(std::int64_t prompt);

 private:
  using Units = std::vector<std::vector<const Record*>>;  // records that come together
  void append(const Units& units, std::int64_t step, std::int64_t count, std::uint64_t seed);

  OrderOptions options_;
  Units units_, replayed_;
  std::int64_t again_ = 0;  // of a step's prompts, repeated
  std::int64_t step_ = -1;
  std::vector<const Record*> chosen_;  // of the step
};

}  // namespace ov::rl
