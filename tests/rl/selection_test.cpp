#include "rl/selection.h"

#include "tests/check.h"

using namespace ov;
using namespace ov::rl;

TEST_CASE("rl: pass@k is the share of draws of k that hold a pass") {
  CHECK(pass_at(4, 1, 1) == 0.25);
  CHECK(pass_at(4, 1, 4) == 1);
  CHECK(pass_at(4, 0, 4) == 0);
  CHECK(pass_at(4, 2, 2) == doctest::Approx(5.0 / 6));
  // Against counting: all subsets of k out of n.
  for (const int n : {3, 6})
    for (int c = 0; c <= n; ++c)
      for (int k = 1; k <= n; ++k) {
        int draws = 0, hits = 0;
        for (int set = 0; set < 1 << n; ++set)
          if (__builtin_popcount(static_cast<unsigned>(set)) == k) ++draws, hits += (set & ((1 << c) - 1)) != 0;
        CHECK(pass_at(n, c, k) == doctest::Approx(static_cast<double>(hits) / draws));
      }
  CHECK(test::contains(test::thrown([] { pass_at(4, 1, 5); }), "pass@k"));
}

TEST_CASE("rl: selection keeps sources with latent ability and records inside the band, and counts the rest") {
  std::vector<RolloutRecord> records;
  const auto add = [&](const char* id, const char* source, std::vector<double> rewards) {
    records.push_back({id, source, "t", std::move(rewards)});
  };
  add("l1", "latent", {1, 0, 0, 0});
  add("l2", "latent", {0, 0, 0, 0});   // mean 0: not above the band's low end
  add("l3", "latent", {1, 1, .4, 0});  // mean 0.6: not below its high end
  add("l4", "latent", {.5, .5, .5, .8});
  add("e1", "easy", {1, 1, 1, 1});
  add("h1", "hard", {0, .1, 0, 0});
  add("s1", "sat2", {1, 1, 1, 0});  // the release keeps all of these
  add("one", "single", {0});        // one rollout tells nothing
  SelectionOptions o;
  o.gap = 0.2;
  const Selection s = select(records, o);
  CHECK(s.kept == std::vector<std::size_t>{0, 3, 6, 7});
  CHECK(s.reasons[1] == "record: reward too low");
  CHECK(s.reasons[2] == "record: reward too high");
  CHECK(s.reasons[4] == "source: no latent ability");
  CHECK(s.reasons[5] == "source: too hard");
  const PassRates& p = s.by_source.at("latent");
  CHECK(p.records == 4);
  CHECK(p.pass_1 == doctest::Approx((.25 + 0 + .5 + 1) / 4));
  CHECK(p.pass_n == 0.75);
  CHECK(s.manifest.at("by_source").at("latent").at("gap").as_double() == doctest::Approx(.75 - 1.75 / 4));
  CHECK(s.manifest.at("kept").as_int() == 4);
  CHECK(s.manifest.at("dropped").at("source: too hard").as_int() == 1);
  CHECK(std::isnan(p.blind_1));
  CHECK(s.latent.empty());  // of all together, one template, pass@n - pass@1 is below 0.2
  SelectionOptions mild = o;
  mild.gap = 0.15, mild.task_filter = false;
  CHECK(select(records, mild).latent == std::vector<std::string>{"t"});
  mild.least_pass = 0.9;
  CHECK(select(records, mild).latent.empty());
  CHECK(s.by_record[0].pass_1 == .25);
  CHECK(s.by_record[0].pass_n == 1);
  const std::string lines = s.record_lines(records);
  CHECK(test::contains(lines,
                       R"({"id":"l1","source":"latent","template":"t","pass_1":0.25,"pass_n":1.0,"mean_reward":0.25,)"
                       R"("kept":true})"
                       "\n"));
  CHECK(test::contains(lines, R"("mean_reward":0.0,"kept":false,"reason":"record: reward too low"})"));
  CHECK(std::count(lines.begin(), lines.end(), '\n') == std::ssize(records));
  records.push_back({"b1", "blind", "t", {1, 0, 1, 0}, {1, 0, 0, 0}});
  records.push_back({"b2", "blind", "t", {1, 0, 1, 0}, {0, 0, 0, 0}});
  const Selection seen = select(records, o);
  CHECK(test::contains(seen.record_lines(records), R"("blind_1":0.25,"blind_n":1.0,"kept":true})"));
  CHECK(seen.by_source.at("blind").blind_1 == .125);
  CHECK(seen.by_source.at("blind").blind_n == .5);
  CHECK(seen.by_group.at("t").blind_n == .5);  // of the records that have such rollouts
  records.resize(records.size() - 2);
  std::int64_t in_histogram = 0;
  for (const std::int64_t n : p.histogram) in_histogram += n;
  CHECK(in_histogram == p.records);

  o.gap = .75 - 1.75 / 4, o.least_pass = .75;  // at least: what this source has
  CHECK(select(records, o).reasons[0].empty());
  o.gap = 0.2, o.least_pass = 0.1;
  o.task_filter = false;
  o.bands["easy"] = {0, 1.5};
  CHECK(select(records, o).kept == std::vector<std::size_t>{0, 3, 4, 5, 6, 7});
  o.reward_filter = false;
  CHECK(select(records, o).kept.size() == records.size());
  CHECK(released_band("virl39k").high == 0.6);
  CHECK(released_band("sat2").low == -1);

  add("l1", "latent", {1, 0});
  CHECK(test::contains(test::thrown([&] { select(records, o); }), "two records have the id 'l1'"));
}

TEST_CASE("rl: a record's mean stands in its tenth of the histogram, and records without rollouts count in no rate") {
  std::vector<RolloutRecord> records;
  records.push_back({"a", "s", "t", {.7, .7, .7}});  // whose sum in f64 is a little less than 2.1
  records.push_back({"b", "s", "t", {}});
  const PassRates p = select(records, {}).by_source.at("s");
  CHECK(p.records == 2);
  CHECK(p.histogram[7] == 1);
  CHECK(p.pass_1 == 1);
  CHECK(p.mean_reward == doctest::Approx(.7));
}
