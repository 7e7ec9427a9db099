#include "rl/selection.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/error.h"

namespace ov::rl {
namespace {

double mean(const std::vector<double>& v) {
  return v.empty() ? 0 : std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
}

struct Sums : PassRates {
  void add(const RolloutRecord& r, double pass_reward) {
    const auto n = static_cast<std::int64_t>(r.rewards.size());
    const auto c = std::count_if(r.rewards.begin(), r.rewards.end(), [&](double x) { return x >= pass_reward; });
    ++records, rollouts += n, passes += c;
    if (n == 0) return;
    pass_1 += pass_at(n, c, 1), pass_n += pass_at(n, c, n), mean_reward += mean(r.rewards);
    ++histogram[static_cast<std::size_t>(std::clamp(std::floor(mean(r.rewards) * 10 + 1e-9), 0.0, 10.0))];
    ++rolled;
    if (r.blind.empty()) return;
    const auto b = std::count_if(r.blind.begin(), r.blind.end(), [&](double x) { return x >= pass_reward; });
    const auto m = static_cast<std::int64_t>(r.blind.size());
    unseen_1 += pass_at(m, b, 1), unseen_n += pass_at(m, b, m), ++unseen;
  }
  PassRates rates() const {
    PassRates p = *this;
    const double n = std::max<std::int64_t>(rolled, 1);
    p.pass_1 /= n, p.pass_n /= n, p.mean_reward /= n;
    if (unseen) p.blind_1 = unseen_1 / unseen, p.blind_n = unseen_n / unseen;
    return p;
  }
  std::int64_t rolled = 0;  // records with at least one rollout
  double unseen_1 = 0, unseen_n = 0, unseen = 0;
};

Json rates_json(const std::map<std::string, PassRates>& all) {
  Json out = Json::object();
  for (const auto& [name, p] : all) {
    Json of = Json::object({{"records", p.records},
                            {"rollouts", p.rollouts},
                            {"passes", p.passes},
                            {"pass_1", p.pass_1},
                            {"pass_n", p.pass_n},
                            {"gap", p.pass_n - p.pass_1},
                            {"mean_reward", p.mean_reward},
                            {"histogram", p.histogram}});
    if (!std::isnan(p.blind_1)) of.set("blind_1", p.blind_1), of.set("blind_n", p.blind_n);
    out.set(name, std::move(of));
  }
  return out;
}

}  // namespace

double pass_at(std::int64_t n, std::int64_t passes, std::int64_t k) {
  if (k < 1 || k > n || passes < 0 || passes > n)
    input_error("pass@k: expected 1 <= k <= n and 0 <= passes <= n, got n ", n, ", k ", k, ", passes ", passes);
  double none = 1;  // C(n-c, k) / C(n, k), one factor a draw
  for (std::int64_t i = 0; i < k; ++i)
    none *= std::max(static_cast<double>(n - passes - i), 0.0) / static_cast<double>(n - i);
  return 1 - none;
}

RewardBand released_band(const std::string& source) {
  static const std::set<std::string> everything = {"sat2",      "virgorlsa", "mmmu_bio", "mmmu_chem",
                                                   "mmmu_phys", "mmmu_geo",  "mmmu_cs",  "codeforces"};
  return everything.count(source) ? RewardBand{-1, 2} : RewardBand{};
}

Selection select(std::span<const RolloutRecord> records, const SelectionOptions& o) {
  std::map<std::string, Sums> sources, groups;
  std::set<std::string> ids;
  for (const RolloutRecord& r : records) {
    if (r.id.empty()) input_error("selection: a record of source '", r.source, "' has no id");
    if (!ids.insert(r.id).second) input_error("selection: two records have the id '", r.id, "'");
    if (std::any_of(r.rewards.begin(), r.rewards.end(), [](double x) { return !std::isfinite(x); }))
      input_error("selection: record '", r.id, "' has a reward that is not a finite number");
    sources[r.source].add(r, o.pass_reward), groups[r.group].add(r, o.pass_reward);
  }
  Selection s;
  for (const auto& [name, sums] : sources) s.by_source[name] = sums.rates();
  for (const auto& [name, sums] : groups) s.by_group[name] = sums.rates();
  for (const auto& [name, p] : s.by_group)
    if (p.pass_n >= o.least_pass && p.pass_n - p.pass_1 >= o.gap) s.latent.push_back(name);
  for (const RolloutRecord& r : records) {
    Sums own;
    own.add(r, o.pass_reward);
    s.by_record.push_back(own.rates());
  }

  for (std::size_t i = 0; i < records.size(); ++i) {
    const RolloutRecord& r = records[i];
    std::string reason;
    if (r.rewards.size() > 1) {
      const PassRates& p = s.by_source.at(r.source);
      const double m = mean(r.rewards);
      const auto own = o.bands.find(r.source);
      const RewardBand band = own != o.bands.end() ? own->second : o.released_bands ? released_band(r.source) : o.band;
      if (o.task_filter && p.pass_n < o.least_pass) reason = "source: too hard";
      else if (o.task_filter && p.pass_n - p.pass_1 < o.gap) reason = "source: no latent ability";
      else if (o.reward_filter && m <= band.low) reason = "record: reward too low";
      else if (o.reward_filter && m >= band.high) reason = "record: reward too high";
    }
    if (reason.empty()) s.kept.push_back(i);
    else ++s.dropped[reason];
    s.reasons.push_back(std::move(reason));
  }

  Json dropped = Json::object(), bands = Json::object();
  for (const auto& [reason, n] : s.dropped) dropped.set(reason, n);
  for (const auto& [source, b] : o.bands) bands.set(source, std::vector<double>{b.low, b.high});
  s.manifest = Json::object({{"records", records.size()},
                             {"kept", s.kept.size()},
                             {"dropped", dropped},
                             {"options", Json::object({{"pass_reward", o.pass_reward},
                                                       {"task_filter", o.task_filter},
                                                       {"gap", o.gap},
                                                       {"least_pass", o.least_pass},
                                                       {"reward_filter", o.reward_filter},
                                                       {"released_bands", o.released_bands},
                                                       {"band", std::vector<double>{o.band.low, o.band.high}},
                                                       {"bands", bands}})},
                             {"latent", s.latent},
                             {"by_source", rates_json(s.by_source)},
                             {"by_group", rates_json(s.by_group)}});
  return s;
}

std::string Selection::record_lines(std::span<const RolloutRecord> records) const {
  std::string out;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const RolloutRecord& r = records[i];
    const PassRates& p = by_record[i];
    Json line = Json::object({{"id", r.id},
                              {"source", r.source},
                              {"template", r.group},
                              {"pass_1", p.pass_1},
                              {"pass_n", p.pass_n},
                              {"mean_reward", p.mean_reward}});
    if (!std::isnan(p.blind_1)) line.set("blind_1", p.blind_1), line.set("blind_n", p.blind_n);
    line.set("kept", reasons[i].empty());
    if (!reasons[i].empty()) line.set("reason", reasons[i]);
    out += line.dump() + "\n";
  }
  return out;
}

}  // namespace ov::rl
