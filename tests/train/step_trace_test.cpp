// log.trace: one step of all ranks in one file.
#include "train/step_trace.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "base/clock.h"
#include "base/io/file.h"
#include "tests/model/packed_rows.h"
#include "tests/parallel/mesh_world.h"

using namespace ov;
using namespace ov::test;

namespace {

GlobalStep step_of() {
  std::vector<MicroBatch> rows(6);
  for (std::size_t i = 0; i < rows.size(); ++i) add_sample(rows[i], i + 1, i % 2 ? 0 : 2, 2, 6);
  return as_step(rows);
}

ModelConfig model_of(const Ways& ways) {
  ModelConfig m = small_config();
  m.vision.heads = 4, m.text.vocabulary = 100, m.text.layers = 4;
  if (ways.experts > 1) m.text.experts = 4, m.text.experts_per_token = 2, m.text.expert_intermediate = 24;
  return m;
}

constexpr std::array<const char*, 5> axes = {"data", "experts", "pipe", "context", "tensor"};

// Two steps, the second traced to `path` if that is given; bytes that left this rank in it, by axis, go to path.rank.
std::string run(const Ways& ways, Communicator& world, const std::string& path, bool recompute = false) {
  std::unique_ptr<StepTrace> trace;
  if (!path.empty()) trace = std::make_unique<StepTrace>(path, 2, world);
  Communicator& ranks = trace ? trace->ranks() : world;
  Mesh mesh(ranks, ways.tensor, ways.pipeline, ways.context, ways.experts);
  Onevision model(model_of(ways), mesh.tensor, mesh.pipe, ways.chunks, mesh.experts);
  model.recompute_blocks = recompute;
  model.parameters().allocate(Dtype::f32, cpu());
  initialize(model.parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2}, 1);
  TrainOptions options = short_run(3);
  ways.set(options);
  FixedSteps data({step_of()});
  LanguageObjective objective(model, data, options, mesh.context);
  StepEngine engine(objective, options, mesh.data);
  engine.trace(trace.get());
  std::string said;
  for (int i = 0; i < 3; ++i) {
    const auto sent = [&] {
      Beside* beside = mesh.data.beside();
      return std::array{mesh.data.sent() + (beside ? beside->communicator().sent() : 0), mesh.experts.sent(),
                        mesh.pipe.sent(), mesh.context.sent(), mesh.tensor.sent()};
    };
    const auto before = sent();
    const Checksums sums = *engine.step().checksums;
    said += cat(sums.loss, " ", sums.gradients, " ", sums.parameters, "\n");
    if (!trace || i != 1) continue;
    Json counted = Json::object();
    for (std::size_t k = 0; k < axes.size(); ++k) counted.set(axes[k], sent()[k] - before[k]);
    write_durably(cat(path, ".", world.rank()), counted.dump());
  }
  return said;
}

struct Span {
  std::string name, kind;
  double begin, end;
  Json args;
};

struct Read {
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<Span>> streams;  // by rank and stream
  std::map<std::pair<std::int64_t, std::int64_t>, std::string> names;
  std::map<std::string, std::pair<int, int>> messages;  // by id, how often sent and received
};

Read read(const std::string& path) {
  Read r;
  const Json file = Json::read(path);
  for (const Json& e : file.at("traceEvents").items()) {
    const std::string kind = e.at("ph").as_string();
    const std::pair at{e.at("pid").as_int(), e.at("tid").as_int()};
    if (kind == "X") {
      const double begin = e.at("ts").as_double();
      r.streams[at].push_back({e.at("name").as_string(), e.at("cat").as_string(), begin,
                               begin + e.at("dur").as_double(), e.find("args") ? e.at("args") : Json::object()});
    } else if (kind == "M") {
      if (e.at("name").as_string() == "thread_name") r.names[at] = e.at("args").at("name").as_string();
    } else {
      auto& [sent, received] = r.messages[e.at("id").as_string()];
      REQUIRE((kind == "s" || kind == "f"));
      ++(kind == "s" ? sent : received);
    }
  }
  return r;
}

// Of any two spans of a stream, one lies within the other, or they have no time in common.
void check_nested(std::vector<Span> spans) {
  constexpr double rounding = 1e-6;  // of numbers with three digits behind the point, read as binary ones
  std::stable_sort(spans.begin(), spans.end(),
                   [](const Span& a, const Span& b) { return a.begin != b.begin ? a.begin < b.begin : a.end > b.end; });
  std::vector<const Span*> around;
  for (const Span& s : spans) {
    REQUIRE(s.begin <= s.end);
    while (!around.empty() && around.back()->end <= s.begin + rounding) around.pop_back();
    if (!around.empty())
      CHECK_MESSAGE(s.end <= around.back()->end + rounding, s.name, " ends after ", around.back()->name, " around it");
    around.push_back(&s);
  }
}

std::int64_t sum_of(const Json& by_rank) {
  std::int64_t sum = 0;
  for (const auto& [rank, bytes] : by_rank.members()) sum += bytes.as_int();
  return sum;
}

}  // namespace

