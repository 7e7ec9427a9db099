// tests/golden/rl: normalisation, advantages and losses of LLaVA-OneVision-1.5-RL, by the original code. The tests walk
// over the settings that cases.json lists.
#include "autograd/tape.h"
#include "rl/advantages.h"
#include "rl/losses/policy.h"
#include "rl/losses/preference.h"
#include "tests/check.h"
#include "tests/rl/golden.h"

using namespace ov;
using namespace ov::rl;
using test::apart;
using test::GoldenTensors;

namespace {

const Json& cases() {
  static const Json golden = Json::read("tests/golden/rl/cases.json");
  return golden;
}

Level level(const Json& j) {
  if (j.is_null()) return Level::none;
  return j.as_string() == "group" ? Level::group : Level::batch;
}

std::optional<double> number(const Json& j) { return j.is_null() ? std::nullopt : std::optional(j.as_double()); }

template <class T>
std::vector<T> numbers(const Json& list) {
  std::vector<T> out;
  for (const Json& v : list.items()) out.push_back(static_cast<T>(v.as_double()));
  return out;
}

std::optional<NormOptions> norm(const Json& j) {
  if (j.is_null()) return std::nullopt;
  return NormOptions{level(j.at("mean_level")),      level(j.at("std_level")),    j.at("mean_leave1out").as_bool(),
                     j.at("std_unbiased").as_bool(), j.at("group_size").as_int(), j.at("eps").as_double()};
}

AdvantageOptions options(const Json& j) {
  AdvantageOptions o;
  o.reward_bias = j.at("reward_bias").as_double(), o.reward_scaling = j.at("reward_scaling").as_double();
  o.reward_clip = j.at("reward_clip").as_double();
  o.reward_norm = norm(j.at("reward_norm")), o.adv_norm = norm(j.at("adv_norm"));
  o.kl_ctl = j.at("kl_ctl").as_double();
  if (const Json* k = j.find("kl_estimator"))
    o.kl_estimator = k->as_string() == "k1" ? Kl::k1 : k->as_string() == "k2" ? Kl::k2 : Kl::k3;
  o.discount = j.at("discount").as_double(), o.gae_lambda = j.at("gae_lambda").as_double();
  o.decoupled = j.at("use_decoupled_loss").as_bool(), o.recompute_logprob = j.at("recompute_logprob").as_bool();
  if (const Json* k = j.find("mask_no_eos_with_zero")) o.mask_no_eos_with_zero = k->as_bool();
  o.max_new_tokens = j.at("max_new_tokens").as_int();
  if (const Json* k = j.find("overlong_reward_penalty"); k && k->as_bool()) {
    o.overlong_tokens = j.at("overlong_tokens").as_int();
    o.overlong_factor = j.at("overlong_penalty_factor").as_double();
  }
  return o;
}

Rollouts rollouts(const GoldenTensors& g, bool with_reference, bool with_values) {
  Rollouts b;
  b.rows = g.shape("in.input_ids")[0], b.tokens = g.shape("in.input_ids")[1];
  const auto attention = g.numbers<std::int64_t>("in.attention_mask");
  for (std::int64_t i = 0; i < b.rows; ++i) {
    std::int64_t n = 0;
    for (std::int64_t t = 0; t < b.tokens; ++t) n += attention[static_cast<std::size_t>(i * b.tokens + t)];
    b.lengths.push_back(n);
  }
  b.loss_mask = g.numbers<float>("in.loss_mask"), b.logprobs = g.numbers<float>("in.logprobs");
  b.prox_logp = g.numbers<float>("in.prox_logp"), b.rewards = g.numbers<float>("in.rewards");
  if (with_reference) b.ref_logp = g.numbers<float>("in.ref_logp");
  if (with_values) b.values = g.numbers<float>("in.values");
  return b;
}

void check_advantages(const Advantages& a, const GoldenTensors& g, const std::string& prefix) {
  for (const auto& [name, ours] : {std::pair{"advantages", &a.advantages},
                                   {"returns", &a.returns},
                                   {"kl_rewards", &a.kl_rewards},
                                   {"tot_rewards", &a.tot_rewards},
                                   {"loss_mask", &a.loss_mask},
                                   {"logprobs", &a.logprobs},
                                   {"prox_logp", &a.prox_logp},
                                   {"rewards", &a.rewards}}) {
    if (!g.has(prefix + name)) continue;
    INFO(prefix, name);
    CHECK(apart(*ours, g.numbers<float>(prefix + name)) <= 2e-7);
  }
}

}  // namespace

