// What plan says of a rank's step, beside what the step of a real rank was.
#pragma once
#include <cstdio>
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

// Bytes that the ranks of an axis send together in a step, by the formula of its header, by plan and as these ranks,
// all of them, counted them: a line of the table that tests of plans print.
inline void print_bytes(const std::string& said, const char* axis, std::int64_t formula, std::int64_t planned,
                        std::int64_t real) {
  std::printf("  %-58s %-7s %8lld %8lld %8lld\n", said.c_str(), axis, static_cast<long long>(formula),
              static_cast<long long>(planned), static_cast<long long>(real));
  std::fflush(stdout);
}
// In each of them, with its own; input_error where they differ.
inline void require_bytes(Communicator& ranks, const std::string& said, const char* axis, std::int64_t formula,
                          std::int64_t planned, std::int64_t real) {
  const Tensor sums = Tensor::of(std::vector<std::int64_t>{planned, real}, {2});
  ranks.all_reduce(sums);
  const auto all = sums.to_vector<std::int64_t>();
  if (ranks.rank() == 0) print_bytes(said, axis, formula, all[0], all[1]);
  if (all[0] != formula || all[1] != formula)
    input_error(said, ", ", axis, ": formula ", formula, ", plan ", all[0], ", real ", all[1]);
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