TEST_CASE("trace: of all ranks one file, whose spans nest, whose messages pair up and whose bytes are those counted") {
  const ScratchDirectory dir;
  int file = 0;
  for (const Ways& ways :
       {Ways{.data = 2}, Ways{.data = 2, .zero = 2}, Ways{.pipeline = 2, .chunks = 2}, Ways{.data = 2, .overlap = true},
        Ways{.data = 2, .zero = 3, .overlap = true}, Ways{.tensor = 2}, Ways{.data = 2, .pipeline = 2},
        Ways{.context = 2}, Ways{.data = 2, .experts = 2}, Ways{.data = 2, .tensor = 2, .context = 2}}) {
    INFO(ways.said());
    const std::string path = dir / cat(file++, ".json");
    for (const Ended& e : in_ranks(ways.ranks(), 60, [&](ProcessRanks& ranks) {
           run(ways, ranks, path);
           ranks.barrier();
         }))
      REQUIRE_MESSAGE(e.exit == 0, e.error);
    const Read trace = read(path);

    std::set<std::string> ops;
    std::set<std::int64_t> seen;
    int leaves = 0, beside = 0;
    std::map<std::int64_t, std::map<std::string, std::int64_t>> sent_on;                  // by rank and axis
    std::map<std::pair<std::string, std::string>, std::vector<std::int64_t>> on_the_way;  // bytes from one to another
    for (const auto& [at, spans] : trace.streams) {
      const auto& [rank, stream] = at;
      seen.insert(rank);
      check_nested(spans);
      const std::string& name = trace.names.at(at);
      const Span& step = trace.streams.at({rank, 0}).at(0);
      CHECK(step.name == "step 2");
      std::map<std::string, std::int64_t>& by_axis = sent_on[rank];
      for (const Span& s : spans) {
        CHECK(s.begin >= step.begin);
        CHECK(s.end <= step.end + 1e-6);
        if (s.kind == "forward" || s.kind == "backward") ops.insert(s.name);
        leaves += s.kind == "leaf";
        if (s.kind != "communication") continue;
        CHECK((name == "communication" || name == "beside"));
        beside += name == "beside";
        CHECK(sum_of(s.args.at("to")) == s.args.at("sent").as_int());
        CHECK(sum_of(s.args.at("from")) == s.args.at("received").as_int());
        const std::string axis = s.args.at("axis").as_string();
        by_axis[axis] += s.args.at("sent").as_int();
        for (const auto& [peer, bytes] : s.args.at("to").members())
          on_the_way[{std::to_string(rank), peer}].push_back(bytes.as_int());
      }
    }
    CHECK((beside > 0) == ways.overlap);
    for (auto& [rank, by_axis] : sent_on) {
      const Json counted = Json::read(cat(path, ".", rank));
      std::int64_t all = 0;
      for (const char* axis : axes) {
        CHECK_MESSAGE(by_axis[axis] == counted.at(axis).as_int(), std::string(axis));
        all += by_axis[axis];
      }
      CHECK(all > 0);
      CHECK(by_axis.size() == axes.size());
    }
    CHECK(seen.size() == static_cast<std::size_t>(ways.ranks()));
    // What one rank sent another is what that one got, message by message.
    std::map<std::pair<std::string, std::string>, std::vector<std::int64_t>> arrived;
    for (const auto& [at, spans] : trace.streams)
      for (const Span& s : spans)
        if (s.kind == "communication")
          for (const auto& [peer, bytes] : s.args.at("from").members())
            arrived[{peer, std::to_string(at.first)}].push_back(bytes.as_int());
    std::erase_if(on_the_way, [](const auto& way) { return way.second.empty(); });
    CHECK(arrived == on_the_way);
    CHECK(trace.messages.size() > 0);
    for (const auto& message : trace.messages) CHECK_MESSAGE((message.second == std::pair{1, 1}), message.first);
    for (const char* op : {"linear", "rms_norm", "attention"}) CHECK(ops.count(op) == 1);
    CHECK(leaves == 6 * ways.tensor * ways.context * (ways.pipeline > 1 ? 2 * ways.pipeline * ways.chunks : 1));
  }
}

TEST_CASE("trace: what runs at the same time has streams of its own") {
  const ScratchDirectory dir;
  StepTrace trace(dir / "trace.json", 1, one_rank());
  trace.start();
  const std::int64_t start = now_ns();
  OpTimes none;
  for (const char* name : {"a", "b", "c"}) trace.leaf(name, start, none);
  trace.leaf("after", now_ns(), none);
  trace.phase("all");
  trace.finish({});
  const Read file = read(dir / "trace.json");
  std::map<std::string, std::int64_t> stream_of;
  for (const auto& [at, spans] : file.streams) {
    check_nested(spans);
    for (const Span& s : spans) stream_of[s.name] = at.second;
  }
  CHECK(std::set{stream_of.at("a"), stream_of.at("b"), stream_of.at("c")} == std::set<std::int64_t>{3, 4, 5});
  CHECK(stream_of.at("after") == 3);
  CHECK(file.names.at({0, 5}) == "leaves 2");
}

