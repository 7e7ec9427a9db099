#include "eval/prompts.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "eval/scorers/task.h"

namespace ov::public_tasks {
namespace {

using Pictures = std::vector<Json>;

const std::string by_letter = "\nAnswer with the option's letter from the given choices directly.";
const std::string short_answer = "\nAnswer the question using a single word or phrase.";

const Json* found(const Json& doc, std::string_view key) {
  const Json* value = doc.find(key);
  return value && !value->is_null() ? value : nullptr;
}
std::string plain(const Json& value) { return value.is_string() ? value.as_string() : value.dump(); }
std::string field(const Json& doc, std::string_view key) { return plain(doc.at(key)); }
std::string question(const Json& doc) { return field(doc, "question"); }
std::string stripped(const std::string& text) { return python::utf8(python::strip(python::text(text))); }
std::string letter(std::size_t i) { return std::string(1, static_cast<char>('A' + i)); }

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) text.replace(at, from.size(), to);
  return text;
}

// "A. cat\nB. dog"
std::string lettered(const std::vector<std::string>& options) {
  std::string out;
  for (std::size_t i = 0; i < options.size(); ++i) out += cat(i ? "\n" : "", letter(i), ". ", options[i]);
  return out;
}
std::vector<std::string> texts(const Json* list) {
  std::vector<std::string> out;
  if (list && list->is_array())
    for (const Json& item : list->items()) out.push_back(plain(item));
  return out;
}
std::string letters_of(const Json& doc) {  // "A, B, C", as many as there are choices
  std::string out;
  const Json& choices = doc.at("choices");
  const std::int64_t n = choices.is_integer() ? choices.as_int()
                         : choices.is_array() ? std::ssize(choices.items())
                                              : -1;
  if (n < 0 || n > 26)
    input_error("choices: expected 0 to 26, found ", choices.is_array() ? cat("a list of ", n) : choices.shown(40));
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) out += (i ? ", " : "") + letter(i);
  return out;
}

// --- golds
template <const char*... keys>
Json first_of(const Json& doc) {
  for (const char* key : {keys...})
    if (const Json* value = found(doc, key)) return value->is_array() ? *value : Json(plain(*value));
  std::string names;
  for (const char* key : {keys...}) names += cat(names.empty() ? "" : " or ", key);
  input_error(names, ": missing");
}
constexpr char answer_key[] = "answer", answers_key[] = "answers", ranking_key[] = "human_ranking",
               label_key[] = "label", number_key[] = "number", bbox_key[] = "bbox";
constexpr auto answer = first_of<answer_key>;
constexpr auto answers = first_of<answers_key, answer_key>;

Json letter_of_place(const Json& doc) {  // a place among the options, from 0, as a number or its digits
  const std::string place = field(doc, "answer");
  if (place.empty() || place.size() > 2 || place.find_first_not_of("0123456789") != place.npos) return place;
  return letter(static_cast<std::size_t>(std::stoi(place)));
}
Json records(const Json& doc) {  // of VQAv2: {"answer", "answer_id"}
  Json out = Json::array();
  for (const Json& a : answers(doc).items()) out.push(a.is_object() ? a.at("answer") : a);
  return out;
}

