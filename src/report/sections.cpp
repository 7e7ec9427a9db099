#include "report/sections.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "base/error.h"
#include "report/html.h"
#include "report/plot.h"

namespace ov {
namespace {

using html::element;
using html::empty;
using html::row;
using html::text;

std::string fixed(double value, int digits) {
  if (!std::isfinite(value)) return "–";
  char out[48];
  std::snprintf(out, sizeof out, "%.*f", digits, value);
  return out;
}

std::string significant(double value) {
  char out[48];
  std::snprintf(out, sizeof out, "%.3g", value);
  return std::isfinite(value) ? out : "–";
}

std::string percent(double share) { return fixed(100 * share, 1) + " %"; }

bool any_finite(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

// Mean of the last hundredth, at least of ten steps: what the run ended at, without one step's chance.
double final_level(const std::vector<double>& y) {
  const auto reach = static_cast<std::int64_t>(std::max<std::size_t>(10, y.size() / 100));
  return y.empty() ? std::nan("") : smoothed(y, reach).back();
}

// A bar from 0 to 1 with the two baselines as marks.
std::string meter(double accuracy, double commonest, double grey) {
  const auto at = [](double v) { return fixed(240 * std::clamp(v, 0.0, 1.0), 1); };
  const auto mark = [&](const char* kind, double v) {
    return empty("line", {{"class", kind}, {"x1", at(v)}, {"x2", at(v)}, {"y1", "0"}, {"y2", "16"}});
  };
  return element(
      "svg", {{"class", "meter"}, {"viewBox", "0 0 240 16"}, {"role", "img"}, {"aria-label", percent(accuracy)}},
      empty("rect", {{"class", "track"}, {"width", "240"}, {"height", "10"}, {"y", "3"}, {"rx", "2"}}) +
          empty("rect", {{"class", "bar"}, {"width", at(accuracy)}, {"height", "10"}, {"y", "3"}, {"rx", "2"}}) +
          mark("blind1", commonest) + mark("blind2", grey));
}

std::string meter_key() {
  const auto sample = [](const std::string& drawing, const char* name) {
    return element("span", element("svg", {{"viewBox", "0 0 26 12"}}, drawing) + html::escape(cat(" ", name)));
  };
  const auto mark = [](const char* kind) {
    return empty("line", {{"class", kind}, {"x1", "13"}, {"x2", "13"}, {"y1", "0"}, {"y2", "12"}});
  };
  return element("div", {{"class", "key"}},
                 sample(empty("rect", {{"class", "bar"}, {"width", "26"}, {"height", "10"}, {"y", "1"}, {"rx", "2"}}),
                        "accuracy") +
                     sample(mark("blind1"), "blind: commonest training answer") +
                     sample(mark("blind2"), "blind: the model shown grey"));
}

double number(const Json& object, const char* key) {
  const Json* v = object.find(key);
  return v && v->is_number() ? v->as_double() : std::nan("");
}

}  // namespace

std::string loss_plot(const RunSummary& run) {
  const auto reach = static_cast<std::int64_t>(run.step.size() / 80);
  std::vector<Series> series = {{"each step", run.step, run.loss, true}, {"loss", run.step, smoothed(run.loss, reach)}};
  for (const auto& [name, values] : {std::pair{"objects", &run.object_loss}, {"text regions", &run.text_loss}})
    if (any_finite(*values)) series.push_back({name, run.step, smoothed(*values, reach)});
  double least = INFINITY, largest = 0;
  for (const double v : run.loss)
    if (std::isfinite(v)) least = std::min(least, v), largest = std::max(largest, v);
  const bool log = least > 0 && largest > 20 * least;
  return line_plot(series, {.title = log ? "loss (logarithmic)" : "loss", .x_label = "step", .log_y = log});
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds)) return "–";
  if (seconds < 60) return fixed(seconds, seconds < 9.95 ? 1 : 0) + " s";
  const auto s = static_cast<long>(seconds + 0.5);
  char out[48];
  if (s < 3600) std::snprintf(out, sizeof out, "%ld min %02ld s", s / 60, s % 60);
  else std::snprintf(out, sizeof out, "%ld h %02ld min", s / 3600, s / 60 % 60);
  return out;
}

std::string stage_curves(const RunSummary& run) {
  std::string about = cat(run.last_step, " steps, ", duration(run.seconds));
  if (any_finite(run.loss))
    about += cat(", loss ", significant(run.loss.front()), " to ", significant(final_level(run.loss)));
  if (run.resumed > 0) about += cat(", resumed ", run.resumed, run.resumed == 1 ? " time" : " times");
  const std::string rate = line_plot({{"learning rate", run.step, run.lr}},
                                     {.title = "learning rate", .x_label = "step", .from_zero = true});
  return element("section", {{"class", "card"}},
                 text("h3", run.name) + text("div", {{"class", "note"}}, about) +
                     element("div", {{"class", "plots"}}, loss_plot(run) + rate)) +
         "\n";
}