TEST_CASE("rl: normalisation equals the original in every setting") {
  const GoldenTensors g("normalization");
  for (const Json& c : cases().at("normalization").items()) {
    INFO(c.shown(300));
    const NormOptions o{level(c.at("mean_level")),  level(c.at("std_level")),    c.at("leave1out").as_bool(),
                        c.at("unbiased").as_bool(), c.at("group_size").as_int(), c.at("eps").as_double()};
    const auto x = g.numbers<double>(c.at("x").as_string());
    const auto mask = c.at("mask").is_null() ? std::vector<double>() : g.numbers<double>(c.at("mask").as_string());
    const Shape& shape = g.shape(c.at("x").as_string());
    const auto run = [&] { return normalise<double>(x, shape[0], shape.rank() == 1 ? 0 : shape[1], mask, o); };
    if (!c.at("raises").is_null()) CHECK(test::contains(test::thrown(run), "groups of one"));
    else CHECK(apart(run(), g.numbers<float>(c.at("out").as_string())) <= 2e-7);
  }
  const GoldenTensors m("masked_normalization");
  const auto x = m.numbers<double>("x"), mask = m.numbers<double>("mask");
  for (const bool unbiased : {false, true}) {
    const std::string name = unbiased ? "True" : "False";
    CHECK(apart(masked_normalization(x, mask, unbiased), m.numbers<float>("out_unbiased_" + name)) <= 2e-7);
    CHECK(apart(masked_normalization(x, {}, unbiased), m.numbers<float>("out_nomask_unbiased_" + name)) <= 2e-7);
  }
}

TEST_CASE("rl: advantages equal the original in every variant") {
  const GoldenTensors g("advantages");
  for (const auto& [name, setting] : cases().at("advantages").members()) {
    const Rollouts b = rollouts(g, setting.at("uses_ref_logp").as_bool(), setting.at("uses_values").as_bool());
    check_advantages(compute_advantages(b, options(setting)), g, name + ".");
  }
  const GoldenTensors large("advantages_group16");
  check_advantages(compute_advantages(rollouts(large, false, false), {}), large, "out.");
}

TEST_CASE("rl, G2 and G6: advantages have the digits of the specification, and equal rewards move the policy") {
  const std::vector<double> rewards = {1, 0, 0, 0, 1, 1, 1, 1, .25, .75, 1.5, .5};
  const std::vector<std::int64_t> lengths = {6, 1, 2, 1, 3, 2, 4, 1, 2, 5, 3, 1};
  const std::vector<double> want = {1.499173, -.969692, -.969692,  -.969692, -.352476, -.352476,
                                    -.352476, -.352476, -1.495339, -.352476, 1.361818, -.923907};
  Rollouts b;
  b.rows = 12, b.tokens = 7;
  b.loss_mask.assign(84, 0), b.logprobs.assign(84, -1);
  for (std::size_t i = 0; i < 12; ++i) {
    b.rewards.push_back(static_cast<float>(rewards[i]));
    b.lengths.push_back(lengths[i] + 1);  // one token of prompt
    for (std::int64_t t = 1; t <= lengths[i]; ++t) b.loss_mask[i * 7 + static_cast<std::size_t>(t)] = 1;
  }
  AdvantageOptions o;
  o.reward_norm->group_size = 4;
  const Advantages a = compute_advantages(b, o);
  for (std::size_t i = 0; i < 12; ++i)
    for (std::int64_t t = 0; t < lengths[i]; ++t)
      CHECK(std::abs(a.advantages[i * 7 + static_cast<std::size_t>(t)] - want[i]) < 1e-6);
  CHECK(a.advantages[6] == 0);
  // z stands on the prediction of the last response token.
  const std::vector<double> z = {1.499997, -.499999, -.499999, -.499999, 0, 0, 0, 0, -.925818, 0, 1.388728, -.462909};
  for (std::size_t i = 0; i < 12; ++i)
    CHECK(std::abs(a.tot_rewards[i * 7 + static_cast<std::size_t>(lengths[i]) - 1] - z[i]) < 1e-6);
  // Two rows tell M and S: Adv = (z - M) / (S + 1e-5).
  const double S = (z[0] - z[1]) / (static_cast<double>(a.advantages[0]) - static_cast<double>(a.advantages[7])) - 1e-5;
  CHECK(std::abs(S - .81007696) < 1e-6);
  CHECK(std::abs(-static_cast<double>(a.advantages[28]) * (S + 1e-5) - .28553622) < 1e-6);
}

