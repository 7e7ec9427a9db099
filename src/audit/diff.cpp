#include "audit/diff.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <sstream>

#include "store/jsonl.h"

namespace ov {
namespace {

std::string class_of(const std::string& name) { return name.substr(0, name.find('.')); }

bool is_compared(const std::string& name) {
  const std::string c = class_of(name);
  return c == "act" || c == "grad" || (c == name && is_traced(name));
}

std::vector<double> as_f64(const Tensor& t) {
  return (t.dtype() == Dtype::f64 ? t : t.to(Dtype::f64)).to_vector<double>();
}

// Of the finite values: an infinity would make every difference small beside it.
double largest(const std::vector<double>& v) {
  double m = 0;
  for (double x : v)
    if (std::isfinite(x)) m = std::max(m, std::abs(x));
  return m;
}

// |x - y|; NaN is NaN's equal, an infinity that of its own sign, and nothing else is near either.
double distance(double x, double y) {
  if (x == y || (std::isnan(x) && std::isnan(y))) return 0;
  return std::isfinite(x) && std::isfinite(y) ? std::abs(x - y) : std::numeric_limits<double>::infinity();
}

double ulp_of_f32(double x) {
  const int exponent = std::max(-126, std::ilogb(std::max(std::abs(x), 0x1p-126)));
  return std::ldexp(1.0, exponent - 23);
}

TensorDifference compare(const std::string& name, const Tensor* a, const Tensor& b, double class_largest, double rtol) {
  TensorDifference d{.name = name};
  if (!a) {
    d.missing = true;
    return d;
  }
  if (a->shape() != b.shape()) {
    d.misshapen = true;
    return d;
  }
  const auto x = as_f64(*a), y = as_f64(b);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (const double difference = distance(x[i], y[i]); difference > d.absolute) {
      d.absolute = difference;
      d.element = static_cast<std::int64_t>(i);
    }
  }
  if (!x.empty()) {
    d.a = x[static_cast<std::size_t>(d.element)];
    d.b = y[static_cast<std::size_t>(d.element)];
    d.ulps = std::isfinite(d.absolute) ? d.absolute / ulp_of_f32(d.b) : d.absolute;
  }
  const double denominator = std::max(largest(y), 1e-6 * class_largest);
  d.relative = d.absolute == 0 ? 0 : d.absolute / denominator;
  d.within = d.absolute <= rtol * denominator && std::isfinite(d.absolute);
  return d;
}

std::vector<NamedTensor> all_tensors(const Safetensors& file) {
  std::vector<NamedTensor> tensors;
  for (const auto& e : file.entries())
    if (is_compared(e.name)) tensors.push_back({e.name, file.tensor(e.name)});
  return tensors;
}

std::vector<std::string> order_of(const Safetensors& file) {
  std::vector<std::string> names;
  if (const auto it = file.metadata().find("order"); it != file.metadata().end()) {
    std::istringstream lines(it->second);
    for (std::string line; std::getline(lines, line);)
      if (!line.empty()) names.push_back(line);
  }
  return names;
}

}  // namespace

bool TraceDifference::within() const { return first() == nullptr; }

const TensorDifference* TraceDifference::first() const {
  for (const auto& d : compared)
    if (!d.within) return &d;
  return nullptr;
}

double TraceDifference::worst(const std::string& prefix) const {
  double w = 0;
  for (const auto& d : compared) {
    if (!d.name.starts_with(prefix)) continue;
    w = std::max(w, d.missing || d.misshapen ? std::numeric_limits<double>::infinity() : d.relative);
  }
  return w;
}

TraceDifference compare_tensors(const std::vector<NamedTensor>& a, const std::vector<NamedTensor>& b,
                                const std::vector<std::string>& order, double rtol) {
  std::map<std::string, const Tensor*> in_a, in_b;
  for (const auto& t : a) in_a[t.name] = &t.tensor;
  std::map<std::string, double> class_largest;
  for (const auto& t : b) {
    in_b[t.name] = &t.tensor;
    double& m = class_largest[class_of(t.name)];
    m = std::max(m, largest(as_f64(t.tensor)));
  }
  // The given order first, then what it does not name, as the file has it.
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const auto& name : order)
    if (in_b.count(name) && seen.insert(name).second) names.push_back(name);
  for (const auto& t : b)
    if (seen.insert(t.name).second) names.push_back(t.name);

  TraceDifference result;
  for (const auto& name : names) {
    const auto it = in_a.find(name);
    result.compared.push_back(
        compare(name, it == in_a.end() ? nullptr : it->second, *in_b[name], class_largest[class_of(name)], rtol));
  }
  for (const auto& t : a)
    if (!in_b.count(t.name)) result.extra.push_back(t.name);
  return result;
}