std::string time_table(const std::vector<RunSummary>& runs) {
  const bool floors = std::any_of(runs.begin(), runs.end(), [](const auto& r) { return r.floor_seconds > 0; });
  std::vector<std::string> head = {"stage", "steps", "time", "of it data", "FLOPs", "GFLOP/s", "MFU"};
  if (floors) head.insert(head.end(), {"floor", "time / floor", "time / floor without e^x"});
  head.insert(head.end(), {"tokens", "patches", "tokens/s"});
  const auto cells_of = [&](const RunSummary& r) {
    const auto known = [](double of, const std::string& cell) { return of > 0 ? cell : "–"; };
    std::vector<std::string> cells = {html::escape(r.name),
                                      std::to_string(r.last_step),
                                      duration(r.seconds),
                                      known(r.seconds, percent(r.data_seconds / r.seconds)),
                                      flops_text(r.flops),
                                      fixed(r.flops_per_second() / 1e9, 1),
                                      known(r.peak_flops(), percent(r.flops_per_second() / r.peak_flops()))};
    if (floors)
      cells.insert(cells.end(), {known(r.floor_seconds, duration(r.floor_seconds)),
                                 known(r.floor_seconds, fixed(r.seconds / r.floor_seconds, 2)),
                                 known(r.plain_floor_seconds, fixed(r.seconds / r.plain_floor_seconds, 2))});
    cells.insert(cells.end(), {short_number(r.tokens), short_number(r.patches),
                               known(r.seconds, short_number(std::round(r.tokens / r.seconds)))});
    return cells;
  };
  std::string rows, sum;
  RunSummary all;
  all.name = "all stages";
  for (const RunSummary& r : runs) {
    rows += row("td", cells_of(r));
    all.last_step += r.last_step, all.seconds += r.seconds, all.data_seconds += r.data_seconds;
    all.flops += r.flops, all.tokens += r.tokens, all.patches += r.patches;
  }
  for (const std::string& c : cells_of(all)) sum += element("td", c);
  rows += element("tr", {{"class", "sum"}}, sum);
  return element("div", {{"class", "card wide"}}, element("table", row("th", head) + rows));
}

// Operations by stage: seconds of all threads and the multiple of the floor, and last what no operation accounts for.
std::string operations_table(const std::vector<RunSummary>& runs) {
  if (std::none_of(runs.begin(), runs.end(), [](const auto& r) { return r.times.is_object(); })) return "";
  struct Part {
    double seconds = 0, floor = 0;
  };
  std::vector<std::string> head = {"seconds of all threads (times the floor)"};
  std::map<std::string, std::map<std::size_t, Part>> parts;  // by name, then stage
  std::map<std::size_t, Part> rest;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    head.push_back(html::escape(runs[i].name));
    const Json& t = runs[i].times;
    if (!t.is_object()) continue;
    const double threads = number(t, "threads");
    Part all{threads * number(t, "seconds"), 0};
    const auto add = [&](const std::string& name, Part p) {
      parts[name][i] = p;
      all.seconds -= p.seconds;
    };
    try {
      for (const auto& [name, pair] : t.at("ops").members()) add(name, {pair[0].as_double(), pair[1].as_double()});
    } catch (const Error& e) { input_error(runs[i].path, ": times: ", e.what()); }
    add("norm of the gradients, AdamW", {threads * number(t, "update_seconds"), threads * number(t, "update_floor")});
    add("waiting for data", {threads * number(t, "data_seconds"), 0});
    rest[i] = all;
  }
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [name, by_stage] : parts) {
    double total = 0;
    for (const auto& [i, p] : by_stage) total += p.seconds;
    order.push_back({-total, name});
  }
  std::sort(order.begin(), order.end());
  std::string rows;
  const auto line = [&](const std::string& name, const std::map<std::size_t, Part>& by_stage) {
    std::vector<std::string> cells = {html::escape(name)};
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const auto found = by_stage.find(i);
      if (found == by_stage.end()) cells.push_back("");
      else
        cells.push_back(
            fixed(found->second.seconds, 1) +
            (found->second.floor > 0 ? " (" + fixed(found->second.seconds / found->second.floor, 2) + ")" : ""));
    }
    rows += row("td", cells);
  };
  for (const auto& [total, name] : order) line(name, parts.at(name));
  line("sum of the gradients, waiting for the other thread, the loop itself", rest);
  return element("div", {{"class", "card wide"}}, element("table", row("th", head) + rows));
}