TEST_CASE("rl: the decoupled loss and its gradient equal the original in every setting") {
  const GoldenTensors g("actor_loss");
  for (const Json& c : cases().at("actor_loss").items()) {
    INFO(c.shown(400));
    const std::string shape = c.at("shape").as_string(), in = shape == "two_d" ? "two_d." : "";
    const auto logprobs = g.numbers<double>(in + "logprobs"), proximal = g.numbers<double>(in + "proximal_logprobs"),
               behaviour = g.numbers<double>(in + "old_logprobs"), advantages = g.numbers<double>(in + "advantages");
    std::vector<bool> mask = g.mask(in + "loss_mask");
    if (shape == "all_masked") mask.assign(mask.size(), false);
    ActorTokens tokens{logprobs, proximal, behaviour, advantages, mask};
    if (shape == "two_d") tokens.row_length = g.shape("two_d.logprobs")[1];
    else tokens.starts = g.integers("cu_seqlens");
    const ActorLoss l = actor_loss(
        tokens, {c.at("eps_clip").as_double(), number(c.at("eps_clip_higher")), number(c.at("c_clip")),
                 number(c.at("behav_imp_weight_cap")),
                 c.at("importance_sampling_level").as_string() == "token" ? RatioLevel::token : RatioLevel::sequence});
    const std::string out = c.at("out").as_string() + ".";
    CHECK(std::abs(l.loss - c.at("loss").as_double()) <= 1e-12);
    CHECK(apart(l.gradient, g.numbers<double>(out + "grad")) <= 1e-9);
    const bool statistics = shape != "all_masked";  // there the file has the gradient alone
    for (const auto& [name, ours] : {std::pair{"loss", &l.token_loss},
                                     {"importance_weight", &l.ratio},
                                     {"approx_kl", &l.log_ratio},
                                     {"behave_imp_weight", &l.behaviour_weight},
                                     {"behave_approx_kl", &l.behaviour_kl}}) {
      INFO(name);
      if (statistics) CHECK(apart(*ours, g.numbers<double>(out + name)) <= 1e-12);
    }
    if (!statistics) continue;
    CHECK(l.clipped == g.mask(out + "clip_mask"));
    CHECK(l.dual_clipped == g.mask(out + "dual_clip_mask"));
    CHECK(l.kept == g.mask(out + "behave_mask"));
  }
}