// --- pictures
Pictures image(const Json& doc) {
  for (const char* key : {"image", "decoded_image", "file_name", "bytes", "images", "image_path"})
    if (const Json* value = found(doc, key)) {
      if (value->is_array()) return value->items();
      return {*value};
    }
  return {};
}
// --- texts
std::string vqa(const Json& doc) { return question(doc) + short_answer; }
std::string stripped_question(const Json& doc) { return stripped(question(doc)); }
std::string with_options(const Json& doc) {
  return question(doc) + "\n" + lettered(texts(found(doc, "options"))) + by_letter;
}
std::string scienceqa(const Json& doc) {
  const Json* hint = found(doc, "hint");
  const std::string context = hint && !hint->as_string().empty() ? "Context: " + hint->as_string() + "\n" : "";
  return context + question(doc) + "\n" + lettered(texts(found(doc, "choices"))) + by_letter;
}
std::string mme(const Json& doc) {
  return replaced(stripped_question(doc), " Please answer yes or no.", "") + short_answer;
}
std::string vstar(const Json& doc) {
  static const python::Regex option(UR"(\([A-D]\)\s*([^()]+?)(?=\s*\([A-D]\)|$))");
  const std::string whole = field(doc, "text");
  std::vector<std::string> options;
  for (const auto& match : option.find_all(python::text(whole)))
    if (options.size() < 4) options.push_back(python::utf8(python::strip(*match.groups[1])));
  if (options.empty()) return whole + by_letter;
  return stripped(whole.substr(0, whole.find("(A)"))) + "\n" + lettered(options) + by_letter;
}
template <bool blank>
std::string note(const Json& doc) {
  return cat("Note: You only need to respond with ", letters_of(doc), " without providing any additional information.",
             blank ? "\n\n" : "\n", field(doc, "prompt"));
}
std::string seedbench(const Json& doc) {
  return question(doc) + "\n" +
         lettered({field(doc, "choice_a"), field(doc, "choice_b"), field(doc, "choice_c"), field(doc, "choice_d")}) +
         by_letter;
}
std::string seedbench_2_plus(const Json& doc) {
  std::vector<std::string> options;
  for (const char* key : {"choice_A", "choice_B", "choice_C", "choice_D"}) {
    options.push_back(field(doc, key));
    if (options.back().find("jpg") != std::string::npos || options.back().find("png") != std::string::npos)
      options.back() = "<image>";
  }
  return question(doc) + "\n" + lettered(options) + by_letter;
}
const std::string as_number = "\nAnswer with a single number.";
std::string pixmo(const Json& doc) { return stripped(replaced(question(doc), "<image>", "")) + as_number; }
std::string countbenchqa(const Json& doc) {
  const Json* text = found(doc, "text");
  return (text && !text->as_string().empty() ? text->as_string() + "\n\n" : "") + question(doc) + as_number;
}
template <bool chinese>
std::string mmbench(const Json& doc) {
  const auto given = [&](const char* key) {
    const Json* value = found(doc, key);
    return value && plain(*value) != "nan" && plain(*value) != "NaN" ? plain(*value) : "";
  };
  const Json* hint = found(doc, "hint");  // NaN where there is none; an empty one leaves its blank
  std::string out = !hint || plain(*hint) == "nan" || plain(*hint) == "NaN" ? "" : plain(*hint) + " ";
  out += question(doc) + " " + (chinese ? "有如下几个选项：" : "There are several options:") + "\n";
  for (const char* key : {"A", "B", "C", "D", "E"})
    if (!given(key).empty()) out += cat(key, ". ", given(key), "\n");
  return out + (chinese ? "\n请直接使用所提供的选项字母作为答案回答。" : by_letter);
}
// MMMU keeps its options as the text of a Python list.
std::vector<std::string> mmmu_options(const Json& doc) {
  const Json* options = found(doc, "options");
  if (!options || options->is_array()) return texts(options);
  std::vector<std::string> out;
  for (const python::Text& option : printed_list(python::text(options->as_string())))
    out.push_back(python::utf8(option));
  return out;
}
std::string mmmu(const Json& doc) {
  const Json* type = found(doc, "question_type");
  if (type && type->as_string() != "multiple-choice") return question(doc) + "\n" + short_answer;
  return question(doc) + "\n" + lettered(mmmu_options(doc)) + "\n" + by_letter;
}
std::string mmmu_pro(const Json& doc) {
  const std::string ask = "Answer with the option letter from the given choices directly.";
  if (!found(doc, "question")) return ask;  // it stands in the picture
  return question(doc) + "\n" + lettered(mmmu_options(doc)) + "\n\n" + ask;
}
// Those that the text names, in the order of their names.
Pictures named(const Json& doc) {
  if (!found(doc, "question")) return image(doc);
  static const python::Regex tag(UR"(<image (\d+)>)");
  std::set<std::string> keys;
  for (const auto& match : tag.find_all(python::text(mmmu(doc))))
    keys.insert("image_" + python::utf8(*match.groups[1]));
  Pictures out;
  for (const std::string& key : keys) out.push_back(doc.at(key));
  return out;
}
template <bool chinese>
std::string mme_realworld(const Json& doc) {
  std::string options;
  for (const std::string& option : texts(found(doc, "multi-choice options"))) options += option + "\n";
  if (chinese)
    return question(doc) + " 选项如下所示:\n" + options +
           "根据图像选择上述多项选择题的最佳答案。只需回答正确选项的字母（A, B, C, D 或 E）。\n最佳答案为： ";
  return question(doc) + " The choices are listed below:\n" + options +
         "Select the best answer to the above multiple-choice question based on the image. Respond with only the "
         "letter (A, B, C, D, or E) of the correct option.\nThe best answer is: ";
}
std::string mathvista(const Json& doc) {
  const Json *unit = found(doc, "unit"), *places = found(doc, "precision");
  const std::string type = field(doc, "answer_type");
  std::string out = question(doc);
  if (unit && !plain(*unit).empty()) out += " (Unit: " + plain(*unit) + ")";
  if (field(doc, "question_type") == "multi_choice")
    return out + "\n" + lettered(texts(found(doc, "choices"))) + by_letter;
  if (type == "integer") return out + "\nAnswer the question using a single integer number.";
  if (type == "list") return out + "\nAnswer the question using a Python list.";
  const bool one = places && places->is_number() && places->as_double() == 1;
  return cat(out, "\nAnswer the question using a single floating-point number with ", one ? "one" : "two",
             " decimal place", one ? "" : "s", ".");
}
std::string mathvision(const Json& doc) {
  const auto options = texts(found(doc, "options"));
  return "Please solve the problem step by step and put your answer in one \"\\boxed{}\"." + question(doc) +
         (options.empty() ? ""
                          : "\nChoices: " + lettered(options) + "\nAnswer the question with" + by_letter.substr(12));
}
std::string refcoco(const Json& doc) {
  return "Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, bottom-right "
         "y). All values are floating point numbers bounded between 0 and 1. Please provide the bounding box "
         "coordinate of the region this sentence describes: " +
         field(doc, "answer");
}
std::string grounding(const Json& doc) {
  const Json& said = doc.at("answer");
  std::string names;
  if (!said.is_array()) names = cat("\"", plain(said), "\"");
  for (const std::string& one : texts(&said))
    if (const std::string name = stripped(one); !name.empty())
      names += cat(names.empty() ? "" : ", ", "\"", name, "\"");
  return cat("Locate every object that matches the description ", names.empty() ? "\"\"" : names,
             " in the image. Report bbox coordinates in JSON format.");
}
constexpr std::string_view think =
    "You are a helpful assistant. When the user asks a question, your response must include two parts: first, the "
    "reasoning process enclosed in <think>...</think> tags, then the final answer enclosed in <answer>...</answer> "
    "tags.Please provide a clear, concise response within <answer> </answer> tags that directly addresses the "
    "question.";
