#include "report/run_summary.h"

#include <limits>

#include "base/error.h"
#include "store/jsonl.h"

namespace ov {
namespace {

double number(const Json& line, const char* key) {
  const Json* value = line.find(key);
  return value && value->is_number() ? value->as_double() : std::numeric_limits<double>::quiet_NaN();
}

double number_or_zero(const Json& line, const char* key) {
  const Json* value = line.find(key);
  return value && value->is_number() ? value->as_double() : 0;
}

void add_step(RunSummary& run, const Json& line, const std::string& where) {
  const Json* step = line.find("step");
  if (!step || !step->is_integer()) input_error(where, ": expected a whole number 'step', found ", line.shown());
  run.last_step = step->as_int();
  run.step.push_back(static_cast<double>(run.last_step));
  run.loss.push_back(number(line, "loss"));
  run.object_loss.push_back(number(line, "object_loss"));
  run.text_loss.push_back(number(line, "text_loss"));
  run.lr.push_back(number(line, "lr"));
  run.gradient_norm.push_back(number(line, "gradient_norm"));
  for (std::size_t i = 0; i < run.policy.size(); ++i)
    run.policy[i].push_back(number(line, RunSummary::policy_numbers[i]));
  run.seconds += number_or_zero(line, "seconds");
  run.data_seconds += number_or_zero(line, "data_seconds");
  run.floor_seconds += number_or_zero(line, "floor_seconds");
  run.plain_floor_seconds += number_or_zero(line, "plain_floor_seconds");
  run.flops += number_or_zero(line, "flops");
  run.tokens += number_or_zero(line, "tokens");
  run.labelled += number_or_zero(line, "labelled");
  run.prompt_tokens += number_or_zero(line, "prompt_tokens");
  run.shared_tokens += number_or_zero(line, "shared_tokens");
  run.row_tokens += number_or_zero(line, "row_tokens");
  run.sampling_flops += number_or_zero(line, "sampling_flops");
  run.reference_flops += number_or_zero(line, "reference_flops");
  run.patches += number_or_zero(line, "patches");
  run.samples += number_or_zero(line, "samples");
  if (const Json* sums = line.find("checksums"); sums && sums->is_object())
    if (const Json* p = sums->find("parameters"); p && p->is_string()) run.parameters_checksum = p->as_string();
}

}  // namespace

std::string flops_text(double flops) {
  char out[48];
  std::snprintf(out, sizeof out, "%.2e", flops);
  std::string text = out;
  if (const auto plus = text.find("e+"); plus != text.npos) text.erase(plus + 1, text[plus + 2] == '0' ? 2 : 1);
  return text;
}

std::string compute_text(const std::vector<RunSummary>& runs) {
  double training = 0, sampling = 0, reference = 0, seconds = 0;
  for (const RunSummary& r : runs) {
    training += r.flops, sampling += r.sampling_flops, reference += r.reference_flops;
    seconds += r.seconds;
  }
  const double all = training + sampling + reference;
  char text[160];
  std::snprintf(text, sizeof text, "%s FLOPs in %.0f s", flops_text(all).c_str(), seconds);
  std::string out = text;
  if (sampling > 0) {
    std::snprintf(text, sizeof text, ": training %.0f %%, writing rollouts %.0f %%, the reference model %.0f %%",
                  100 * training / all, 100 * sampling / all, 100 * reference / all);
    out += text;
  }
  return out;
}

double RunSummary::peak_flops() const { return about.is_object() ? number_or_zero(about, "peak_flops") : 0; }

RunSummary read_run(const std::string& name, const std::string& path) {
  RunSummary run;
  run.name = name;
  run.path = path;
  JsonlReader lines(path);
  for (Json line; lines.next(&line);) {
    const std::string where = cat(path, ":", lines.line());
    const Json* type = line.is_object() ? line.find("type") : nullptr;
    if (!type || !type->is_string()) input_error(where, ": expected an object with a 'type', found ", line.shown());
    if (type->as_string() == "step") add_step(run, line, where);
    else if (type->as_string() == "resume") ++run.resumed;
    else if (type->as_string() == "times") run.times = line;
    else if (type->as_string() == "run") {
      run.about = Json::object();
      for (const auto& [key, value] : line.members())
        if (key != "type") run.about.set(key, value);
    }
  }
  return run;
}

}  // namespace ov