TEST_CASE("rl, G2: the loss has the digits of the specification, and finite differences give its gradient") {
  std::vector<double> theta = {-.5, -1.2, -.1, -2, -.7, -.9};
  const std::vector<double> p = {-.7, -1.2, -.5, -1.6, -.7, -.4}, b = {-.7, -1, -.55, -1.6, -2.5, -.6},
                            adv = {1, 1, 1, -1, .5, -2};
  const std::vector<double> slope = {-.203567, -.136455, 0, 0, 0, 0};
  const std::vector<bool> mask(6, true);
  ActorOptions o{.eps = .2, .eps_high = .28, .behaviour_cap = 5};
  const auto loss = [&] { return actor_loss({theta, p, b, adv, mask}, o); };
  const ActorLoss l = loss();
  CHECK(l.loss == doctest::Approx(-.1052526836).epsilon(1e-9));
  CHECK_FALSE(l.kept[4]);
  const std::vector<double> ratio = {1.221403, 1, 1.491825, .670320, 1, .606531},
                            weight = {1, .818731, 1.051271, 1, 0, 1.221403},
                            contribution = {-1.221403, -.818731, -1.345627, .8, 0, 1.954244};
  for (std::size_t t = 0; t < 6; ++t) {
    CHECK(std::abs(l.ratio[t] - ratio[t]) < 1e-6);
    CHECK(std::abs(l.behaviour_weight[t] - weight[t]) < 1e-6);
    CHECK(std::abs(l.token_loss[t] - contribution[t]) < 1e-6);
  }
  CHECK(std::abs(std::exp(p[4] - b[4]) - 6.049647) < 1e-6);  // what is dropped
  for (std::size_t t = 0; t < 6; ++t) CHECK(std::abs(l.gradient[t] - slope[t]) < 1e-6);
  for (const std::size_t t : {0u, 2u, 3u, 4u, 5u}) {  // token 1 lies where two branches meet
    const double at = theta[t], h = 1e-6;
    theta[t] = at + h;
    const double up = loss().loss;
    theta[t] = at - h;
    CHECK((up - loss().loss) / (2 * h) == doctest::Approx(l.gradient[t]).epsilon(1e-6));
    theta[t] = at;
  }
  o.dual_clip = 3;
  CHECK(loss().loss == l.loss);
  o.dual_clip = 1;
  CHECK(test::contains(test::thrown(loss), "dual_clip: expected more than 1"));
}

TEST_CASE("rl, G4: on policy the weight is one, nothing is dropped or clipped") {
  const std::vector<double> logp = {-1, -2, -.5}, adv = {1, -1, .25};
  const std::vector<bool> mask = {true, true, true};
  const ActorLoss l = actor_loss({logp, logp, logp, adv, mask}, {.eps_high = .28, .behaviour_cap = 5});
  for (std::size_t t = 0; t < 3; ++t) {
    CHECK(l.behaviour_weight[t] == 1);
    CHECK(l.ratio[t] == 1);
    CHECK(l.kept[t]);
    CHECK_FALSE(l.clipped[t]);
    CHECK(l.gradient[t] == -adv[t] / 3);
  }
}

TEST_CASE("rl, G3: micro-batches add up to the whole step's gradient, whatever their split") {
  const GoldenTensors g("actor_loss");
  const auto logprobs = g.numbers<double>("logprobs"), proximal = g.numbers<double>("proximal_logprobs"),
             behaviour = g.numbers<double>("old_logprobs"), advantages = g.numbers<double>("advantages");
  const std::vector<bool> mask = g.mask("loss_mask");
  const ActorOptions o{.eps_high = .28, .behaviour_cap = 5};
  const ActorLoss whole = actor_loss({logprobs, proximal, behaviour, advantages, mask}, o);
  const auto n = static_cast<std::int64_t>(std::count(mask.begin(), mask.end(), true));
  for (const std::size_t cut : {std::size_t{1}, mask.size() / 2}) {
    double loss = 0;
    std::vector<double> gradient;
    for (const auto& [begin, end] : {std::pair{std::size_t{0}, cut}, {cut, mask.size()}}) {
      const auto part = [&, b = begin, e = end](const std::vector<double>& v) {
        return std::span(v).subspan(b, e - b);
      };
      const std::vector<bool> m(mask.begin() + static_cast<std::ptrdiff_t>(begin),
                                mask.begin() + static_cast<std::ptrdiff_t>(end));
      ActorTokens tokens{part(logprobs), part(proximal), part(behaviour), part(advantages), m};
      tokens.denominator = n;
      const ActorLoss l = actor_loss(tokens, o);
      loss += l.loss;
      gradient.insert(gradient.end(), l.gradient.begin(), l.gradient.end());
    }
    CHECK(loss == doctest::Approx(whole.loss).epsilon(1e-13));
    CHECK(gradient == whole.gradient);
  }
}