// Two answers in the order that the parity of their lengths gives, to be judged.
std::string vl_rewardbench(const Json& doc) {
  const Json& given = doc.at("response");
  if (!given.is_array() || given.size() < 2) input_error("response: expected two answers, found ", given.shown(40));
  std::size_t length = 0;
  for (const Json& answer : given.items()) length += python::text(answer.as_string()).size();
  return cat(
      " You are a highly capable multimodal AI assistant tasked with evaluating answers to visual questions. "
      "Please analyze the following image and question, then determine which of the two provided answers is "
      "better.\n\nQuestion: ",
      field(doc, "query"), "\n\nAnswer 1: ", given[length % 2].as_string(),
      "\n\nAnswer 2: ", given[1 - length % 2].as_string(),
      "\n\nPlease evaluate both answers based on the following criteria:\n"
      "1. Accuracy: How well does the answer align with the visual information in the image?\n"
      "2. Completeness: Does the answer fully address all aspects of the question?\n"
      "3. Clarity: Is the answer easy to understand and well-articulated?\n"
      "4. Relevance: Does the answer directly relate to the question and the image?\n\n"
      "After your evaluation, please:\n1. Explain your reasoning for each criterion.\n"
      "2. Provide an overall judgment on which answer is better (Answer 1 or Answer 2). For example: Overall "
      "Judgment: Answer X is better.\n\nYour response should be structured and detailed, demonstrating your "
      "understanding of both the visual and textual elements of the task.");
}
Json box_as_shares(const Json& doc) {  // x, y, width, height in pixels -> corners
  const Json& box = doc.at("bbox");
  if (!box.is_array() || box.size() != 4) input_error("bbox: expected four numbers, found ", box.shown());
  const double w = doc.at("image_width").as_double(), h = doc.at("image_height").as_double();
  const double x = box[0].as_double(), y = box[1].as_double();
  return std::vector<double>{x / w, y / h, (x + box[2].as_double()) / w, (y + box[3].as_double()) / h};
}

}  // namespace

Pictures pictures_of(const Json& doc) {
  Pictures out;
  bool any = false;
  for (const auto& [key, value] : doc.members()) {
    if (!key.starts_with("image_") || key.size() < 7 || key.find_first_not_of("0123456789", 6) != key.npos) continue;
    any = true;
    if (!value.is_null()) out.push_back(value);
  }
  return any ? out : image(doc);
}

