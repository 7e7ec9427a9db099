#include "train/step_trace.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "base/io/file.h"
#include "base/json.h"
#include "parallel/mesh.h"
#include "train/engine.h"

namespace ov {
namespace {

constexpr const char* sign = "onevision log.trace";  // near the start of every file of ours
constexpr int step_stream = 0, calls_stream = 1, beside_stream = 2, first_leaves_stream = 3;

std::string microseconds(std::int64_t ns) {
  char text[40];
  std::snprintf(text, sizeof text, "%lld.%03lld", static_cast<long long>(ns / 1000), static_cast<long long>(ns % 1000));
  return text;
}

// Rank 0 gets the texts of all ranks; others get nothing.
std::vector<std::string> gathered(Communicator& ranks, const std::string& own) {
  std::vector<std::string> all = {own};
  for (int r = 1; r < ranks.ranks(); ++r) {
    if (ranks.rank() != 0 && ranks.rank() != r) continue;
    const Tensor size = Tensor::of(std::vector<std::int64_t>{static_cast<std::int64_t>(own.size())}, {1});
    if (ranks.rank() == 0) ranks.recv(size, r);
    else ranks.send(size, 0);
    const std::int64_t n = size.data<std::int64_t>()[0];
    Tensor bytes({n}, Dtype::u8, cpu(), Segment::workspace);
    char* text = reinterpret_cast<char*>(bytes.data<std::uint8_t>());
    if (ranks.rank() == r) own.copy(text, own.size());
    if (ranks.rank() == 0) ranks.recv(bytes, r);
    else ranks.send(bytes, 0);
    if (ranks.rank() == 0) all.emplace_back(text, static_cast<std::size_t>(n));
  }
  return all;
}

// The lines of a file's list of events, each after a comma and a line's end.
class Events {
 public:
  Events(int rank, std::int64_t origin) : rank_(rank), origin_(origin) {}
  void name(const char* what, int stream, const std::string& name) {
    add(Json::object(
            {{"name", what}, {"ph", "M"}, {"pid", rank_}, {"tid", stream}, {"args", Json::object({{"name", name}})}})
            .dump());
  }
  void span(const std::string& name, const char* kind, int stream, std::int64_t begin, std::int64_t end,
            const Json& args = Json::object()) {
    add(cat("{\"name\":", Json(name).dump(), ",\"cat\":\"", kind, "\",\"ph\":\"X\",\"pid\":", rank_,
            ",\"tid\":", stream, ",\"ts\":", microseconds(begin - origin_), ",\"dur\":", microseconds(end - begin),
            args.size() > 0 ? ",\"args\":" + args.dump() : "", "}"));
  }
  // One end of an arrow, which binds to the span around it.
  void arrow(int stream, bool starts, const std::string& id, std::int64_t at) {
    add(cat("{\"name\":\"message\",\"cat\":\"message\",\"ph\":\"", starts ? "s" : "f\",\"bp\":\"e", "\",\"id\":\"", id,
            "\",\"pid\":", rank_, ",\"tid\":", stream, ",\"ts\":", microseconds(at - origin_), "}"));
  }
  std::string text;

