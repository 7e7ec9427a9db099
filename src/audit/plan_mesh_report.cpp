// What plan_mesh.h says for people.
#include <algorithm>
#include <cstdio>
#include <numeric>

#include "audit/plan_mesh.h"
#include "parallel/mesh.h"

namespace ov {
namespace {

template <class... T>
std::string text_of(const char* format, T... values) {
  char text[160];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

std::int64_t leaves_of(const Plan& p) { return std::accumulate(p.rounds.begin(), p.rounds.end(), std::int64_t{0}); }

}  // namespace

std::int64_t MeshPlan::missing() const {
  std::int64_t most = 0;
  for (const Plan& p : stages) most = std::max(most, p.memory.total_peak);
  return most - static_cast<std::int64_t>(device.memory);
}

double MeshPlan::mfu() const { return flops / (time.step() * options.ranks * device.peak.at(name_of(options.dtype))); }

std::string MeshPlan::report() const {
  const StepOptions& ways = options.train;
  const int p = ways.pipeline, copies = options.ranks / (ways.tensor * p * ways.context),
            sharing = ways.experts * ways.classes;
  const auto gb = [](std::int64_t bytes) { return text_of("%9.3f", static_cast<double>(bytes) / 1e9); };
  std::string out =
      cat("on ", options.ranks, " x ", device.about, ": dp ", copies,
          ways.experts > 1 ? cat(" (ep ", ways.experts, ")") : "",
          ways.classes > 1 ? cat(" (", ways.classes, " of them share class tables)") : "", " x pp ", p,
          ways.chunks > 1 ? cat(" (", ways.chunks, " chunks)") : "",
          ways.context > 1 ? cat(" x cp ", ways.context) : "", " x tp ", ways.tensor, ", zero ", ways.zero, "; ",
          mesh.node == 0 ? "one machine" : cat(mesh.node, " a machine"), ", ", mesh.inside.about,
          options.ranks > mesh.node && mesh.node > 0 ? cat("; between them ", mesh.between.about) : "",
          text_of("; passes reach %.0f %% of the peak, %.4g TFLOP/s a rank\n", 100 * mesh.mfu,
                  device.peak.at(name_of(options.dtype)) / 1e12));
  if (recomputed_blocks && *recomputed_blocks == 0) out += "recomputed: nothing: it fits without\n";
  else if (recomputed_blocks)
    out += cat("recomputed: ", *recomputed_blocks, " of ", stages[0].blocks,
               " blocks: --train.recompute --train.recompute_blocks=", *recomputed_blocks, "\n");
  out += "GB of a rank at their highest: weights gradients optimizer activations workspace data, all at once\n";
  for (std::size_t s = 0; s < stages.size(); ++s) {
    const Plan& stage = stages[s];
    out += cat("  rank ", rank_of(s), ": ");
    for (int k = 0; k < segment_count; ++k) out += gb(stage.memory.peak[static_cast<std::size_t>(k)]);
    out += cat(gb(stage.memory.total_peak), "  holds ", stage.held, ", updates ", stage.updated,
               stage.stage.empty() ? "" : "; " + stage.stage, "\n");
  }
  out += missing() > 0
             ? cat("  too large by", gb(missing()), " GB\n")
             : cat("  fits: ", gb(-missing()), " GB are left of the ", text_of("%.1f", device.memory / 1e9), "\n");
  for (const Remedy& r : remedies)
    out += cat("  with ", r.keys, ":", gb(missing() - r.missing), " GB less, ",
               r.missing > 0 ? cat("too large by", gb(r.missing), " GB") : "fits",
               text_of("; %.4g s a step\n", r.seconds));
  if (missing() > 0 && std::all_of(remedies.begin(), remedies.end(), [](const Remedy& r) { return r.missing > 0; }))
    out +=
        "  no key makes it fit: more of parallel.tensor or pipeline, more ranks, fewer pictures or tokens a "
        "micro-batch, or fewer train.modules\n";
  out += "GB that a rank sends in the step: inside its machine, to others; calls; seconds\n";
  for (std::size_t s = 0; s < stages.size(); ++s)
    for (const auto& [axis, traffic] : stages[s].traffic) {
      const int rank = rank_of(s);
      const LinkBytes bytes = by_link(traffic.sent, rank, mesh.node);
      out += cat("  rank ", rank, text_of(", %-12s ", axis.c_str()), gb(bytes.inside), gb(bytes.between),
                 text_of(" %8lld %9.4f\n", static_cast<long long>(traffic.calls), seconds_of(traffic, rank, mesh)));
    }
  // The first leaf of each copy: as parallel/data.h and zero2.h deal turns of `sharing` leaves.
  std::int64_t idle = 0;
  for (int d = 0; d < copies; ++d) {
    const std::int64_t turn = (ways.zero >= 2 ? 1 : leaves_of(stages[0])) * (d / sharing);
    idle += turn * sharing + d % sharing >= options.micro_batches;
  }
  // A pipeline fills and empties in every round of leaves (parallel/zero2.h).
  const int rounds = std::max(1, static_cast<int>(stages[0].rounds.size()));
  const double round = static_cast<double>(leaves_of(stages[0])) / rounds;
  double within = 0;
  std::string calls;
  for (const auto& [axis, seconds] : time.within) {
    within += seconds;
    if (seconds > 0 || axis == "tensor") calls += text_of("\n  %-11s %9.4f  calls within them", axis.c_str(), seconds);
  }
  if (ways.context > 1)
    calls += text_of("\n  uneven      %9.4f  of the passes, what the average rank waits for the slowest of its row's",
                     time.uneven);
  out += cat(
      text_of("seconds of a step: %.4g\n  passes      %9.4f", time.step(), time.busy - within), calls,
      text_of("\n  waiting     %9.4f  of a pipeline's rank: %.1f %%", time.leaves - time.busy,
              time.leaves > 0 ? 100 * (1 - time.busy / time.leaves) : 0),
      p > 1 ? text_of("; (p - 1) / (v L + p - 1) is %.1f %%", 100.0 * (p - 1) / (options.train.chunks * round + p - 1))
            : "",
      p > 1 && rounds > 1 ? text_of(" in each of %d rounds (parallel.zero %d)", rounds, ways.zero) : "",
      time.sums > 0 ? text_of("\n  sums        %9.4f  of gradients, over ranks that share %s; not hidden", time.sums,
                              ways.experts > 1 ? ways.context > 1 ? "rows, and experts" : "experts" : "rows")
                    : "",
      text_of("\n  data        %9.4f  ", time.data),
      stages[0].buckets > 0
          ? text_of("after the passes; %.4f more, sums of gradients, go on beside backward", time.hidden)
      : stages[0].hindrance.empty() ? text_of("not hidden; comm.overlap would hide up to %.4f of it", time.could_hide)
                                    : "not hidden: comm.overlap is not built for " + stages[0].hindrance,
      text_of("\n  update      %9.4f\n", time.update));
  if (idle > 0) out += cat("  ", said_of_idle(idle, options.micro_batches, copies, sharing, p), "\n");
  const bool words = stages[0].tokens > 0;
  const double pace =
      static_cast<double>((words ? stages[0].tokens : stages[0].patches) * options.micro_batches) / time.step();
  return out + text_of("%.0f %s/s, %.0f a device; MFU %.1f %%, with what is recomputed %.1f %%\n", pace,
                       words ? "tokens" : "patches", pace / options.ranks, 100 * mfu(),
                       100 * mfu() * (1 + recomputed / std::max(1.0, flops)));
}

std::string MeshPlan::beside(double days, std::int64_t steps) const {
  const double theirs = days * 86400 / static_cast<double>(steps), ours = time.step(),
               peak = device.peak.at(name_of(options.dtype));
  // Of the rank that is busiest, at the whole peak: what no program saves.
  double products = 0, again = 0;
  for (const Plan& s : stages) {
    products = std::max(products, (s.forward_flops + s.backward_flops) / peak);
    again = std::max(again, s.recomputed_flops / peak);
  }
  double within = 0;
  for (const auto& [axis, seconds] : time.within) within += seconds;
  const double calls = time.data_machines_first + within + time.sums;
  const double rest = theirs - (products + again + calls + (time.leaves - time.busy) + time.update);
  const int copies = options.ranks / (options.train.tensor * options.train.pipeline * options.train.context);
  const double shared = static_cast<double>(options.micro_batches) / copies /
                        static_cast<double>(std::max<std::int64_t>(1, leaves_of(stages[0])));
  const auto line = [](const char* what, double seconds, const std::string& more) {
    return text_of("  %-34s %8.3f", what, seconds) + more + "\n";
  };
  std::string out = text_of("a run that took %.3g days for %lld steps, and this plan: seconds of a step\n", days,
                            static_cast<long long>(steps));
  out += line("that run", theirs, text_of("   MFU %.1f %%", 100 * flops / (theirs * options.ranks * peak)));
  out += line("this plan", ours, text_of("   %.3g days", this->days(steps)));
  out += "  what that run's step is made of, as far as this plan knows:\n";
  out += line("products at the whole peak", products, "");
  out += line("what is recomputed, at the peak", again, "");
  out += line("waiting in a pipeline", time.leaves - time.busy, "");
  out += line("calls between ranks, not hidden", calls,
              cat("   at this plan's rates, in rings",
                  calls < time.data + within + time.sums
                      ? text_of("; this plan's go straight to each rank: %.3f", time.data + within + time.sums)
                      : ""));
  out += line("update", time.update, "");
  const double reached = (products + again) / (products + again + rest);
  out += line("the rest", rest,
              rest < 0 ? "   that run was faster than this plan allows: rates or sizes above are not its own"
                       : text_of("   its passes reached %.1f %% of the peak, this plan says %.1f %%", 100 * reached,
                                 100 * mesh.mfu));
  if (shared < 1)
    out += text_of("  of the devices %.1f %% have no micro-batch in a step of %lld: as many seconds, fewer packs\n",
                   100 * (1 - shared), static_cast<long long>(options.micro_batches));
  return out;
}

}  // namespace ov
