// What an evaluation came to: the two files, the table, and the name of the model by its content.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "base/io/file.h"
#include "base/sha256.h"
#include "eval/evaluate.h"
#include "eval/scorers/statistics.h"

namespace ov {
namespace {

struct Mean {
  std::int64_t n = 0;
  double score = 0, grey = 0, commonest = 0;  // sums
  std::vector<double> scores = {};
  void add(const Answered& a) {
    ++n, score += a.score, grey += a.grey_score, commonest += a.commonest_score;
    scores.push_back(a.score);
  }
  double of(double sum) const { return n ? sum / static_cast<double>(n) : 0; }
  Json stderr_of_mean() const { return n > 1 ? Json(public_tasks::mean_stderr(scores)) : Json(); }
};

// In order of first appearance.
template <class Key>
std::vector<std::pair<std::string, Mean>> means(const std::vector<Answered>& answers, Key key) {
  std::vector<std::pair<std::string, Mean>> out;
  for (const Answered& a : answers) {
    auto at = std::find_if(out.begin(), out.end(), [&](const auto& m) { return m.first == key(a); });
    if (at == out.end()) at = out.insert(out.end(), {key(a), Mean{}});
    at->second.add(a);
  }
  return out;
}

}  // namespace

Json Evaluation::json() const {
  Json categories = Json::object(), templates = Json::object();
  double sum = 0, variance = 0;
  const auto by_category = means(answers, [](const Answered& a) { return a.question.category; });
  for (const auto& [name, m] : by_category) {
    categories.set(name, Json::object({{"n", m.n},
                                       {"accuracy", m.of(m.score)},
                                       {"stderr", m.stderr_of_mean()},
                                       {"blind_accuracy", std::max(m.of(m.commonest), m.of(m.grey))},
                                       {"blind_commonest", m.of(m.commonest)},
                                       {"blind_grey", m.of(m.grey)}}));
    sum += m.of(m.score);
    if (m.n > 1) variance += std::pow(m.stderr_of_mean().as_double(), 2);
    const auto within = [&name = name](const Answered& a) { return a.question.category == name; };
    std::vector<Answered> own;
    std::copy_if(answers.begin(), answers.end(), std::back_inserter(own), within);
    for (const auto& [id, t] : means(own, [](const Answered& a) { return a.question.from_template; }))
      templates.set(
          id,
          Json::object({{"category", name}, {"n", t.n}, {"accuracy", t.of(t.score)}, {"stderr", t.stderr_of_mean()}}));
  }
  const double k = std::max(1.0, static_cast<double>(by_category.size()));
  return Json::object({{"categories", categories},
                       {"mean", sum / k},
                       {"mean_stderr", std::sqrt(variance) / k},
                       {"templates", templates},
                       {"rejects", rejects.json()}});
}

std::string model_sha256(const std::string& model_dir) {
  Sha256 hash;
  bool any = false;
  for (const std::string& name : list_directory(model_dir)) {
    if (!name.starts_with("model") || !name.ends_with(".safetensors")) continue;
    const auto file = MappedFile::open(model_dir + "/" + name);
    hash.update(file->data(), file->size());
    any = true;
  }
  if (!any) input_error(model_dir, ": expected model.safetensors or model-*.safetensors, found neither");
  return hash.hex();
}

std::string read_expected_sha256(const std::string& path) {
  const Json json = Json::read(path);
  const Json* value = json.is_object() ? json.find("model_sha256") : nullptr;
  if (value && value->is_null()) return "";
  const bool hex = value && value->is_string() && value->as_string().size() == 64 &&
                   value->as_string().find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!hex)
    input_error(path, ": model_sha256: expected 64 lower-case hex digits or null, found ",
                value ? value->shown() : "nothing");
  return value->as_string();
}

Json write_evaluation(const Evaluation& evaluation, const std::string& model_sha256, const std::string& expected,
                      const std::string& out) {
  make_directories(out);
  DurableWriter predictions(out + "/predictions.jsonl");
  for (const Answered& a : evaluation.answers) {
    const Question& q = a.question;
    predictions.write(Json::object({{"id", q.id},
                                    {"category", q.category},
                                    {"template", q.from_template},
                                    {"image", q.image},
                                    {"question", q.question},
                                    {"answer", q.answer},
                                    {"prediction", a.prediction},
                                    {"grey_prediction", a.grey_prediction},
                                    {"scorer", q.scorer->name},
                                    {"score", a.score}})
                          .dump() +
                      "\n");
  }
  predictions.commit();

  Json eval = evaluation.json();
  eval.set("model_sha256", model_sha256);
  if (!expected.empty()) {
    eval.set("expected_sha256", expected);
    eval.set("same_as_expected", expected == model_sha256);
  }
  write_durably(out + "/eval.json", eval.dump(2) + "\n");
  return eval;
}

std::string evaluation_text(const Json& eval) {
  std::ostringstream table;
  table << "category                  questions  accuracy  blind: commonest   grey  stderr\n"
        << std::fixed << std::setprecision(3);
  const auto share = [](const Json& object, const char* key) { return object.at(key).as_double(); };
  const auto error = [](const Json& object, const char* key) {  // files of before have none
    const Json* e = object.find(key);
    return e && e->is_number() ? cat(std::fixed, std::setprecision(3), std::setw(8), e->as_double()) : std::string();
  };
  for (const auto& [name, c] : eval.at("categories").members())
    table << std::left << std::setw(26) << name << std::right << " " << std::setw(8) << c.at("n").as_int() << " "
          << std::setw(9) << share(c, "accuracy") << " " << std::setw(17) << share(c, "blind_commonest") << " "
          << std::setw(6) << share(c, "blind_grey") << error(c, "stderr") << "\n";
  table << std::left << std::setw(35) << "mean of the categories" << std::right << " " << std::setw(9)
        << share(eval, "mean");
  if (const std::string e = error(eval, "mean_stderr"); !e.empty()) table << std::string(24, ' ') << e;
  table << "\n";
  std::string out = table.str();
  std::string rejects;
  for (const auto& [reason, n] : eval.at("rejects").members())
    if (n.as_int() > 0) rejects += cat(rejects.empty() ? "" : ", ", reason, " ", n.as_int());
  if (!rejects.empty()) out += cat("passed over: ", rejects, "\n");
  out += cat("sha256 of the model  ", eval.at("model_sha256").as_string(), "\n");
  if (const Json* expected = eval.find("expected_sha256"))
    out += cat("expected             ", expected->as_string(),
               eval.at("same_as_expected").as_bool() ? "  the same\n" : "  another model\n");
  return out;
}

}  // namespace ov