TraceDifference diff_traces(const std::string& a, const std::string& b, double rtol) {
  const Safetensors fa = Safetensors::open(a), fb = Safetensors::open(b);
  auto order = order_of(fb);
  if (order.empty()) order = order_of(fa);
  const auto reference = all_tensors(fb);
  if (reference.empty()) input_error(b, ": holds no act.*, grad.*, logits, token_loss or embeddings to compare with");
  return compare_tensors(all_tensors(fa), reference, order, rtol);
}

namespace {

// step -> its line with checksums; a step logged twice (a resume) counts with its last line.
std::map<std::int64_t, Json> steps_of(const std::string& path) {
  std::map<std::int64_t, Json> steps;
  JsonlReader lines(path);
  for (Json line; lines.next(&line);)
    if (const Json* step = line.find("step"); step && line.find("checksums")) steps[step->as_int()] = line;
  if (steps.empty()) input_error(path, ": no line holds a step and its checksums");
  return steps;
}

// "loss: at most 3e-08 of B's, in step 4: 5.57 against 5.58; first in step 1", or nothing where all are equal.
std::string apart(const std::string& what, const std::map<std::int64_t, Json>& a,
                  const std::map<std::int64_t, Json>& b) {
  double most = 0;
  std::string first, said;
  for (const auto& [step, line] : b) {
    const auto other = a.find(step);
    const Json *here = other == a.end() ? nullptr : other->second.find(what), *there = line.find(what);
    if (!here || !there || !here->is_number() || !there->is_number()) continue;
    const double x = here->as_double(), y = there->as_double();
    const double relative = distance(x, y) / std::max(std::abs(y), std::numeric_limits<double>::min());
    if (relative == 0) continue;
    if (first.empty()) first = cat("; first in step ", step);
    if (relative <= most) continue;
    most = relative;
    said = cat(what, ": at most ", relative, " of B's, in step ", step, ": ", x, " against ", y);
  }
  return said + first;
}

// A run's directory stands for its run.jsonl.
std::string file_of(const std::string& path) {
  if (!std::filesystem::is_directory(path)) return path;
  const std::string run = path + "/run.jsonl";
  if (std::filesystem::exists(run)) return run;
  input_error(path,
              ": a directory without run.jsonl; expected a run's, or a file that trace wrote (two models: "
              "checkpoint diff)");
}

}  // namespace

RunDifference diff_runs(const std::string& a, const std::string& b) {
  const auto in_a = steps_of(a), in_b = steps_of(b);
  RunDifference d;
  for (const auto& [step, line] : in_b) {
    const auto other = in_a.find(step);
    if (other == in_a.end()) continue;
    for (const auto& [what, value] : line.at("checksums").members()) {
      const Json* match = other->second.at("checksums").find(what);
      if (!match) continue;
      ++d.compared;
      if (match->as_string() != value.as_string() && d.first.empty()) d.first = cat("step ", step, ": ", what);
    }
  }
  if (d.compared == 0) input_error(a, " and ", b, ": no step has checksums in both");
  for (const char* what : {"lr", "loss", "gradient_norm"})
    if (std::string said = apart(what, in_a, in_b); !said.empty()) d.apart.push_back(std::move(said));
  return d;
}

bool diff_files(const std::string& of_a, const std::string& of_b, double rtol, std::string& report) {
  const std::string a = file_of(of_a), b = file_of(of_b);
  std::ostringstream out;
  if (a.ends_with(".jsonl") && b.ends_with(".jsonl")) {
    const RunDifference d = diff_runs(a, b);
    out << d.compared << " checksums compared: " << (d.first.empty() ? "all equal" : "first difference at " + d.first)
        << "\n";
    for (const std::string& line : d.apart) out << "  " << line << "\n";
    report = out.str();
    return d.first.empty();
  }
  const TraceDifference d = diff_traces(a, b, rtol);
  std::size_t bad = 0;
  for (const auto& t : d.compared) {
    if (t.within) continue;
    ++bad;
    if (t.missing) out << "missing   " << t.name << "\n";
    else if (t.misshapen) out << "misshapen " << t.name << "\n";
    else
      out << "differs   " << t.name << " element " << t.element << ": " << t.a << " against " << t.b << ", "
          << t.relative << " relative, " << t.ulps << " ulps\n";
  }
  for (const auto& name : d.extra) out << "extra     " << name << "\n";
  for (const char* c : {"act", "grad", "image_embeds", "text_embeds", "logits", "token_loss", "loss"})
    if (const double w = d.worst(c); w > 0) out << "worst " << c << " " << w << "\n";
  out << d.compared.size() << " tensors compared, " << bad << " not within " << rtol;
  if (const auto* first = d.first()) out << "; first: " << first->name;
  out << "\n";
  report = out.str();
  return bad == 0;
}

}  // namespace ov