TEST_CASE("rl: the policy loss reaches the logits through the weighted cross entropy") {
  const GoldenTensors g("grpo_loss");
  const Shape shape = g.shape("logits");
  const auto V = static_cast<std::size_t>(shape[1]);
  // A row predicts the next token; the last row's target goes round.
  std::vector<std::int64_t> targets = g.integers("input_ids");
  std::rotate(targets.begin(), targets.begin() + 1, targets.end());
  const auto proximal = g.numbers<double>("prox_logp"), behaviour = g.numbers<double>("logprobs"),
             advantages = g.numbers<double>("advantages");
  const std::vector<bool> mask = g.mask("loss_mask");
  for (const auto& [name, loss] : cases().at("grpo_loss").members()) {
    INFO(name);
    const double temperature = std::stod(name.substr(1));
    for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
      const Tensor logits = Tensor::of(g.numbers<double>("logits"), shape).to(dtype);
      const TokenStatistics s = token_statistics(logits, targets, temperature);
      CHECK(apart(s.logprobs, g.numbers<double>(name + ".new_logprobs")) <= 2e-7);
      CHECK(apart(s.entropy, g.numbers<double>(name + ".entropy")) <= 2e-7);
      const ActorLoss l = actor_loss({s.logprobs, proximal, behaviour, advantages, mask, g.integers("cu_seqlens")},
                                     {.eps = .2, .eps_high = .28, .behaviour_cap = 5});
      CHECK(std::abs(l.loss - loss.as_double()) <= 2e-7);
      Tape tape;
      const Var z = tape.input(logits, true);
      const Var out = loss_of_logprobs(z, targets, l.gradient, temperature);
      const Tensor one = Tensor::like(out.value);
      one.fill(1);
      tape.backward(std::array{out}, std::array{one});
      std::vector<double> dz;
      const Tensor d = tape.gradient(z).to(Dtype::f64);
      for (const double x : d.to_vector<double>()) dz.push_back(x);
      CHECK(dz.size() == static_cast<std::size_t>(shape[0]) * V);
      CHECK(apart(dz, g.numbers<double>(name + ".dlogits")) <= 2e-7);
    }
  }
}

TEST_CASE("rl: KL estimates equal the original") {
  const GoldenTensors g("kl");
  const auto p = g.numbers<float>("log_probs"), q = g.numbers<float>("log_probs_base");
  for (const auto& [name, kind] : {std::pair{"k1", Kl::k1}, {"k2", Kl::k2}, {"k3", Kl::k3}})
    for (const bool clamped : {false, true}) {
      std::vector<float> ours;
      for (std::size_t i = 0; i < p.size(); ++i) ours.push_back(kl_estimate(kind, p[i], q[i], clamped));
      CHECK(apart(ours, g.numbers<float>(cat(name, ".clamp_", clamped ? "True" : "False"))) <= 2e-7);
    }
}

TEST_CASE("rl: dynamic sampling, the penalty for length and micro-batches equal the original") {
  for (const Json& c : cases().at("dynamic_sampling").items()) {
    INFO(c.shown(300));
    const Kept kept = dynamic_sampling(numbers<float>(c.at("rewards")), c.at("group_size").as_int());
    CHECK(kept.rows == numbers<std::int64_t>(c.at("kept_rows")));
    CHECK(kept.groups_kept == c.at("stats").at("n_group_kept").as_int());
    CHECK(kept.groups_dropped == c.at("stats").at("n_group_filtered").as_int());
  }
  for (const Json& c : cases().at("overlong_penalty").items()) {
    INFO(c.shown(300));
    CHECK(apart(overlong_penalty(numbers<float>(c.at("rewards")), numbers<std::int64_t>(c.at("response_lengths")),
                                 c.at("max_response_length").as_int(), c.at("overlong_tokens").as_int(),
                                 c.at("factor").as_double()),
                numbers<float>(c.at("out"))) <= 2e-7);
  }
  for (const Json& c : cases().at("ffd_allocate").items()) {
    INFO(c.shown(300));
    const auto values = numbers<std::int64_t>(c.at("values"));
    const auto groups = ffd_allocate(values, c.at("capacity").as_int(), c.at("min_groups").as_int());
    // Equal lengths may change places: a group is known by its lengths.
    const auto lengths = [&](const std::vector<std::int64_t>& group) {
      std::vector<std::int64_t> out;
      for (const std::int64_t i : group) out.push_back(values[static_cast<std::size_t>(i)]);
      std::sort(out.begin(), out.end());
      return out;
    };
    REQUIRE(groups.size() == c.at("groups").size());
    for (std::size_t i = 0; i < groups.size(); ++i)
      CHECK(lengths(groups[i]) == lengths(numbers<std::int64_t>(c.at("groups")[i])));
  }
  CHECK(test::contains(test::thrown([] { ffd_allocate(std::vector<std::int64_t>{3, 9}, 8, 1); }), "sequence 1 has 9"));
}

