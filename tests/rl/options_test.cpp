// Parts of the objective that the recipe leaves off: each moves the gradient, and the gradient is that of the loss.
#include <doctest/doctest.h>

#include "tests/rl/policy_world.h"

namespace ov::test {
namespace {

constexpr double off_policy = 0.02;  // as far as ratios of policies differ from 1 by some tenths

struct Setting {
  const char* name;
  std::function<void(PolicyOptions&)> set;
};

void no_deviations(PolicyOptions& o) { o.advantages.reward_norm->std = o.advantages.adv_norm->std = Level::none; }

const std::vector<Setting>& settings() {
  static const std::vector<Setting> all = {
      {"none", [](PolicyOptions&) {}},
      {"rl.kl, k1", [](PolicyOptions& o) { o.advantages.kl_ctl = 0.5, o.advantages.kl_estimator = Kl::k1; }},
      {"rl.kl, k2", [](PolicyOptions& o) { o.advantages.kl_ctl = 0.5, o.advantages.kl_estimator = Kl::k2; }},
      {"rl.kl, k3", [](PolicyOptions& o) { o.advantages.kl_ctl = 0.5, o.advantages.kl_estimator = Kl::k3; }},
      {"rl.ratio sequence", [](PolicyOptions& o) { o.actor.level = RatioLevel::sequence; }},
      {"rl.overlong_tokens", [](PolicyOptions& o) { o.advantages.overlong_tokens = 3; }},
      {"rl.no_eos zero", [](PolicyOptions& o) { o.advantages.mask_no_eos_with_zero = true; }},
      {"rl.reward_mean batch", [](PolicyOptions& o) { o.advantages.reward_norm->mean = Level::batch; }},
      {"rl.reward_std none", [](PolicyOptions& o) { o.advantages.reward_norm->std = Level::none; }},
      // With deviations it would cancel.
      {"rl.reward_std and rl.advantage_std none", no_deviations},
      {"rl.leave_one_out beside the last",
       [](PolicyOptions& o) { no_deviations(o), o.advantages.reward_norm->leave_one_out = true; }},
      {"rl.advantage_mean none", [](PolicyOptions& o) { o.advantages.adv_norm->mean = Level::none; }},
      {"rl.advantage_std group", [](PolicyOptions& o) { o.advantages.adv_norm->std = Level::group; }},
      {"rl.dual_clip", [](PolicyOptions& o) { o.actor.dual_clip = 1.05; }},
      {"rl.flat_groups drop", [](PolicyOptions& o) { o.drop_flat = true; }},
  };
  return all;
}

// An f64 model; rollouts of several lengths with the rewards 0 and 1, as lengths say.
struct Small {
  Small() : records(lessons.path("records.jsonl"), "") {
    for (Onevision* m : {model.get(), reference.get()}) m->parameters().allocate(Dtype::f64, cpu());
    const InitOptions init{.matrix = "uniform_fan_in", .projection_out_std = 0.2, .embedding_std = 0.5};
    initialize(model->parameters(), init, 1), initialize(reference->parameters(), init, 2);
    model->parameters().train(trainable({"language_model", "adapter", "vision_model"}, true));
    options.order.prompts = 3, options.reference = reference.get();
    options.rollouts = {.group = 5, .max_new_tokens = 5, .style = PromptStyle::plain};
    for (std::int64_t id = 0; id < 60; ++id) options.rollouts.stop.push_back(id);
    options.rollouts.reward = [](const std::string& text, const Group& g) -> Reward {
      const bool right = g.number == 1 || text.size() % 3 == 0;  // one group is flat
      return {.reward = right ? g.number == 2 ? 0.5 : 1.0 : 0.0};
    };
  }
  Lessons lessons;
  std::unique_ptr<Onevision> model = std::make_unique<Onevision>(byte_config()),
                             reference = std::make_unique<Onevision>(byte_config());
  Processor processor = loader_test::small_processor();
  RecordFile records;
  PolicyOptions options;
};

}  // namespace

TEST_CASE("rl: every optional part is off unless asked for, moves the gradient, and that is the loss's") {
  Small world;
  const Tensor weights = world.model->parameters().values();
  const std::vector<double> start = weights.to_vector<double>();
  std::vector<double> last, along, released;  // where the tests stand, off policy; the gradient there without options
  for (const Setting& s : settings()) {
    INFO(std::string(s.name));
    PolicyOptions options = world.options;
    s.set(options);
    PolicyObjective o(*world.model, world.processor, world.records, options);
    o.hold_proximal = true;
    o.prepare(0);
    const Tensor sum = world.model->parameters().gradient_buffer();
    const auto loss = [&] {
      const Tensor scalars = Tensor::zeros({o.scalars()}, Dtype::f64, cpu(), Segment::workspace);
      sum.zero();
      for (std::int64_t i = 0; i < o.scalars() / PolicyObjective::scalars_of_leaf; ++i) {
        Tape tape(sum);
        o.run(i, tape, scalars);
      }
      return o.losses(scalars.to_vector<double>()).loss;
    };
    const auto stand = [&](double by, const std::vector<double>& gradient, double h) {
      for (std::size_t i = 0; i < start.size(); ++i)
        weights.data<double>()[i] = start[i] + by * along[i] + h * gradient[i];
    };
    loss();  // where the proximal policy is
    if (along.empty()) {
      along = sum.to_vector<double>();
      const double norm = gradient_norm(sum.flat());
      for (double& g : along) g /= norm;
    }
    stand(off_policy, along, 0);
    loss();
    const std::vector<double> gradient = sum.to_vector<double>();
    const double length = gradient_norm(sum.flat()), h = 1e-6;
    if (released.empty()) released = gradient;
    const std::vector<double>& other = contains(s.name, "beside the last") ? last : released;
    double apart = 0;
    for (std::size_t i = 0; i < gradient.size(); ++i) apart += (gradient[i] - other[i]) * (gradient[i] - other[i]);
    last = gradient;
    if (std::string(s.name) != "none") CHECK(std::sqrt(apart) > 1e-3 * length);
    stand(off_policy, gradient, h / length);
    const double up = loss();
    stand(off_policy, gradient, -h / length);
    CHECK((up - loss()) / (2 * h) == doctest::Approx(length).epsilon(1e-5));
    stand(0, along, 0);
  }
}

TEST_CASE("rl: the KL term measures from the starting model: 0 at the first step, more behind it; killed runs go on") {
  const Lessons lessons;
  RlJob job = lessons.job("kl");
  job.policy.advantages.kl_ctl = 0.1;
  silently([&] { return run_rl(job); });
  std::vector<double> kl;
  JsonlReader lines(job.out + "/run.jsonl");
  for (Json line; lines.next(&line);)
    if (line.at("type").as_string() == "step") kl.push_back(line.at("reference_kl").as_double());
  REQUIRE(kl.size() == 4);
  CHECK(std::abs(kl[0]) < 1e-6);  // f32 sums of the two differ by nothing else
  CHECK(std::abs(kl[3]) > 1e-4);
  RlJob again = job;
  again.out = lessons.path("again");
  silently([&] { return run_rl(again); });
  std::filesystem::remove_all(again.out + "/model");
  std::filesystem::remove_all(checkpoints(again.out).back());
  silently([&] { return run_rl(again); });
  CHECK(step_checksums(again.out) == step_checksums(job.out));
  PolicyOptions without;
  without.advantages.kl_ctl = 1;
  Small world;
  CHECK(contains(thrown([&] { PolicyObjective(*world.model, world.processor, world.records, without); }), "rl.kl 1"));
}

TEST_CASE(
    "rl: the penalty for length is that of the longest answer allowed, a group's deviation that of its rollouts") {
  Small world;
  PolicyObjective writer(*world.model, world.processor, world.records, world.options);
  writer.prepare(0);
  bool all_right = false;
  const auto gradient = [&](const std::function<void(PolicyOptions&)>& set) {
    PolicyOptions options = world.options;
    set(options);
    PolicyObjective o(*world.model, world.processor, world.records, options);
    Groups groups;
    for (const auto& g : writer.groups()) {
      groups.push_back(std::make_unique<rl::Group>(*g));
      for (Rollout& r : groups.back()->rollouts) r.reward.reward = all_right ? 1 : r.reward.reward;
    }
    o.load(0, std::move(groups));
    const Tensor sum = world.model->parameters().gradient_buffer();
    const Tensor scalars = Tensor::zeros({o.scalars()}, Dtype::f64, cpu(), Segment::workspace);
    sum.zero();
    for (std::int64_t i = 0; i < o.scalars() / PolicyObjective::scalars_of_leaf; ++i) {
      Tape tape(sum);
      o.run(i, tape, scalars);
    }
    return sum.to_vector<double>();
  };
  // Of 40 tokens the last 20 cost: no answer has more than 5.
  const auto longer = [](PolicyOptions& o) { o.rollouts.max_new_tokens = 40; };
  const std::vector<double> free = gradient(longer);
  CHECK(gradient([&](PolicyOptions& o) { longer(o), o.advantages.overlong_tokens = 20; }) == free);
  CHECK(gradient([&](PolicyOptions& o) { longer(o), o.advantages.overlong_tokens = 39; }) != free);
  // All earn 1, which is (1 - 0.5) 10 as a score. Divided by the deviation from 0 of a group's n tokens it is
  // sqrt((n - 1) / n).
  all_right = true;
  const auto length = [&](Level deviation) {
    double squares = 0;
    for (const double g : gradient([&](PolicyOptions& o) {
           no_deviations(o);
           o.advantages.reward_norm->mean = o.advantages.adv_norm->mean = Level::none;
           o.advantages.adv_norm->std = deviation;
         }))
      squares += g * g;
    return std::sqrt(squares);
  };
  const double ratio = length(Level::none) / length(Level::group);
  CHECK(ratio > 5);
  CHECK(ratio < 5 * std::sqrt(5.0 / 4));  // a group of five rollouts has at least five tokens
}

}  // namespace ov::test