TEST_CASE("trace: ranks whose clocks stand apart are shown in rank 0's time, and the file says by how much") {
  const ScratchDirectory dir;
  // ns: rank 2's machine has been up for 50 minutes longer than the others', or less long.
  for (const std::int64_t apart : {3'000'000'000'000, -3'000'000'000'000}) {
    const std::string path = dir / "trace.json";
    const double start = monotonic_seconds();
    for (const Ended& e : in_ranks(3, 60, [&](ProcessRanks& ranks) {
           const Clock own = [&] { return now_ns() + (ranks.rank() == 2 ? apart : 0); };
           const auto found = clock_differences(ranks, own);
           for (const auto& c : found) require(c.error >= 0 && c.error < 60'000'000'000, "an error of seconds at most");
           require(found[0].ahead == 0 && found[1].ahead == 0, "one clock is not ahead of itself");
           require(std::abs(found[2].ahead - apart) <= found[2].error, "within what is said");
           StepTrace trace(path, 1, ranks, own);
           trace.start();
           ranks.barrier();
           trace.phase("all");
           trace.finish({});
           ranks.barrier();
         }))
      REQUIRE_MESSAGE(e.exit == 0, e.error);
    const double most = 1e6 * (monotonic_seconds() - start);  // microseconds
    const Json clocks = Json::read(path).at("otherData").at("clocks");
    CHECK(clocks.size() == 1);
    const double error = clocks.at("2").at("error").as_double();
    CHECK(std::abs(clocks.at("2").at("ahead").as_double() - static_cast<double>(apart) / 1e3) <= error);
    const Read trace = read(path);
    double first = most, begins = 0, ends = most;  // begins to ends: all ranks are in the step, since they met in it
    for (const std::int64_t rank : {0, 1, 2}) {
      const Span& step = trace.streams.at({rank, 0}).at(0);
      first = std::min(first, step.begin), begins = std::max(begins, step.begin), ends = std::min(ends, step.end);
    }
    CHECK(first == 0);  // time is counted from where the first rank began
    CHECK(begins <= ends + 2 * error);
  }
}

TEST_CASE("trace: the bits of a run do not show it, recomputed or not, and operations have their modules' names") {
  const ScratchDirectory dir;
  for (const bool recompute : {false, true}) {
    const Threads three(3);
    const std::string path = dir / "trace.json", plain = run({}, one_rank(), "", recompute);
    CHECK(run({}, one_rank(), path, recompute) == plain);
    const Read trace = read(path);
    CHECK(trace.streams.size() >= 2);
    std::set<std::string> modules;
    std::int64_t products = 0;
    for (const auto& [at, spans] : trace.streams) {
      check_nested(spans);
      for (const Span& s : spans) {
        if (s.kind != "forward" && s.kind != "backward") continue;
        modules.insert(s.args.at("module").as_string());
        products += s.args.at("multiply_adds").as_int();
      }
    }
    CHECK(products > 0);
    for (const char* m : {"model.visual.blocks.1.attn.qkv", "model.language_model.layers.3.self_attn.q_proj",
                          "model.language_model.layers.3.self_attn", "model.language_model.layers.0"})
      CHECK_MESSAGE(modules.count(m) == 1, m);
  }
}

TEST_CASE(
    "trace: in a run's directory, by the keys; a file that is no trace is not replaced, and a step is one of the "
    "run's") {
  const MeshWorld world;
  TrainJob job = world.job("run");
  job.train.steps = 3;
  const auto traced = [&](const std::string& path, std::int64_t step) {
    StepTrace trace(path, step, one_rank());
    job.ranks = &trace.ranks(), job.trace = &trace;
    quietly(job);
  };
  const std::string mine = world.path("mine.json"), path = world.path("trace.json");
  write_durably(mine, "[1, 2]\n");
  CHECK(contains(thrown([&] { traced(mine, 2); }), mine + " holds something else than a trace"));
  CHECK(read_file(mine) == "[1, 2]\n");
  CHECK(contains(thrown([&] { traced(world.path("nowhere/t.json"), 2); }), "there is no directory"));
  CHECK(contains(thrown([&] { traced(world.path("start"), 2); }), "start is a directory; name a file"));
  CHECK(contains(thrown([&] { traced(path, 4); }), "log.trace_step 4: the run ends with step 3"));
  traced(path, 2);
  const std::string first = read_file(path);
  CHECK(Json::parse(first, path).at("otherData").at("step").as_int() == 2);
  // Gone on with: the step lies behind, and the file stays.
  job.train.steps = 5;
  traced(path, 2);
  CHECK(read_file(path) == first);
  job.train.steps = 6;
  traced(path, 6);  // a trace may replace another
  CHECK(Json::parse(read_file(path), path).at("otherData").at("step").as_int() == 6);
}
