// A rank that generates (rl/disaggregated.h).

#include "base/clock.h"
#include "base/stop_signals.h"
#include "rl/disaggregated.h"

namespace ov::rl {
namespace {

class Generator {
 public:
  Generator(Onevision& model, const Processor& processor, const RecordFile& records, PromptOrder order, Roles& roles,
            const BufferOptions& options, std::string about)
      : model_(model),
        processor_(processor),
        records_(records),
        order_(std::move(order)),
        roles_(roles),
        options_(options),
        about_(std::move(about)),
        rollouts_(options_.rollouts) {}

  void run() {
    const StopSignals signals;  // the trainers end a run, and say so
    const std::vector<int> controller = {roles_.controller};
    const double quiet = std::min(1.0, roles_.inbox.timeout() / 8);
    const auto busy = [&] { return writer_ && !open_.empty(); };
    for (bool told = false;;) {
      while (roles_.inbox.sender(controller, busy() ? 0 : quiet) >= 0)  // a letter may have brought work
        if (!obey(letter_from(roles_.world, roles_.controller))) return;
      if (const int signal = StopSignals::asked(); signal && !std::exchange(told, true)) say({Kind::signal, signal});
      if (busy()) {
        writer_->step();
        hand_in();
      }
      if (monotonic_seconds() - said_ > roles_.inbox.timeout() / 8) say({Kind::alive, version_});
    }
  }

 private:
  void say(const Letter& letter) {
    post(roles_.world, roles_.controller, letter);
    said_ = monotonic_seconds();
  }

  // False: the run is over.
  bool obey(const Letter& letter) {
    switch (letter.kind) {
      case Kind::stop: return false;
      case Kind::hold: {
        Json groups = Json::array();
        RolloutCounts counts;
        if (writer_) counts.add(writer_->stats());
        writer_.reset();  // what is unfinished has its tokens so far
        for (const auto& [number, g] : open_) groups.push(told(*g));
        say({Kind::held, version_, Json::object({{"groups", groups}, {"counts", counts.written()}}).dump()});
        break;
      }
      case Kind::weights: {
        if (letter.text != about_)
          input_error("rank ", roles_.world.rank(), ", a generator, was given another run than rank ",
                      roles_.controller, ": ", about_, " and ", letter.text);
        version_ = letter.number;
        roles_.world.at_step(version_ + 1);
        hand_over_weights(roles_.weights, 0, model_.parameters().values());
        writer_.emplace(model_, rollouts_, version_);
        for (const auto& [number, g] : open_) writer_->add(*g);
        break;
      }
      case Kind::groups: {
        std::vector<Group*> fresh;
        const Json given = Json::parse(letter.text, "rl: groups");
        for (const Json& of : given.items()) {
          const std::int64_t number = of.at("number").as_int();
          auto g = std::make_unique<Group>(Group{.record = &order_.at(number), .number = number});
          g->seed = mix64(options_.seed, static_cast<std::uint64_t>(number));
          for (const Json& r : of.at("rollouts").items()) g->rollouts.push_back(rollout_of(r));
          g->rollouts.resize(static_cast<std::size_t>(rollouts_.group));
          fresh.push_back((open_[number] = std::move(g)).get());
        }
        make_prompts(fresh, records_, processor_, rollouts_.style, options_.limits);
        if (writer_)
          for (Group* g : fresh) writer_->add(*g);
        break;
      }
      default: machine_error("rl: rank ", roles_.controller, " sent a letter of kind ", static_cast<int>(letter.kind));
    }
    return true;
  }

  static Json told(const Group& g) {
    Json rollouts = Json::array();
    for (const Rollout& r : g.rollouts) rollouts.push(json_of(r));
    return Json::object({{"number", g.number}, {"rollouts", rollouts}});
  }

  // What is finished, scored.
  void hand_in() {
    for (auto at = open_.begin(); at != open_.end();) {
      Group& g = *at->second;
      if (!g.finished()) {
        ++at;
        continue;
      }
      say({Kind::scoring, g.number});
      RolloutCounts counts;
      score(g, processor_.tokenizer(), rollouts_, counts);
      say({Kind::finished, g.number, told(g).dump()});
      at = open_.erase(at);
    }
  }

  Onevision& model_;
  const Processor& processor_;
  const RecordFile& records_;
  PromptOrder order_;
  Roles& roles_;
  const BufferOptions options_;
  const std::string about_;
  const RolloutOptions& rollouts_;
  std::map<std::int64_t, std::unique_ptr<Group>> open_;  // by number
  std::optional<RolloutWriter> writer_;                  // with the weights of version_; before open_'s end it goes
  std::int64_t version_ = -1;
  double said_ = monotonic_seconds();
};

}  // namespace

void run_generator(Onevision& model, const Processor& processor, const RecordFile& records, PromptOrder order,
                   const BufferOptions& options, Roles& roles, std::string about) {
  Generator(model, processor, records, std::move(order), roles, options, std::move(about)).run();
}

}  // namespace ov::rl
