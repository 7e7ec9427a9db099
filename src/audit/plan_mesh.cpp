#include "audit/plan_mesh.h"

#include <algorithm>
#include <numeric>

#include "base/json_section.h"
#include "parallel/pipeline.h"
#include "train/floor.h"

namespace ov {
namespace {

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

namespace {

// Axes whose ranks speak within a pass.
constexpr const char* within_a_pass[] = {"tensor", "context", "experts", "classes"};

void plan_stages(MeshPlan& m, const Planner& plan, PlanOptions& options) {
  m.stages.clear();
  for (int s = 0; s < options.train.pipeline * options.train.context; ++s) {
    options.rank = s * options.train.tensor;
    m.stages.push_back(plan(options));
  }
}

// What goes over the data axis in a step, and how much of it beside backward passes of `backward` seconds.
struct DataTime {
  double after = 0, hidden = 0, could_hide = 0;
};
DataTime data_time(const Plan& stage, double backward, bool divided,
                   const std::function<double(const Plan::Traffic&)>& seconds) {
  const double sums = seconds(traffic_of(stage, "data sums")), beside = seconds(traffic_of(stage, "data beside")),
               values = seconds(traffic_of(stage, "data values")), rounds = static_cast<double>(stage.rounds.size());
  DataTime t;
  if (stage.buckets > 0) t.hidden = std::min(beside * (1 - 1 / static_cast<double>(stage.buckets)), rounds * backward);
  else if (stage.hindrance.empty()) t.could_hide = std::min(sums + (divided ? 0 : values), rounds * backward);
  t.after = seconds(traffic_of(stage, "data")) + sums + values + beside - t.hidden;
  return t;
}

// Seconds of a chunk's passes on one rank, and of the calls within them.
struct Passes {
  double forward = 0, backward = 0;
  std::map<std::string, double> calls = {};
  double all() const { return forward + backward; }
};
// n: chunks of all leaves; parts: passes that speak; rate: FLOP a second.
Passes passes_of(const Plan& stage, int rank, double n, double parts, double rate, const MeshFacts& mesh) {
  Passes p;
  double spoken = 0;
  for (const char* axis : within_a_pass) {
    const double seconds = seconds_of(traffic_of(stage, axis), rank, mesh) / n;
    if (seconds > 0) p.calls[axis] = seconds, spoken += seconds;
  }
  p.forward = stage.forward_flops / n / rate + spoken / parts;
  p.backward = (stage.backward_flops + stage.recomputed_flops) / n / rate + spoken * (parts - 1) / parts;
  return p;
}

MeshPlan step_on_mesh(const DeviceFacts& device, const MeshFacts& mesh, const Planner& plan, const PlanOptions& given,
                      bool choose) {
  MeshPlan m{.device = device, .mesh = mesh, .options = given, .stages = {}, .recomputed_blocks = {}, .time = {}};
  if (!(mesh.mfu > 0))
    input_error("plan.mfu: with plan.ranks say which share of the peak passes reach; ", device.name, " states none");
  PlanOptions options = given;
  options.train.floor = false;
  options.gpu = !device.measured;
  options.machines = mesh.node > 0 && mesh.node < given.ranks;
  if (device.measured) options.train.optimizer.state_on = nullptr;
  if (!choose) plan_stages(m, plan, options);
  else
    m.recomputed_blocks = fewest_recomputed([&](std::int64_t blocks) {
      options.recompute = blocks > 0, options.recompute_first = blocks;
      plan_stages(m, plan, options);
      return TriedStep{m.missing(), m.stages[0].blocks};
    });
  m.options.recompute = options.recompute, m.options.recompute_first = options.recompute_first;
  const int p = options.train.pipeline, c = options.train.context, t = options.train.tensor;
  const double rate = mesh.mfu * device.peak.at(name_of(options.dtype));
  // Forward, backward, and the share of the blocks that runs again.
  const double blocks = static_cast<double>(std::max<std::int64_t>(1, m.stages[0].blocks)),
               again = std::min(blocks, static_cast<double>(options.recompute_first)) / blocks,
               parts = options.recompute ? 2 + again : 2;
  const std::int64_t leaves = leaves_of(m.stages[0]);
  const double n = static_cast<double>(std::max<std::int64_t>(1, leaves) * options.train.chunks);
  std::vector<double> forward, backward;
  double message = 0;
  for (int s = 0; s < p; ++s) {
    Passes slowest;
    double mean = 0;
    for (int k = 0; k < c; ++k) {
      const auto at = static_cast<std::size_t>(s * c + k);
      const Plan& stage = m.stages[at];
      const int rank = m.rank_of(at);
      const Passes own = passes_of(stage, rank, n, parts, rate, mesh);
      mean += own.all() / c;
      if (own.all() > slowest.all()) slowest = own;
      // One message a chunk and leaf forward, one backward: all of them alike.
      message = std::max(message, seconds_of(traffic_of(stage, "pipe"), rank, mesh) / (2 * n));
      const auto data = [&](double seconds(const Plan::Traffic&, int, const MeshFacts&)) {
        return data_time(stage, own.backward, options.train.zero > 0,
                         [&](const Plan::Traffic& t) { return seconds(t, rank, mesh); });
      };
      if (const DataTime time = data(seconds_of); time.after >= m.time.data)
        m.time.data = time.after, m.time.hidden = time.hidden, m.time.could_hide = time.could_hide;
      m.time.data_machines_first = std::max(m.time.data_machines_first, data(seconds_machines_first).after);
      m.time.sums = std::max(m.time.sums, seconds_of(traffic_of(stage, "context sums"), rank, mesh) +
                                              seconds_of(traffic_of(stage, "experts sums"), rank, mesh));
      m.time.update = std::max(m.time.update, update_seconds(device, stage, options));
    }
    forward.push_back(slowest.forward), backward.push_back(slowest.backward);
    m.time.busy += n * slowest.all() / p, m.time.uneven += n * (slowest.all() - mean) / p;
    for (const auto& [axis, seconds] : slowest.calls) m.time.within[axis] += n * seconds / p;
  }
  m.time.tensor = m.time.within["tensor"];
  for (const std::int64_t round : m.stages[0].rounds)
    m.time.leaves += makespan(forward, backward, options.train.chunks, round, message);
  for (const Plan& stage : m.stages) {
    const double of_all = leaves > 0 ? static_cast<double>(options.micro_batches) / static_cast<double>(leaves) * t : 0;
    m.flops += of_all * (stage.forward_flops + stage.backward_flops), m.recomputed += of_all * stage.recomputed_flops;
  }
  return m;
}

// What a rank has of the machine that plans, where so many share its memory and its cores.
DeviceFacts share_of(DeviceFacts machine, int ranks) {
  if (ranks > 1) machine.about = cat("1/", ranks, " of ", machine.about);
  machine.memory /= ranks, machine.bandwidth /= ranks, machine.link /= ranks;
  for (auto& [type, peak] : machine.peak) peak /= ranks;
  return machine;
}

// Not every key can be had with every mesh: what a step refuses helps nobody.
void find_remedies(MeshPlan& m, const Planner& plan, const PlanOptions& options) {
  try_memory_keys(memory_keys(options, m.stages[0].blocks), options,
                  [&](const std::string& keys, const PlanOptions& changed) {
                    try {
                      const MeshPlan with = step_on_mesh(m.device, m.mesh, plan, changed, false);
                      const bool saves = with.missing() < m.missing();
                      if (saves) m.remedies.push_back({keys, with.missing(), with.time.step()});
                      return saves;
                    } catch (const Error& e) {
                      if (e.exit() != Exit::wrong_input) throw;
                      return false;
                    }
                  });
}

}  // namespace

MeshPlan plan_on_mesh(const DeviceFacts& device, const MeshFacts& mesh, const Planner& plan, const PlanOptions& options,
                      bool choose) {
  const int here = mesh.node > 0 ? std::min(mesh.node, options.ranks) : options.ranks;
  MeshPlan m = step_on_mesh(device.measured ? share_of(device, here) : device, mesh, plan, options, choose);
  if (m.missing() > 0) find_remedies(m, plan, m.options);
  return m;
}

}  // namespace ov
