#include "rl/disaggregated.h"

#include <algorithm>
#include <numeric>

#include "base/clock.h"
#include "base/progress.h"
#include "base/stop_signals.h"

namespace ov::rl {
namespace {

Inbox& inbox_of(Communicator& world) {
  auto* inbox = dynamic_cast<Inbox*>(&world);
  if (!inbox)
    input_error(
        "rl.mode disaggregated: generators and trainers are ranks; start the run with onevision launch -n N -- "
        "rl ..., or give rl.events, the log of such a run, to repeat it");
  return *inbox;
}

std::vector<int> range(int begin, int end) {
  std::vector<int> all(static_cast<std::size_t>(end - begin));
  std::iota(all.begin(), all.end(), begin);
  return all;
}

// This rank alone where it is none of them.
std::vector<int> with(const Communicator& world, std::vector<int> members) {
  const bool in = std::find(members.begin(), members.end(), world.rank()) != members.end();
  return in ? members : std::vector<int>{world.rank()};
}

std::vector<int> controller_and(std::vector<int> members) {
  members.insert(members.begin(), Roles::controller);
  return members;
}

int checked(const Communicator& world, int generators) {
  if (generators < 1 || generators >= world.ranks())
    input_error("rl.generators ", generators, ": of ", world.ranks(), " ranks at least one generates and one trains");
  return generators;
}

const char* doing(Kind kind) {
  switch (kind) {
    case Kind::scoring: return "began to score group ";
    case Kind::finished: return "finished group ";
    default: return "was writing; version ";
  }
}

}  // namespace

Roles::Roles(Communicator& all, int k)
    : world(all),
      inbox(inbox_of(all)),
      generators(checked(all, k)),
      weights(all, with(all, controller_and(range(all.ranks() - k, all.ranks())))),
      trainers(all, with(all, range(0, all.ranks() - k))) {
  if (world.rank() == controller) inbox.may_lose(list());
}

std::vector<int> Roles::list() const { return range(world.ranks() - generators, world.ranks()); }

void hand_over_weights(Communicator& group, int from, const Tensor& values, std::int64_t bucket_bytes) {
  const Tensor flat = values.flat();
  const std::int64_t each = std::max<std::int64_t>(1, bucket_bytes / static_cast<std::int64_t>(size_of(flat.dtype())));
  for (std::int64_t begin = 0; begin < flat.numel(); begin += each)
    group.broadcast(flat.slice(0, begin, std::min(begin + each, flat.numel())), from);
}

RemoteRollouts::RemoteRollouts(Onevision& model, const Processor& processor, const RecordFile& records,
                               PromptOrder order, const BufferOptions& options, Roles& roles, std::string about)
    : RolloutSource(processor, records, std::move(order), options),
      model_(model),
      roles_(roles),
      about_(std::move(about)),
      writers_(roles.list()) {}

Group* RemoteRollouts::find(std::int64_t number) const {
  for (const auto& g : groups_)
    if (g->number == number) return g.get();
  machine_error("rl: a generator told of group ", number, ", which nobody gave it");
}

void RemoteRollouts::restore(const Json& state) {
  RolloutSource::restore(state);
  version_ = -1;
}

// What one letter says.
void RemoteRollouts::hear(int from) {
  Letter letter;
  try {
    letter = letter_from(roles_.world, from);
  } catch (const RankLost&) { return; }  // before its end: what it said in it is not known
  last_[from] = {monotonic_seconds(), {letter.kind, letter.number}};
  const auto rollouts = [&](const Json& of) {
    Group& g = *find(of.at("number").as_int());
    g.rollouts.clear();
    for (const Json& r : of.at("rollouts").items()) g.rollouts.push_back(rollout_of(r));
    return &g;
  };
  const std::string where = cat("rank ", from);
  switch (letter.kind) {
    case Kind::finished: writer_of_.erase(rollouts(Json::parse(letter.text, where))->number); break;
    case Kind::held: {
      const Json told = Json::parse(letter.text, where);
      for (const Json& g : told.at("groups").items()) rollouts(g);
      counts_.add_written(told.at("counts"));
      held_.insert(from);
      break;
    }
    case Kind::signal: StopSignals::pass_on(static_cast<int>(letter.number)); break;  // heard at the step's end
    case Kind::scoring:
    case Kind::alive: break;
    default: machine_error("rl: ", where, " sent a letter of kind ", static_cast<int>(letter.kind));
  }
}

// One letter of any of them, if one comes soon; of which none may have been silent for too long.
void RemoteRollouts::listen(const std::vector<int>& of) {
  const double timeout = roles_.inbox.timeout();
  if (const int from = roles_.inbox.sender(of, std::min(1.0, timeout / 8)); from >= 0) return hear(from);
  for (const int g : of) {
    const auto& [when, what] = last_.at(g);
    if (monotonic_seconds() - when > timeout && !roles_.inbox.lost(g))
      machine_error("rl: rank ", g, ", a generator, has said nothing for ", timeout, " s (comm.timeout) before update ",
                    version_ + 1, "; it last ", doing(what.kind), what.number);
  }
}

// All that generators have said is heard when they are still.
void RemoteRollouts::hold() {
  held_.clear();
  for (const int g : writers_) post(roles_.world, g, {Kind::hold}), last_[g].first = monotonic_seconds();
  for (std::vector<int> open = writers_; !open.empty();) {
    listen(open);
    std::erase_if(open, [&](int g) { return held_.count(g) > 0 || roles_.inbox.lost(g); });
  }
}

bool RemoteRollouts::any_lost() const {
  return std::any_of(writers_.begin(), writers_.end(), [&](int g) { return roles_.inbox.lost(g); });
}

// Generators are still, and wait for weights. What those were writing that are lost, others go on with: from where it
// was at the last update, which is what is known here. They get it now, when nobody has a letter on its way back.
void RemoteRollouts::go_on(std::int64_t version) {
  std::vector<Group*> orphans;
  std::vector<int> gone;
  for (const int g : writers_)
    if (roles_.inbox.lost(g)) gone.push_back(g);
  for (const int g : gone) std::erase(writers_, g);
  for (const int g : gone) {
    lost_.push_back(g);
    std::size_t own = 0;
    for (auto at = writer_of_.begin(); at != writer_of_.end();) {
      if (at->second != g) {
        ++at;
        continue;
      }
      orphans.push_back(find(at->first)), ++own;
      at = writer_of_.erase(at);
    }
    const std::string what =
        cat("rank ", g, ", a generator, is lost before update ", version + 1, " (killed, or out of memory), with ", own,
            own == 1 ? " group" : " groups", " half written");
    if (writers_.empty()) machine_error(what, "; no other is left. The same command goes on from the last checkpoint");
    tell(cat(what, "; the others (", writers_.size(), ") go on with them"));
  }
  give(orphans);
  send_weights(version);
}

void RemoteRollouts::send_weights(std::int64_t version) {
  for (const int g : writers_) post(roles_.world, g, {Kind::weights, version, about_});
  hand_over_weights(roles_.weights, 0, model_.parameters().values());
  version_ = version;
}

// Each to the generator that has fewest to write.
void RemoteRollouts::give(const std::vector<Group*>& groups) {
  std::map<int, Json> letters;
  for (Group* g : groups) {
    std::map<int, int> load;
    for (const int r : writers_) load[r] = 0;
    for (const auto& [number, r] : writer_of_) ++load[r];
    const int to =
        std::min_element(load.begin(), load.end(), [](auto& a, auto& b) { return a.second < b.second; })->first;
    writer_of_[g->number] = to;
    Json rollouts = Json::array();
    if (std::any_of(g->rollouts.begin(), g->rollouts.end(), [](const Rollout& r) { return !r.ids.empty(); }))
      for (const Rollout& r : g->rollouts) rollouts.push(json_of(r));
    letters.try_emplace(to, Json::array())
        .first->second.push(Json::object({{"number", g->number}, {"rollouts", rollouts}}));
  }
  for (const auto& [to, list] : letters) post(roles_.world, to, {Kind::groups, 0, list.dump()});
}

// Of a run that begins, or goes on: the generators know nothing yet.
void RemoteRollouts::start(std::int64_t version) {
  writer_of_.clear();
  go_on(version);
  std::vector<Group*> open;
  for (const auto& g : groups_)
    if (!g->finished()) open.push_back(g.get());
  give(open);
}

Groups RemoteRollouts::take(std::int64_t version, RolloutCounts& counts) {
  counts = {};
  Communicator& trainers = roles_.trainers;
  const auto say = [&](std::int64_t word) {  // to the other trainers: 0 wait, 1 the groups follow
    const Tensor t = Tensor::of(std::vector<std::int64_t>{word}, {1});
    if (trainers.ranks() > 1) trainers.broadcast(t, 0);
    return t.to_vector<std::int64_t>()[0];
  };
  const std::int64_t P = options_.prompts;
  Groups taken;
  std::string told;
  if (controls()) {
    lost_.clear();
    if (version_ != version) start(version);
    for (const int g : writers_) last_[g].first = monotonic_seconds();
    const double timeout = roles_.inbox.timeout();
    for (double said = monotonic_seconds(); std::ssize(groups_) - running() < P;) {
      if (any_lost()) hold(), go_on(version);
      std::vector<Group*> fresh;
      for (std::int64_t room = this->room(version); room > 0; --room) fresh.push_back(&begin());
      give(fresh);
      std::vector<int> writing;
      for (const auto& [number, g] : writer_of_)
        if (std::find(writing.begin(), writing.end(), g) == writing.end()) writing.push_back(g);
      listen(writing);
      if (monotonic_seconds() - said > timeout / 8) say(0), said = monotonic_seconds();
    }
    // As many more as may begin while the step runs: nobody listens then.
    std::vector<Group*> fresh;
    for (std::int64_t room = this->room(version); room > 0; --room) fresh.push_back(&begin());
    give(fresh);
    taken = oldest_finished();
    counts = std::exchange(counts_, {});
    say(1);
    Json groups = Json::array();
    for (const auto& g : taken) {
      Json rollouts = Json::array();
      for (const Rollout& r : g->rollouts) rollouts.push(json_of(r));
      groups.push(Json::object({{"number", g->number}, {"rollouts", rollouts}}));
    }
    if (trainers.ranks() > 1) broadcast_text(trainers, groups.dump(), 0);
  } else {
    while (say(0) == 0) {}
    const Json given = Json::parse(broadcast_text(trainers, "", 0), "rl: groups");
    for (const Json& of : given.items()) {
      taken.push_back(make(of.at("number").as_int()));
      taken.back()->rollouts.clear();
      for (const Json& r : of.at("rollouts").items()) taken.back()->rollouts.push_back(rollout_of(r));
    }
  }
  complete(taken, counts);
  return taken;
}

void RemoteRollouts::updated(std::int64_t version, RolloutCounts& counts) {
  hold();
  counts.add_written(std::exchange(counts_, {}).written());
  go_on(version);
}

Json RemoteRollouts::events(const Groups& taken, std::int64_t version) const {
  if (!controls()) return {};
  Json drawn = Json::array(), numbers = Json::array();
  const auto add = [&](const Group& g) {
    std::vector<std::int64_t> tokens;
    for (const Rollout& r : g.rollouts) tokens.push_back(std::count(r.versions.begin(), r.versions.end(), version));
    if (std::any_of(tokens.begin(), tokens.end(), [](std::int64_t n) { return n > 0; }))
      drawn.push(std::vector<Json>{g.number, tokens});
  };
  for (const auto& g : taken) add(*g), numbers.push(g->number);
  for (const auto& g : groups_) add(*g);
  Json events =
      Json::object({{"begun", begun_}, {"taken", numbers}, {"tokens", tokens_checksum(taken)}, {"drawn", drawn}});
  if (!lost_.empty()) events.set("lost", std::vector<std::int64_t>(lost_.begin(), lost_.end()));
  return events;
}

void RemoteRollouts::finish() {
  if (!controls()) return;
  if (version_ >= 0) hold();  // else they have nothing to say
  for (const int g : writers_) post(roles_.world, g, {Kind::stop});
}

}  // namespace ov::rl