 private:
  void add(const std::string& line) { text += ",\n" + line; }
  const int rank_;
  const std::int64_t origin_;
};

std::string module_of(const std::string& parameter) { return parameter.substr(0, parameter.rfind('.')); }

std::string in_common(const std::string& a, const std::string& b) {
  std::size_t end = 0;
  for (std::size_t i = 0; i <= std::min(a.size(), b.size()); ++i) {
    const bool a_ends = i == a.size() || a[i] == '.', b_ends = i == b.size() || b[i] == '.';
    if (a_ends && b_ends) end = i;
    if (i == a.size() || i == b.size() || a[i] != b[i]) break;
  }
  return a.substr(0, end);
}

}  // namespace

StepTrace::StepTrace(std::string path, std::int64_t step, Communicator& world, Clock clock)
    : path_(std::move(path)), step_(step), ranks_(world), clock_(std::move(clock)) {
  std::error_code missing;
  if (world.rank() != 0) return;
  if (!std::filesystem::is_directory(parent_directory(path_), missing))
    input_error("log.trace: ", path_, ": there is no directory ", parent_directory(path_));
  if (std::filesystem::is_directory(path_, missing)) input_error("log.trace: ", path_, " is a directory; name a file");
  if (!std::filesystem::is_regular_file(path_, missing)) return;
  const auto file = MappedFile::open(path_);
  if (!file->text().empty() && file->text().substr(0, 200).find(sign) == std::string_view::npos)
    input_error("log.trace: ", path_, " holds something else than a trace, so it is not replaced; name another file");
}

void StepTrace::start() {
  phases_.clear(), leaves_.clear();
  ranks_.start();
  on_ = true;
  begin_ = last_ = clock_();
}

void StepTrace::phase(const char* name) {
  const std::int64_t now = clock_();
  phases_.push_back({name, last_, now});
  last_ = now;
}

void StepTrace::leaf(const std::string& name, std::int64_t begin, OpTimes& work) {
  const std::int64_t end = clock_();
  const std::lock_guard lock(mutex_);
  leaves_.push_back({name, begin, end, std::move(work.done)});
}

std::vector<std::string> StepTrace::modules(const std::vector<OpTimes::Done>& done) {
  std::vector<std::string> names(done.size());
  std::string before;
  for (std::size_t i = 0, next = 0; i < done.size(); ++i) {
    for (next = std::max(next, i); next < done.size() && !done[next].parameter; ++next) {}
    const std::string after = next < done.size() ? module_of(done[next].parameter->name) : before;
    if (next == i) names[i] = before = after;
    else names[i] = before.empty() ? after : in_common(before, after);
  }
  return names;
}

std::string StepTrace::events(const std::vector<TracedRanks::Exchange>& calls, std::int64_t origin,
                              const StepOptions& mesh) const {
  const int self = ranks_.rank();
  Events e(self, origin);
  e.name("process_name", 0, cat("rank ", self));
  e.name("thread_name", step_stream, "step");
  e.name("thread_name", calls_stream, "communication");
  if (std::any_of(calls.begin(), calls.end(), [](const auto& c) { return c.beside; }))
    e.name("thread_name", beside_stream, "beside");
  e.span(cat("step ", step_), "step", step_stream, begin_, last_);
  for (const Span& p : phases_) e.span(p.name, "step", step_stream, p.begin, p.end);

  for (const TracedRanks::Exchange& c : calls) {
    Json to = Json::object(), from = Json::object();
    std::int64_t sent = 0, received = 0;
    for (const TracedRanks::Message& m : c.messages) {
      (m.out ? to : from).set(std::to_string(m.peer), m.bytes);
      (m.out ? sent : received) += m.bytes;
    }
    const char* axis =
        axis_between(self, c.messages[0].peer, {mesh.tensor, mesh.pipeline, mesh.context, mesh.experts * mesh.classes});
    const int stream = c.beside ? beside_stream : calls_stream;
    e.span(name_of(c.call), "communication", stream, c.begin, c.end,
           Json::object({{"axis", axis}, {"sent", sent}, {"received", received}, {"to", to}, {"from", from}}));
    for (const TracedRanks::Message& m : c.messages) {
      const int from_rank = m.out ? self : m.peer, to_rank = m.out ? m.peer : self;
      e.arrow(stream, m.out, cat(from_rank, ">", to_rank, c.beside ? "#b" : "#", m.number),
              m.out ? c.begin : std::max(c.begin, c.end - 1));
    }
  }

  // What ran at the same time has a stream each.
  std::vector<const Span*> leaves;
  for (const Span& s : leaves_) leaves.push_back(&s);
  std::sort(leaves.begin(), leaves.end(), [](const Span* a, const Span* b) { return a->begin < b->begin; });
  std::vector<std::int64_t> ends;
  for (const Span* s : leaves) {
    std::size_t lane = 0;
    while (lane < ends.size() && ends[lane] > s->begin) ++lane;
    const int stream = first_leaves_stream + static_cast<int>(lane);
    if (lane == ends.size()) ends.push_back(0), e.name("thread_name", stream, cat("leaves ", lane));
    ends[lane] = s->end;
    e.span(s->name, "leaf", stream, s->begin, s->end);
    const std::vector<std::string> names = modules(s->ops);
    for (std::size_t i = 0; i < s->ops.size(); ++i) {
      const OpTimes::Done& op = s->ops[i];
      const bool forward = op.pass == Pass::forward;
      e.span(row(op.op).name, forward ? "forward" : "backward", stream, op.begin, op.end,
             Json::object({{"module", names[i]},
                           {"bytes", forward ? op.cost.forward_bytes : op.cost.backward_bytes},
                           {"multiply_adds", op.cost.multiply_adds(op.pass)}}));
    }
  }
  return e.text;
}

void StepTrace::finish(const StepOptions& mesh) {
  on_ = false;
  last_ = std::max(last_, phases_.empty() ? 0 : phases_.back().end);
  const std::vector<TracedRanks::Exchange> calls = ranks_.stop();
  const int N = ranks_.ranks();
  const Tensor begins = Tensor::zeros({N}, Dtype::i64, cpu());
  const std::vector<ClockDifference> clocks = clock_differences(ranks_, clock_);
  const std::int64_t ahead = clocks[static_cast<std::size_t>(ranks_.rank())].ahead;
  begins.data<std::int64_t>()[ranks_.rank()] = begin_ - ahead;
  ranks_.all_reduce(begins);
  const std::int64_t origin = *std::min_element(begins.data<std::int64_t>(), begins.data<std::int64_t>() + N);
  const std::vector<std::string> all = gathered(ranks_, events(calls, origin + ahead, mesh));
  leaves_.clear(), phases_.clear();
  if (ranks_.rank() != 0) return;
  Json apart = Json::object();
  for (std::size_t r = 0; r < clocks.size(); ++r)
    if (clocks[r].ahead != 0)
      apart.set(std::to_string(r), Json::object({{"ahead", static_cast<double>(clocks[r].ahead) / 1000},
                                                 {"error", static_cast<double>(clocks[r].error) / 1000}}));
  const Json about = Json::object({{"writer", sign},
                                   {"step", step_},
                                   {"ranks", N},
                                   {"tensor", mesh.tensor},
                                   {"pipeline", mesh.pipeline},
                                   {"context", mesh.context},
                                   {"experts", mesh.experts},
                                   {"classes", mesh.classes},
                                   {"zero", mesh.zero},
                                   {"clocks", apart}});
  DurableWriter out(path_);
  out.write(cat("{\"otherData\":", about.dump(), ",\n\"displayTimeUnit\":\"ms\",\n\"traceEvents\":["));
  for (std::size_t r = 0; r < all.size(); ++r) out.write(std::string_view(all[r]).substr(r == 0 ? 1 : 0));
  out.write("\n]}\n");
  out.commit();
}

}  // namespace ov