std::string accuracy_section(const Json& eval) {
  std::string rows;
  for (const auto& [name, c] : eval.at("categories").members()) {
    const double accuracy = c.at("accuracy").as_double(), commonest = number(c, "blind_commonest"),
                 grey = number(c, "blind_grey");
    rows += row("td", {html::escape(name), std::to_string(c.at("n").as_int()), meter(accuracy, commonest, grey),
                       percent(accuracy), percent(commonest), percent(grey)});
  }
  rows += element("tr", {{"class", "sum"}},
                  cat(text("td", "mean of the categories"), text("td", ""), text("td", ""),
                      text("td", percent(eval.at("mean").as_double())), text("td", ""), text("td", "")));
  std::string out =
      meter_key() +
      element("div", {{"class", "wide"}},
              element("table", {{"class", "accuracy"}},
                      row("th", {"category", "questions", "", "accuracy", "blind: commonest", "blind: grey"}) + rows));
  if (const Json* templates = eval.find("templates"); templates && templates->is_object()) {
    std::string list;
    for (const auto& [id, t] : templates->members())
      list += row("td", {html::escape(id), html::escape(t.at("category").as_string()),
                         std::to_string(t.at("n").as_int()), percent(t.at("accuracy").as_double())});
    out +=
        element("details", text("summary", "by question template") +
                               element("table", row("th", {"template", "category", "questions", "accuracy"}) + list));
  }
  return element("div", {{"class", "card"}}, out);
}

std::string packing_card(const std::string& name, const Json& report) {
  std::string facts, plots;
  const auto plot = [&](const std::string& title, const Json& h) {
    const Json *first = h.find("first"), *width = h.find("width"), *packs = h.find("packs");
    std::vector<double> counts;
    if (first && width && packs && packs->is_array()) {
      for (const Json& c : packs->items()) counts.push_back(c.as_double());
      plots +=
          bar_plot(first->as_double(), width->as_double(), counts, {.title = "packs by " + title, .x_label = title});
    } else {  // {"label": count}: one bar an entry, in order
      for (const auto& [label, count] : h.members()) counts.push_back(count.as_double());
      plots += bar_plot(0, 1, counts, {.title = title, .x_label = "entry"});
    }
  };
  for (const auto& [key, value] : report.members()) {
    std::string title = key;
    std::replace(title.begin(), title.end(), '_', ' ');
    if (key == "histogram" && value.is_object()) plot("packs", value);
    else if (key == "rejects" && value.is_object()) {
      for (const auto& [reason, count] : value.members())
        if (count.is_number() && count.as_double() > 0) facts += cat(", rejected for ", reason, " ", count.dump());
    } else if (value.is_number())
      facts += cat(facts.empty() ? "" : ", ", title, " ",
                   key == "fill" ? fixed(100 * value.as_double(), 2) + " %" : short_number(value.as_double()));
    else if (const Json* h = value.is_object() ? value.find("histogram") : nullptr; h && h->is_object())
      plot(title, *h);
  }
  return element(
             "section", {{"class", "card"}},
             text("h3", name) + text("div", {{"class", "note"}}, facts) + element("div", {{"class", "plots"}}, plots)) +
         "\n";
}

std::string configuration(const std::vector<RunSummary>& runs) {
  std::string out;
  for (const RunSummary& r : runs) {
    const Json* config = r.about.is_object() ? r.about.find("config") : nullptr;
    out += element("details", text("summary", r.name) + text("pre", config ? config->dump(2) : "the log does not say"));
  }
  return element("div", {{"class", "card"}}, out);
}

std::string hash_table(const std::vector<RunSummary>& runs, const Json& eval) {
  const auto code = [](const std::string& v) { return text("code", v); };
  std::string rows;
  const auto add = [&](const std::string& what, const std::string& value) {
    rows += element("tr", text("td", what) + element("td", {{"class", "text"}}, value)) + "\n";
  };
  if (const Json* sha = eval.is_object() ? eval.find("model_sha256") : nullptr) {
    add("SHA-256 of the model", code(sha->as_string()));
    if (const Json* expected = eval.find("expected_sha256"))
      add("expected",
          code(expected->as_string()) + (expected->as_string() == sha->as_string() ? " the same" : " another model"));
  }
  for (const RunSummary& r : runs) {
    if (!r.about.is_object()) continue;
    std::string facts;
    for (const char* key : {"parameters", "trained", "threads"})
      if (const Json* v = r.about.find(key))
        facts += cat(facts.empty() ? "" : ", ", key, " ", v->is_string() ? v->as_string() : v->dump());
    add(r.name, html::escape(facts) + (r.parameters_checksum.empty() ? ""
                                                                     : html::escape("; checksum of the parameters ") +
                                                                           code(r.parameters_checksum)));
  }
  return element("div", {{"class", "card wide"}}, element("table", rows));
}

}  // namespace ov
