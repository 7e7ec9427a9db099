#include "report/selection_page.h"

#include <cstdio>

#include "base/error.h"
#include "base/io/file.h"
#include "report/html.h"
#include "report/plot.h"

namespace ov {
namespace {

using html::element;
using html::row;
using html::text;

std::string share(const Json& of, const char* key) {
  const Json* v = of.find(key);
  if (!v) return "–";
  char out[32];
  std::snprintf(out, sizeof out, "%.1f", 100 * v->as_double());
  return out;
}

std::string rates_table(const char* what, const Json& all) {
  std::string rows = row("th", {what, "records", "pass@1, %", "pass@n, %", "gap, points", "mean reward x 100",
                                "blind pass@1, %", "blind pass@n, %"});
  for (const auto& [name, of] : all.members())
    rows += row("td", {html::escape(name), cat(of.at("records").as_int()), share(of, "pass_1"), share(of, "pass_n"),
                       share(of, "gap"), share(of, "mean_reward"), share(of, "blind_1"), share(of, "blind_n")});
  return element("div", {{"class", "card wide"}}, element("table", rows));
}

}  // namespace

std::string latent_note(const Json& manifest) {
  const Json& options = manifest.at("options");
  std::string out = cat("templates with latent ability (pass@n - pass@1 at least ", share(options, "gap"),
                        ", pass@n at least ", share(options, "least_pass"), "):");
  const char* between = " ";
  for (const Json& name : manifest.at("latent").items()) {
    out += between + name.as_string();
    if (const Json& of = manifest.at("by_group").at(name.as_string()); of.find("blind_n"))
      out += ", blind pass@n " + share(of, "blind_n");
    between = "; ";
  }
  return out + (manifest.at("latent").size() == 0 ? " none" : "");
}

void write_selection_page(const std::string& path, const Json& manifest) {
  const std::string title = "Selection by discrepancy";
  std::string body = text("h1", title);
  body += text("p", cat(manifest.at("kept").as_int(), " of ", manifest.at("records").as_int(), " records are kept."));
  body += text(
      "p", cat("pass@n: some of a record's n = ", manifest.at("rollouts").at("n").as_int(),
               " rollouts pass; pass@1: a rollout does. Where the first is much larger, the ability is there and not "
               "reliable. Blind: the same with the picture hidden, what guessing earns."));
  body += text("p", latent_note(manifest));
  body += rates_table("source", manifest.at("by_source")) + rates_table("template", manifest.at("by_group"));
  body += text("h2", "Records by mean reward");
  std::string plots;
  for (const auto& [name, of] : manifest.at("by_group").members()) {
    std::vector<double> counts;
    for (const Json& n : of.at("histogram").items()) counts.push_back(n.as_double());
    plots += bar_plot(0, 0.1, counts, {.title = name, .x_label = "mean reward; the last bar: 1 and more"});
  }
  body += element("div", {{"class", "card"}}, element("div", {{"class", "plots"}}, plots));
  body += text("h2", "Dropped");
  std::string dropped = row("th", {"reason", "records"});
  for (const auto& [reason, n] : manifest.at("dropped").members())
    dropped += row("td", {html::escape(reason), cat(n.as_int())});
  body += element("div", {{"class", "card"}}, element("table", dropped));
  body += element("details", text("summary", "options and what the rollouts were made with") +
                                 text("pre", manifest.at("options").dump(2) + "\n" + manifest.at("rollouts").dump(2)));
  write_durably(path, html::page(title, body));
}

}  // namespace ov