TEST_CASE("rl: DPO has the loss of the specification, and finite differences give its gradient") {
  const Preference pair{-3, -7, -4, -6};  // the chosen answer gained 1, the rejected lost 1
  CHECK(preference_loss(std::vector{pair}, {}).loss == doctest::Approx(.598139).epsilon(1e-6));
  using Kind = PreferenceOptions::Kind;
  for (const PreferenceOptions& o : {PreferenceOptions{}, {Kind::sigmoid, .3, .1}, {Kind::ipo, .2, 0}}) {
    std::vector<Preference> pairs = {pair, {-9, -2, -8, -3, 4, 2}};
    const PreferenceLoss l = preference_loss(pairs, o);
    for (std::size_t i = 0; i < pairs.size(); ++i)
      for (const auto& [field, slope] :
           {std::pair{&Preference::chosen, l.by_chosen[i]}, {&Preference::rejected, l.by_rejected[i]}}) {
        const double h = 1e-5, at = pairs[i].*field;
        pairs[i].*field = at + h;
        const double up = preference_loss(pairs, o).loss;
        pairs[i].*field = at - h;
        CHECK((up - preference_loss(pairs, o).loss) / (2 * h) == doctest::Approx(slope).epsilon(1e-7));
        pairs[i].*field = at;
      }
  }
  CHECK(preference_loss(std::vector{pair}, {Kind::sigmoid, 1e4, 0}).loss == 0);  // no overflow on either side
  CHECK(preference_loss(std::vector{Preference{-7, -3, -6, -4}}, {Kind::sigmoid, 1e4, 0}).loss == 2e4);
}

// preference.json: TRL's DPOTrainer.dpo_loss in f64 (make_preference.py).
TEST_CASE("rl: DPO's loss, gradient, accuracy and margin equal TRL's on fixed log-probabilities") {
  const Json golden = Json::read("tests/golden/rl/preference.json");
  REQUIRE(!golden.items().empty());
  for (const Json& c : golden.items()) {
    INFO(c.shown(300));
    const auto of = [&](const char* key) { return numbers<double>(c.at(key)); };
    const auto a = of("chosen"), b = of("rejected"), ra = of("chosen_reference"), rb = of("rejected_reference");
    const auto na = numbers<std::int64_t>(c.at("chosen_tokens")), nb = numbers<std::int64_t>(c.at("rejected_tokens"));
    std::vector<Preference> pairs;
    for (std::size_t i = 0; i < a.size(); ++i) pairs.push_back({a[i], b[i], ra[i], rb[i], na[i], nb[i]});
    PreferenceOptions o{.beta = c.at("beta").as_double(), .label_smoothing = c.at("label_smoothing").as_double()};
    if (c.at("kind").as_string() == "ipo") o.kind = PreferenceOptions::Kind::ipo;
    const PreferenceLoss l = preference_loss(pairs, o);
    CHECK(l.loss == doctest::Approx(c.at("loss").as_double()).epsilon(1e-12));
    CHECK(l.accuracy == doctest::Approx(c.at("accuracy").as_double()).epsilon(1e-12));
    CHECK(l.margin == doctest::Approx(c.at("margin").as_double()).epsilon(1e-12));
    CHECK(apart(l.by_chosen, of("by_chosen")) <= 1e-12);
    CHECK(apart(l.by_rejected, of("by_rejected")) <= 1e-12);
  }
}
