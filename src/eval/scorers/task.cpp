#include "eval/scorers/task.h"

#include <iterator>

#include "base/error.h"
#include "base/text.h"

namespace ov::public_tasks {
namespace {

using namespace python;

// The names that lmms-eval gives to splits and variants that are scored alike.
constexpr std::pair<std::string_view, std::string_view> other_names[] = {
    {"docvqa_val", "docvqa"},
    {"infovqa_val", "infovqa"},
    {"textvqa_val", "textvqa"},
    {"vqav2_val", "vqav2"},
    {"gqa", "exact_match"},
    {"ai2d_no_mask", "ai2d"},
    {"scienceqa_img", "scienceqa"},
    {"seedbench-2-plus", "seedbench_2_plus"},
    {"mmmu_val", "mmmu"},
    {"mmbench_en_dev_static", "mmbench"},
    {"mmbench_cn_dev_static", "mmbench"},
    {"mmerealworld", "mme_realworld"},
    {"mmerealworld_cn", "mme_realworld"},
    {"mmerealworld_lite", "mme_realworld"},
    {"pope_adv", "pope"},
    {"pope_pop", "pope"},
    {"pope_random", "pope"},
    {"mathvision_test", "mathvision"},
    {"mathvision_testmini", "mathvision"},
    {"mathvista_testmini", "mathvista"},
    {"logicvista", "reasoning"},
    {"logicvista_reasoning", "reasoning"},
    {"wemath_testmini_reasoning", "wemath"},
    {"wemath_testmini_thinking", "wemath"},
    {"vstar", "vstar_bench"},
    {"coco2014_cap_val", "coco_cap"},
    {"coco2017_cap_val", "coco_cap"},
};
constexpr std::pair<std::string_view, std::string_view> families[] = {  // by how the name begins
    {"refcoco_bbox_rec", "refcoco_rec"},
    {"refcoco+_bbox_rec", "refcoco_rec"},
    {"refcocog_bbox_rec", "refcoco_rec"}};

constexpr std::string_view judged = "a judge model decides what is right";
constexpr std::string_view server = "its answers are known to an evaluation server alone";
constexpr std::pair<std::string_view, std::string_view> refused[] = {
    {"mathverse", judged},
    {"mathverse_testmini", judged},
    {"mmvet", judged},
    {"mmvetv2", judged},
    {"charxiv", judged},
    {"charxiv_val_descriptive", judged},
    {"charxiv_val_reasoning", judged},
    {"mathvision_reason_test", judged},
    {"mathvision_reason_testmini", judged},
    {"mathvision_gpt_eval_test", judged},
    {"mmmu_val_reasoning", judged},
    {"mmmu_reasoning", judged},
    {"llava_in_the_wild", judged},
    {"mmbench_en_dev", "a judge model decides where the rules do not; mmbench_en_dev_static needs none"},
    {"mmbench_cn_dev", "a judge model decides where the rules do not; mmbench_cn_dev_static needs none"},
    {"mmbench_cc", judged},
    {"docvqa_test", server},
    {"infovqa_test", server},
    {"textvqa_test", server},
    {"vqav2_test", server},
    {"mmbench_en_test", server},
    {"mmbench_cn_test", server},
    {"mmmu_test", server},
};

}  // namespace

const Json* Case::doc(std::string_view key) const {
  const Json* doc = line.find("doc");
  const Json* value = doc && doc->is_object() ? doc->find(key) : nullptr;
  return value ? value : line.find(key);
}
Text Case::doc_text(std::string_view key) const {
  const Json* value = doc(key);
  if (!value) input_error("doc.", key, ": missing");
  return of_field(cat("doc.", key), [&] { return text(value->as_string()); });
}

const std::vector<Task>& tasks() {
  static const std::vector<Task> table = [] {
    std::vector<Task> all;
    for (Rows rows : {letter_tasks(), mmbench_tasks(), mmmu_tasks(), text_tasks(), vqa_tasks(), yes_no_tasks(),
                      box_tasks(), math_tasks(), caption_tasks()})
      all.insert(all.end(), rows.begin(), rows.end());
    return all;
  }();
  return table;
}

const Task& task_named(std::string_view name) {
  std::string_view real = name;
  for (const auto& [other, own] : other_names)
    if (other == name) real = own;
  for (const auto& [begin, own] : families)
    if (name.starts_with(begin)) real = own;
  for (const auto& [task, why] : refused)
    if (task == name) input_error("--tasks ", name, ": ", why);
  std::vector<std::string> names;
  for (const Task& task : tasks()) {
    if (task.name == real) return task;
    names.emplace_back(task.name);
  }
  const std::string hint = did_you_mean(name, names);
  std::string all;
  for (const std::string& known : names) all += (all.empty() ? "; there are " : ", ") + known;
  input_error("--tasks ", name, ": unknown task", hint.empty() ? all : hint);
}

Text without_reasoning(View reply, const std::vector<std::pair<Text, Text>>& tags) {
  Text s(reply);
  for (const auto& [open, close] : tags) {
    while (has(s, open) && has(s, close)) {
      const std::size_t begin = s.find(open), end = s.find(close, begin);
      if (end == Text::npos) break;
      s = s.substr(0, begin) + s.substr(end + close.size());
    }
    // A prompt may have opened the block: then the reply holds its end alone.
    if (has(s, close) && !has(s, open)) s = s.substr(s.rfind(close) + close.size());
  }
  return strip(s);
}
Text without_reasoning(View reply) {
  static const std::vector<std::pair<Text, Text>> tags = {{U"<think>", U"</think>"}, {U"<analysis>", U"</analysis>"}};
  return without_reasoning(reply, tags);
}

Json score_line(const Task& task, const Json& line, Compat compat, bool direct) {
  Text reply;
  if (line.find("prediction")) reply = text_of(line, "prediction");
  else if (!line.find("predictions")) input_error("prediction: missing");
  if (!direct && compat == Compat::lmms && task.filter) reply = task.filter(reply);
  if (!direct) reply = without_reasoning(reply);
  Json out = Json::object(), fields;  // a score that the line had is not taken for ours
  for (const auto& [key, value] : line.members())
    if (key != "score" && key != "error" && key != "metrics") out.set(key, value);
  try {
    fields = task.score({line, reply, compat});
  } catch (const Raised& raised) { fields = Json::object({{"error", raised.type}}); }
  if (fields.find("error") && !fields.find("score")) fields.set("score", 0.0);
  for (const auto& [key, value] : fields.members()) out.set(key, value);
  return out;
}

}  // namespace ov::public_tasks
