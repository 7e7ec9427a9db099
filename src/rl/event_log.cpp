#include "rl/event_log.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "store/jsonl.h"

namespace ov::rl {
namespace {

class EventLog {
 public:
  EventLog(const std::string& path, const EventBounds& bounds) : path_(path), bounds_(bounds) {}

  std::vector<StepEvents> read() {
    JsonlReader lines(path_);
    for (Json line; lines.next(&line);) {
      where_ = cat(path_, ":", lines.line());
      const Json* type = line.is_object() ? line.find("type") : nullptr;
      if (type && type->is_string() && type->as_string() == "step") add(line);
    }
    if (steps_.empty()) input_error(path_, ": no step with events: not the log of a run of rl.mode disaggregated");
    return std::move(steps_);
  }

 private:
  template <class... What>
  [[noreturn]] void wrong(const char* key, const What&... what) const {
    input_error(where_, ": events: ", key, ": ", what...);
  }

  std::int64_t integer(const Json& v, const char* key) const {
    if (!v.is_integer()) wrong(key, "expected an integer, found ", v.shown());
    return v.as_int();
  }
  const std::vector<Json>& list(const Json& v, const char* key) const {
    if (!v.is_array()) wrong(key, "expected a list, found ", v.shown());
    return v.items();
  }

  void add(const Json& line) {
    const Json* events = line.find("events");
    bool whole = events && events->is_object();
    for (const char* key : {"begun", "taken", "tokens", "drawn"}) whole = whole && events->find(key);
    if (!whole)
      input_error(
          where_,
          ": expected a step with its events (begun, taken, tokens, drawn), as rl.mode disaggregated writes it");
    const std::int64_t expected = std::ssize(steps_) + 1;
    const Json* step = line.find("step");
    if (!step || !step->is_integer() || step->as_int() != expected)
      input_error(where_, ": expected step ", expected, ", found ", step ? step->shown() : "nothing",
                  "; log.every must have been 1");
    StepEvents e;
    e.begun = integer(events->at("begun"), "begun");
    if (e.begun < begun_) wrong("begun", e.begun, " groups, and the step before has ", begun_);
    begun_ = e.begun;
    for (const Json& of : list(events->at("drawn"), "drawn")) e.drawn.push_back(drawn(of, expected));
    // The gate; and a group that has no token is one of those that are written.
    const __int128 gate = (static_cast<__int128>(bounds_.staleness) + expected) * bounds_.prompts;
    const __int128 possible = static_cast<__int128>(std::ssize(written_)) + bounds_.most_groups;
    if (e.begun > gate)
      wrong("begun", e.begun, " groups, and with ", bounds_.prompts, " prompts a step and staleness ",
            bounds_.staleness, " at most ", static_cast<std::int64_t>(gate), " are begun before step ", expected);
    if (e.begun > possible)
      wrong("begun", e.begun, " groups, of which ", written_.size(), " have tokens; at most ", bounds_.most_groups,
            " are written at once");
    for (const Json& number : list(events->at("taken"), "taken")) {
      const std::int64_t n = integer(number, "taken");
      if (!written_.count(n)) wrong("taken", "group ", n, " has no tokens");
      if (!taken_.insert(n).second) wrong("taken", "group ", n, " was taken before");
      e.taken.push_back(n);
    }
    if (std::ssize(e.taken) != bounds_.prompts)
      wrong("taken", "expected ", bounds_.prompts, " groups, found ", e.taken.size());
    const Json& tokens = events->at("tokens");
    if (!tokens.is_string()) wrong("tokens", "expected a checksum, found ", tokens.shown());
    e.tokens = tokens.as_string(), e.written = *events;
    steps_.push_back(std::move(e));
  }

  StepEvents::Drawn drawn(const Json& of, std::int64_t step) {
    if (!of.is_array() || of.size() != 2) wrong("drawn", "expected [group, [tokens ...]], found ", of.shown());
    StepEvents::Drawn d{integer(of[0], "drawn"), {}};
    if (d.number < 0 || d.number >= begun_) wrong("drawn", "group ", d.number, ", of ", begun_, " that are begun");
    if (taken_.count(d.number)) wrong("drawn", "group ", d.number, " was taken before");
    const std::vector<Json>& tokens = list(of[1], "drawn");
    if (std::ssize(tokens) != bounds_.group)
      wrong("drawn", "group ", d.number, ": expected ", bounds_.group, " rollouts (rl.group), found ", tokens.size());
    auto& [last, sums] = written_[d.number];
    if (last == step) wrong("drawn", "group ", d.number, " stands twice");
    last = step, sums.resize(tokens.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const std::int64_t n = integer(tokens[i], "drawn");
      if (n < 0 || n > bounds_.max_new_tokens - sums[i])
        wrong("drawn", "group ", d.number, ", rollout ", i, ": ", n, " tokens after ", sums[i], ", of at most ",
              bounds_.max_new_tokens, " (rl.max_new_tokens)");
      sums[i] += n, d.tokens.push_back(n);
    }
    return d;
  }

  const std::string path_;
  const EventBounds bounds_;
  std::string where_;
  std::vector<StepEvents> steps_;
  std::int64_t begun_ = 0;
  std::set<std::int64_t> taken_;
  // Of every group that got tokens: the last step in which it did, and how many each of its rollouts has.
  std::map<std::int64_t, std::pair<std::int64_t, std::vector<std::int64_t>>> written_;
};

}  // namespace

std::vector<StepEvents> read_event_log(const std::string& path, const EventBounds& bounds) {
  return EventLog(path, bounds).read();
}

}  // namespace ov::rl
