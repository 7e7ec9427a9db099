// What a balanced draw is worth beside a random one of the same size (data_curation.md 9, acceptance 8), from what
// tests/tools/balance_table.sh leaves of every seed.
//
//   balance-table PLOT.svg DIR...
//     DIR/world           synth --what zipf: zipf.json says which kinds are rare, pool/ what was drawn from
//     DIR/random, balanced: of each draw what balance wrote, and behind it .eval/eval.json, a model trained on it
//
// Prints accuracy on every kind alike by group, and how many pictures of the group were drawn, the mean over the seeds
// and behind it their standard deviation; then what a seed gains. The plot has a point for each tenth of the kinds, the
// rarest first. Ends with 1 unless the rarest tenth gains in the mean.
#include <cmath>
#include <cstdio>
#include <map>

#include "base/error.h"
#include "base/io/file.h"
#include "base/json.h"
#include "data/raw/drawn_records.h"
#include "report/html.h"
#include "report/plot.h"
#include "report/style.h"

using namespace ov;

namespace {

constexpr const char* groups[] = {"Tail", "Middle", "Head"};
constexpr const char* draws[] = {"random", "balanced"};
constexpr std::size_t tenths = 10;

struct Spread {
  std::vector<double> values;
  double mean() const {
    double sum = 0;
    for (const double v : values) sum += v;
    return sum / static_cast<double>(values.size());
  }
  double deviation() const {  // of the sample; 0 for one seed
    double squares = 0;
    for (const double v : values) squares += (v - mean()) * (v - mean());
    return values.size() < 2 ? 0 : std::sqrt(squares / static_cast<double>(values.size() - 1));
  }
};

struct Seed {
  double accuracy[3] = {}, all = 0, effective = 0;
  std::int64_t drawn[3] = {};
  std::vector<double> by_tenth = std::vector<double>(tenths);
};

Seed read_seed(const std::string& dir, const std::string& draw) {
  const Json world = Json::read(dir + "/world/zipf.json"), eval = Json::read(cat(dir, "/", draw, ".eval/eval.json"));
  Seed s;
  std::map<std::string, std::size_t> group_of;
  const auto& kinds = world.at("kinds").items();
  std::vector<double> counted(tenths);
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    const std::string &kind = kinds[i].at("kind").as_string(), &group = kinds[i].at("group").as_string();
    for (std::size_t g = 0; g < 3; ++g)
      if (group == groups[g]) group_of[kind] = g;
    const double accuracy = eval.at("templates").at(kind).at("accuracy").as_double();
    const std::size_t tenth = i * tenths / kinds.size();
    s.by_tenth[tenth] += accuracy, ++counted[tenth], s.all += accuracy / static_cast<double>(kinds.size());
  }
  for (std::size_t t = 0; t < tenths; ++t) s.by_tenth[t] /= counted[t];
  for (std::size_t g = 0; g < 3; ++g) s.accuracy[g] = eval.at("categories").at(groups[g]).at("accuracy").as_double();
  const auto records = drawn_records(open_records(dir + "/world/pool"), dir + "/" + draw);
  std::map<std::string, std::int64_t> drawn;
  for (std::int64_t i = 0; i < records->size(); ++i) ++drawn[records->read(i).turns.back().text];
  for (const auto& [kind, n] : drawn) {
    s.drawn[group_of.at(kind)] += n;
    const double share = static_cast<double>(n) / static_cast<double>(records->size());
    s.effective -= share * std::log(share);
  }
  s.effective = std::exp(s.effective);
  return s;
}

void print_row(const char* name, const std::vector<Spread>& columns, const char* form) {
  std::printf("%-22s", name);
  for (const Spread& c : columns) std::printf(form, c.mean(), c.deviation());
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) input_error("usage: balance-table PLOT.svg DIR...");
  std::map<std::string, std::vector<Seed>> of;
  for (int i = 2; i < argc; ++i)
    for (const char* draw : draws) of[draw].push_back(read_seed(argv[i], draw));

  const auto spread = [&](const char* draw, auto&& value) {
    Spread s;
    for (const Seed& seed : of[draw]) s.values.push_back(value(seed));
    return s;
  };
  std::printf("%-22s %17s %17s %17s %17s\n", "accuracy", "Tail", "Middle", "Head", "all kinds");
  std::vector<Spread> gained(4);
  for (const char* draw : draws) {
    std::vector<Spread> columns;
    for (std::size_t g = 0; g < 3; ++g) columns.push_back(spread(draw, [&](const Seed& s) { return s.accuracy[g]; }));
    columns.push_back(spread(draw, [](const Seed& s) { return s.all; }));
    print_row(draw, columns, "  %7.4f +- %5.4f");
    for (std::size_t c = 0; c < 4; ++c)
      for (std::size_t i = 0; i < columns[c].values.size(); ++i) {
        gained[c].values.resize(columns[c].values.size());
        gained[c].values[i] = columns[c].values[i] - gained[c].values[i];  // the random draw's come first
      }
  }
  print_row("gained, seed by seed", gained, "  %+7.4f +- %5.4f");
  std::printf("%-22s %17s %17s %17s %17s\n", "pictures drawn", "Tail", "Middle", "Head", "effective kinds");
  for (const char* draw : draws) {
    std::vector<Spread> columns;
    for (std::size_t g = 0; g < 3; ++g)
      columns.push_back(spread(draw, [&](const Seed& s) { return static_cast<double>(s.drawn[g]); }));
    columns.push_back(spread(draw, [](const Seed& s) { return s.effective; }));
    print_row(draw, columns, "  %8.1f +- %4.1f");
  }

  std::vector<Series> series;
  const std::vector<double> x = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  for (const char* draw : draws) {
    std::vector<double> mean;
    for (const Seed& s : of[draw]) series.push_back({.name = "", .x = x, .y = s.by_tenth, .faint = true});
    for (std::size_t t = 0; t < tenths; ++t)
      mean.push_back(spread(draw, [&](const Seed& s) { return s.by_tenth[t]; }).mean());
    series.push_back({.name = draw, .x = x, .y = mean});
  }
  std::string plot = line_plot(series, {.title = "accuracy, every kind alike",
                                        .x_label = "tenths of the kinds by pictures in the pool, the rarest first",
                                        .from_zero = true});
  plot.insert(plot.find('>') + 1, html::element("style", plot_style));
  write_durably(argv[1], plot);
  return gained[0].mean() > 0 ? 0 : 1;
} catch (const Error& e) {
  std::fprintf(stderr, "balance-table: %s\n", e.what());
  return static_cast<int>(e.exit());
}
