#include "audit/plan_mesh.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "base/json_section.h"
#include "parallel/pipeline.h"
#include "train/floor.h"

namespace ov {
namespace {

double sum_of(const std::vector<double>& v) { return std::accumulate(v.begin(), v.end(), 0.0); }

template <class... T>
std::string text_of(const char* format, T... values) {
  char text[160];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

const Plan::Traffic& traffic_of(const Plan& plan, const char* axis) {
  static const Plan::Traffic none;
  const auto found = plan.traffic.find(axis);
  return found == plan.traffic.end() ? none : found->second;
}

std::int64_t leaves_of(const Plan& p) { return std::accumulate(p.rounds.begin(), p.rounds.end(), std::int64_t{0}); }

}  // namespace

LinkFacts find_link(const std::string& table, const std::string& name, const char* asked) {
  const Json json = Json::read(table);
  if (!json.is_object()) input_error(table, ": expected an object of links by name");
  std::string names;
  for (const auto& [link, row] : json.members()) {
    names += (names.empty() ? "" : ", ") + link;
    if (link != name) continue;
    const std::string where = cat(table, ": ", name);
    JsonSection s(row, where);
    LinkFacts facts{.name = name, .about = s.text("about")};
    if (facts.about.empty()) input_error(where, ": about: missing; say which link it is");
    const auto positive = [&](const char* key) {
      const double value = s.number(key);
      if (!(value > 0)) input_error(where, ": ", key, " is ", value, ", expected more than 0");
      return value;
    };
    facts.latency = 1e-6 * positive("latency_us");
    // A message is written and read again, by two ranks at a time: of each, half of what a copy moves.
    facts.rate = s.flag("measured", false) ? measured_machine().bandwidth() / 2 : 1e9 * positive("gb_s");
    s.finish("", {""});
    return facts;
  }
  input_error(asked, ": ", table, " has no ", name.empty() ? "link without a name" : name, "; it has ", names);
}

LinkBytes by_link(const std::map<int, std::int64_t>& by_rank, int rank, int node) {
  LinkBytes bytes;
  for (const auto& [peer, n] : by_rank) (node == 0 || peer / node == rank / node ? bytes.inside : bytes.between) += n;
  return bytes;
}

double seconds_of(const Plan::Traffic& traffic, int rank, const MeshFacts& mesh) {
  if (traffic.calls == 0) return 0;
  const LinkBytes out = by_link(traffic.sent, rank, mesh.node), in = by_link(traffic.received, rank, mesh.node);
  const auto seconds = [](std::int64_t a, std::int64_t b, const LinkFacts& link) {
    return std::max(a, b) > 0 ? static_cast<double>(std::max(a, b)) / link.rate : 0;
  };
  const bool far = out.between + in.between > 0;
  return static_cast<double>(traffic.calls) * (far ? mesh.between : mesh.inside).latency +
         std::max(seconds(out.inside, in.inside, mesh.inside), seconds(out.between, in.between, mesh.between));
}

LinkBytes machines_first(const Plan::Traffic& traffic, int rank, int node) {
  std::int64_t neighbours = 1;
  for (const auto& [peer, n] : traffic.sent) neighbours += peer != rank && (node == 0 || peer / node == rank / node);
  const LinkBytes now = by_link(traffic.sent, rank, node);
  if (now.between == 0) return now;
  const std::int64_t all = traffic.bytes();
  return {neighbours > 1 ? all : 0, all / neighbours};
}

double seconds_machines_first(const Plan::Traffic& traffic, int rank, const MeshFacts& mesh) {
  const LinkBytes bytes = machines_first(traffic, rank, mesh.node);
  if (bytes.between == 0) return seconds_of(traffic, rank, mesh);
  const double inside = bytes.inside > 0 ? static_cast<double>(bytes.inside) / mesh.inside.rate : 0;
  return static_cast<double>(traffic.calls) * mesh.between.latency +
         std::max(inside, static_cast<double>(bytes.between) / mesh.between.rate);
}

double makespan(const std::vector<double>& forward, const std::vector<double>& backward, int chunks,
                std::int64_t leaves, double message) {
  const auto p = static_cast<int>(forward.size());
  const int K = p * chunks;
  std::vector<double> free(forward.size(), 0),
      come(static_cast<std::size_t>(leaves), 0);  // of each leaf, its last step
  for (const std::vector<LeafStep>& row : timetable(p, chunks, leaves))
    for (std::size_t r = 0; r < row.size(); ++r) {
      if (row[r].leaf < 0) continue;
      double& ready = come[static_cast<std::size_t>(row[r].leaf)];
      const double begin = std::max(free[r], ready);
      const bool last = row[r].step == 2 * K - 1, own = p == 1 || row[r].step == K - 1;
      free[r] = begin + (row[r].step < K ? forward : backward)[r];
      ready = free[r] + (last || own ? 0 : message);
    }
  return leaves > 0 ? std::max(*std::max_element(free.begin(), free.end()), *std::max_element(come.begin(), come.end()))
                    : 0;
}

MeshPlan plan_on_mesh(const DeviceFacts& device, const MeshFacts& mesh, const Planner& plan, const PlanOptions& given) {
  MeshPlan m{.device = device, .mesh = mesh, .options = given, .stages = {}, .time = {}};
  if (!(mesh.mfu > 0))
    input_error("plan.mfu: with plan.ranks say which share of the peak passes reach; ", device.name, " states none");
  PlanOptions options = given;
  options.train.floor = false;
  options.gpu = !device.measured;
  if (device.measured) options.train.optimizer.state_on = nullptr;
  const int p = options.train.pipeline, t = options.train.tensor;
  for (int s = 0; s < p; ++s) {
    options.rank = s * t;
    m.stages.push_back(plan(options));
  }
  const double rate = mesh.mfu * device.peak.at(name_of(options.dtype));
  // Passes in which tensor-parallel ranks talk: forward, backward, and the share of the blocks that runs again.
  const double blocks = static_cast<double>(std::max<std::int64_t>(1, m.stages[0].blocks)),
               again = std::min(blocks, static_cast<double>(options.recompute_first)) / blocks,
               parts = options.recompute ? 2 + again : 2;
  const std::int64_t leaves = leaves_of(m.stages[0]);
  std::vector<double> forward, backward, busy;
  double message = 0;
  for (int s = 0; s < p; ++s) {
    const Plan& stage = m.stages[static_cast<std::size_t>(s)];
    const int rank = s * t;
    const double n = static_cast<double>(std::max<std::int64_t>(1, leaves) * options.train.chunks),
                 tensor = seconds_of(traffic_of(stage, "tensor"), rank, mesh) / n;
    forward.push_back(stage.forward_flops / n / rate + tensor / parts);
    backward.push_back((stage.backward_flops + stage.recomputed_flops) / n / rate + tensor * (parts - 1) / parts);
    busy.push_back(n * (forward.back() + backward.back()));
    m.time.tensor += n * tensor / p;
    // One message a chunk and leaf forward, one backward: all of them alike.
    message = std::max(message, seconds_of(traffic_of(stage, "pipe"), rank, mesh) / (2 * n));
    m.time.data = std::max(m.time.data, seconds_of(traffic_of(stage, "data"), rank, mesh));
    m.time.data_machines_first =
        std::max(m.time.data_machines_first, seconds_machines_first(traffic_of(stage, "data"), rank, mesh));
    m.time.update = std::max(m.time.update, update_seconds(device, stage, options));
  }
  for (const std::int64_t round : m.stages[0].rounds)
    m.time.leaves += makespan(forward, backward, options.train.chunks, round, message);
  m.time.busy = sum_of(busy) / p;
  const double last = options.train.chunks * *std::max_element(backward.begin(), backward.end()),
               first = options.train.chunks * *std::max_element(forward.begin(), forward.end());
  m.time.could_hide = std::min(m.time.data, last + first);
  for (const Plan& stage : m.stages) {
    const double of_all = leaves > 0 ? static_cast<double>(options.micro_batches) / static_cast<double>(leaves) * t : 0;
    m.flops += of_all * (stage.forward_flops + stage.backward_flops), m.recomputed += of_all * stage.recomputed_flops;
  }
  return m;
}

std::int64_t MeshPlan::missing() const {
  std::int64_t most = 0;
  for (const Plan& p : stages) most = std::max(most, p.memory.total_peak);
  return most - static_cast<std::int64_t>(device.memory);
}

double MeshPlan::mfu() const { return flops / (time.step() * options.ranks * device.peak.at(name_of(options.dtype))); }

std::string MeshPlan::report() const {
  const int t = options.train.tensor, p = options.train.pipeline, copies = options.ranks / (t * p);
  const auto gb = [](std::int64_t bytes) { return text_of("%9.3f", static_cast<double>(bytes) / 1e9); };
  std::string out = cat("on ", options.ranks, " x ", device.about, ": dp ", copies, " x pp ", p,
                        options.train.chunks > 1 ? cat(" (", options.train.chunks, " chunks)") : "", " x tp ", t,
                        ", zero ", options.train.zero, "; ",
                        mesh.node == 0 ? "one machine" : cat(mesh.node, " a machine"), ", ", mesh.inside.about,
                        options.ranks > mesh.node && mesh.node > 0 ? cat("; between them ", mesh.between.about) : "",
                        text_of("; passes reach %.0f %% of the peak\n", 100 * mesh.mfu));
  out += "GB of a rank at their highest: weights gradients optimizer activations workspace data, all at once\n";
  for (std::size_t s = 0; s < stages.size(); ++s) {
    const Plan& stage = stages[s];
    out += cat("  rank ", s * static_cast<std::size_t>(t), ": ");
    for (int k = 0; k < segment_count; ++k) out += gb(stage.memory.peak[static_cast<std::size_t>(k)]);
    out += cat(gb(stage.memory.total_peak), "  holds ", stage.held, ", updates ", stage.updated,
               stage.stage.empty() ? "" : "; " + stage.stage, "\n");
  }
  out += missing() > 0
             ? cat("  too large by", gb(missing()), " GB\n")
             : cat("  fits: ", gb(-missing()), " GB are left of the ", text_of("%.1f", device.memory / 1e9), "\n");
  out += "GB that a rank sends in the step: inside its machine, to others; calls; seconds\n";
  for (std::size_t s = 0; s < stages.size(); ++s)
    for (const auto& [axis, traffic] : stages[s].traffic) {
      const int rank = static_cast<int>(s) * t;
      const LinkBytes bytes = by_link(traffic.sent, rank, mesh.node);
      out += cat("  rank ", rank, text_of(", %-6s ", axis.c_str()), gb(bytes.inside), gb(bytes.between),
                 text_of(" %8lld %9.4f\n", static_cast<long long>(traffic.calls), seconds_of(traffic, rank, mesh)));
    }
  std::int64_t idle = 0;
  if (const std::int64_t most = leaves_of(stages[0]); most > 0)
    idle = copies - (options.micro_batches + most - 1) / most;
  out +=
      cat(text_of("seconds of a step: %.4g\n  passes      %9.4f", time.step(), time.busy - time.tensor),
          text_of("\n  tensor      %9.4f  calls within them\n  waiting     %9.4f  of a pipeline's rank: %.1f %%",
                  time.tensor, time.leaves - time.busy, time.leaves > 0 ? 100 * (1 - time.busy / time.leaves) : 0),
          p > 1 ? text_of("; (p - 1) / (v L + p - 1) is %.1f %%",
                          100.0 * (p - 1) / (options.train.chunks * static_cast<double>(leaves_of(stages[0])) + p - 1))
                : "",
          text_of("\n  data        %9.4f  not hidden; %.4f could be, beside the last backward and next forward pass",
                  time.data, time.could_hide),
          text_of("\n  update      %9.4f\n", time.update));
  if (idle > 0)
    out += cat("  ", idle, " of ", copies, " copies have no micro-batch",
               options.micro_batches < copies
                   ? ""
                   : ": each has a power of two of them (parallel/data.h); parallel.zero 2 divides any number evenly",
               "\n");
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
  const double calls = time.data_machines_first + time.tensor;
  const double rest = theirs - (products + again + calls + (time.leaves - time.busy) + time.update);
  const int copies = options.ranks / (options.train.tensor * options.train.pipeline);
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
                  calls < time.data + time.tensor
                      ? text_of("; this plan's go straight to each rank: %.3f", time.data + time.tensor)
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
