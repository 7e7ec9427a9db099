#include "report/report.h"

#include <cmath>

#include "base/error.h"
#include "base/io/file.h"
#include "report/html.h"
#include "report/plot.h"
#include "report/sections.h"

namespace ov {
namespace {

using html::element;
using html::text;

std::string tile(const std::string& value, const std::string& what) {
  return element("div", {{"class", "tile"}}, text("b", value) + text("span", what));
}

std::string tiles(const std::vector<RunSummary>& runs, const Json& eval) {
  double seconds = 0, flops = 0;
  for (const RunSummary& r : runs) seconds += r.seconds, flops += r.flops;
  std::string out;
  const auto share = [](double v) { return short_number(std::round(1000 * v) / 10) + " %"; };
  if (eval.is_object()) {
    double blind = 0, weakest = 1;
    std::string weak;
    for (const auto& [name, c] : eval.at("categories").members()) {
      blind = std::max(blind, c.at("blind_accuracy").as_double());
      if (const double a = c.at("accuracy").as_double(); weak.empty() || a < weakest) weakest = a, weak = name;
    }
    out += tile(share(eval.at("mean").as_double()), "mean accuracy, unseen pictures");
    out += tile(share(weakest), "weakest category: " + weak);
    out += tile(share(blind), "best blind baseline of any");
  }
  out += tile(duration(seconds), "training, all stages");
  out += tile(flops_text(flops), "FLOPs, all stages");
  return element("div", {{"class", "tiles"}}, out);
}

// A file whose content is not what the section expects.
template <class F>
std::string naming(const std::string& path, F&& section) {
  try {
    return section();
  } catch (const Error& e) {
    const std::string message = e.what();
    throw Error(e.exit(), message.find(path) == message.npos ? path + ": " + message : message);
  }
}

}  // namespace

void write_report(const ReportOptions& o) {
  std::vector<RunSummary> runs;
  for (const NamedFile& stage : o.stages) runs.push_back(read_run(stage.name, stage.path));
  if (!o.strip.empty() && !o.predictions.empty()) write_strip(o.strip, o.predictions, runs);
  const Json eval = o.eval_json.empty() ? Json() : Json::read(o.eval_json);

  std::string body = text("h1", o.title);
  body += naming(o.eval_json, [&] { return tiles(runs, eval); });
  if (eval.is_object()) {
    body += text("h2", "What it knows about pictures it has never seen");
    body += naming(o.eval_json, [&] { return accuracy_section(eval); });
  }
  if (!o.predictions.empty()) {
    body += text("h2", "Asked and answered");
    body += picture_grid(o.predictions, o.pictures);
  }
  if (!runs.empty()) {
    body += text("h2", "How it learned");
    for (const RunSummary& r : runs) body += stage_curves(r) + policy_curves(r);
    body += text("h2", "Where the time went");
    body += time_table(runs);
    body +=
        text(
            "p",
            "FLOPs are those of products and attention, without recomputation; MFU is their rate as a share of the "
            "fused multiply-add rate that this machine's cores were measured at. Reading and preparing data is part "
            "of a stage's time. A floor is the least time a stage could take here: products at the rate that their own "
            "shapes reach alone, e^x and erf x at the rate of a loop over them, everything else as bytes over "
            "bandwidth. Beside it stands the floor that counts no e^x and erf x, as earlier tables have it.") +
        operations_table(runs);
  }
  if (!o.packs.empty()) {
    body += text("h2", "How samples were packed");
    for (const NamedFile& pack : o.packs) {
      const Json report = Json::read(pack.path);
      body += naming(pack.path, [&] { return packing_card(pack.name, report); });
    }
  }
  body += text("h2", "Which run this was") + naming(o.eval_json, [&] { return hash_table(runs, eval); });
  if (!runs.empty()) body += text("h2", "Configuration") + configuration(runs);
  write_durably(o.out, html::page(o.title, body));
}

}  // namespace ov