const std::vector<Prompt>& prompts() {
  static const std::vector<Prompt> table = {
      {{"chartqa"},
       [](const Json& d) { return question(d) + "\nAnswer the question with a single word."; },
       answer,
       image,
       16},
      {{"docvqa_val", "docvqa", "infovqa_val", "infovqa"}, vqa, answers, image, 32},
      {{"textvqa_val", "textvqa"},
       [](const Json& d) { return python::utf8(python::capitalize(python::text(question(d)))) + short_answer; },
       answers,
       image},
      {{"vqav2_val", "vqav2"}, vqa, records, image, 16},
      {{"gqa"}, vqa, answer, image, 16, true},
      {.names = {"exact_match"}, .text = question, .gold = answer, .pictures = image, .pictureless = true},
      {{"ai2d", "ai2d_no_mask"}, with_options, letter_of_place, image, 16},
      {.names = {"scienceqa", "scienceqa_img"},
       .text = scienceqa,
       .gold = letter_of_place,
       .pictures = image,
       .max_tokens = 16,
       .pictureless = true},
      {{"realworldqa"}, stripped_question, answer, image, 16, true},
      {{"ocrbench"}, stripped_question, answer, image, 128, true},
      {{"mmstar"},
       [](const Json& d) { return stripped_question(d) + by_letter.substr(0, by_letter.size() - 1); },
       answer,
       image},
      {{"mme"}, mme, answer, image, 16, true},
      {{"pope", "pope_adv", "pope_pop", "pope_random"},
       [](const Json& d) { return stripped_question(d) + short_answer; },
       answer,
       image,
       128,
       true},
      {{"vstar_bench", "vstar"}, vstar, first_of<label_key, answer_key>, image, 16, true},
      {{"cv_bench"}, note<true>, answer, image},
      {.names = {"blink"}, .text = note<false>, .gold = answer, .pictures = pictures_of, .pictureless = true},
      {{"countbench"},
       [](const Json& d) {
         return "Look at the image carefully and count the objects. Answer with just a number, without any additional "
                "text. " +
                stripped_question(d);
       },
       first_of<number_key>,
       image,
       16},
      {{"countbenchqa"}, countbenchqa, first_of<number_key>, image, 32},
      {{"pixmo_count"}, pixmo, answer, image, 32},
      {{"mmbench_en_dev_static", "mmbench_en_dev", "mmbench"}, mmbench<false>, answer, image, 1024, true},
      {{"mmbench_cn_dev_static", "mmbench_cn_dev"}, mmbench<true>, answer, image, 1024, true},
      {{"seedbench"}, seedbench, answer, image},
      {{"seedbench_2_plus", "seedbench-2-plus"}, seedbench_2_plus, answer, image, 16},
      {.names = {"mmmu_val", "mmmu"},
       .text = mmmu,
       .gold = answer,
       .pictures = named,
       .max_tokens = 128,
       .placement = ImagePlacement::in_order,
       .pictureless = true},
      {.names = {"mmmu_pro_standard", "mmmu_pro_vision"},
       .text = mmmu_pro,
       .gold = answer,
       .pictures = named,
       .max_tokens = 256,
       .pictureless = true},
      {{"mmerealworld", "mmerealworld_lite", "mme_realworld"}, mme_realworld<false>, answer, image, 16, true},
      {{"mmerealworld_cn"}, mme_realworld<true>, answer, image, 16, true},
      {{"mathvista_testmini_format", "mathvista_testmini", "mathvista"}, mathvista, answer, image, 16384},
      {{"mathvision_test", "mathvision_testmini", "mathvision"}, mathvision, answer, image, 16384},
      {{"refcoco_bbox_rec", "refcoco+_bbox_rec", "refcocog_bbox_rec", "refcoco_rec"},
       refcoco,
       box_as_shares,
       image,
       1024,
       false,
       ImagePlacement::before,
       true,
       true},
      {{"refcoco_grounding"}, grounding, first_of<bbox_key>, image, 512, true, ImagePlacement::before, true},
      {.names = {"wemath_testmini_reasoning", "wemath_testmini_thinking", "wemath"},
       .text = [](const Json& d) { return question(d) + "\n" + field(d, "option"); },
       .gold = answer,
       .pictures = image,
       .max_tokens = 49152,
       .system = think,
       .strip = true},
      {.names = {"logicvista_reasoning", "logicvista"},
       .text = question,
       .gold = answer,
       .pictures = image,
       .max_tokens = 49152,
       .system = think,
       .strip = true},
      {.names = {"vl_rewardbench"},
       .text = vl_rewardbench,
       .gold = first_of<ranking_key>,
       .pictures = image,
       .top_p = true,
       .temperature = 1},
      {{"coco2014_cap_val", "coco2017_cap_val", "coco_cap"},
       [](const Json&) { return std::string("Provide a one-sentence caption for the provided image."); },
       answer,
       image,
       64,
       true},
  };
  return table;
}

const Prompt& prompt_named(std::string_view task) {
  std::vector<std::string> names;
  for (const Prompt& prompt : prompts())
    for (const std::string_view name : prompt.names) {
      // Splits of RefCOCO: refcoco_bbox_rec_testA.
      if (name == task || (prompt.explode && task.starts_with(std::string(name) + "_"))) return prompt;
      names.emplace_back(name);
    }
  input_error("--tasks ", task, ": its questions are not known here", did_you_mean(task, names),
              "; --score scores answers that are stored");
}

}  // namespace ov::public_tasks
