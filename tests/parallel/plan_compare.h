// What plan says of a rank's step, beside what the step of a real rank was.
#pragma once
#include <map>

#include "audit/plan.h"
#include "comm/process_ranks.h"
#include "train/engine.h"

namespace ov::test {

inline std::int64_t sent_on(const Plan& plan, const std::string& axis) {
  std::int64_t bytes = 0;
  for (const auto& [name, traffic] : plan.traffic)
    if (name == axis || name.starts_with(axis + " ")) bytes += traffic.bytes();
  return bytes;
}

// What this rank has sent on an axis, beside the backward pass too.
inline std::int64_t all_sent(Communicator& axis) {
  Beside* beside = axis.beside();
  return axis.sent() + (beside ? beside->communicator().sent() : 0);
}

// Memory by segment, bytes sent by axis, products: input_error names what differs.
inline void compare_plan(const std::string& said, const ProcessRanks& ranks, const Plan& plan, const Device& device,
                         const StepEngine& engine, const std::map<std::string, std::int64_t>& sent) {
  const auto equal = [&](const std::string& what, std::int64_t planned, std::int64_t real) {
    if (planned != real) input_error(said, ", rank ", ranks.rank(), ", ", what, ": plan ", planned, ", real ", real);
  };
  const MemoryUse memory = device.memory();
  for (std::size_t s = 0; s < segment_count; ++s)
    equal(name_of(static_cast<Segment>(s)), plan.memory.peak[s], memory.peak[s]);
  equal("all at once", plan.memory.total_peak, memory.total_peak);
  for (const auto& [axis, bytes] : sent) equal(axis, sent_on(plan, axis), bytes);
  equal("multiply-adds", static_cast<std::int64_t>(plan.forward_flops + plan.backward_flops),
        2 * (engine.products().forward + engine.products().backward));
}

}  // namespace ov::test
