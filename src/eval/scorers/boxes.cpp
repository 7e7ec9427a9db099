// Boxes: RefCOCO as regions (REC) and as grounding with JSON replies.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "eval/scorers/boxes.h"
#include "eval/scorers/python_json.h"
#include "eval/scorers/statistics.h"

namespace ov::public_tasks {
namespace {

using namespace python;

double area(const Box& b) { return (b[2] - b[0]) * (b[3] - b[1]); }
double overlap(const Box& a, const Box& b) {  // std::max and std::min keep the first of a pair with NaN, as Python's do
  return std::max(0.0, std::min(a[2], b[2]) - std::max(a[0], b[0])) *
         std::max(0.0, std::min(a[3], b[3]) - std::max(a[1], b[1]));
}

// Intersection over union of two boxes in which a corner may be on the wrong side: its area is negative, and a union of
// 0 divides by zero.
double signed_iou(const Box& gold, const Box& said, Compat compat) {
  const double both = overlap(gold, said), all = area(gold) + area(said) - both;
  if (all == 0 || (compat == Compat::fixed && (area(said) < 0 || all < 0))) {
    if (compat == Compat::lmms) throw Raised{"ZeroDivisionError"};
    return 0;
  }
  return both / all;
}

double iou(const Box& a, const Box& b) {
  const auto own = [](const Box& x) { return std::max(0.0, x[2] - x[0]) * std::max(0.0, x[3] - x[1]); };
  const double both = overlap(a, b), all = own(a) + own(b) - both;
  return all <= 0 ? 0 : both / all;
}

constexpr double thresholds[] = {0.1, 0.3, 0.5, 0.7, 0.9};
constexpr const char* names[] = {"IoU", "ACC@0.1", "ACC@0.3", "ACC@0.5", "ACC@0.7", "ACC@0.9", "Center_ACC"};

Json metrics_of(double iou, const Box& gold, const Box& said) {
  Json out = Json::object({{"IoU", number_json(iou)}});
  for (int i = 0; i < 5; ++i) out.set(names[i + 1], iou >= thresholds[i] ? 1.0 : 0.0);
  const double x = (said[0] + said[2]) / 2, y = (said[1] + said[3]) / 2;
  out.set("Center_ACC", gold[0] <= x && x <= gold[2] && gold[1] <= y && y <= gold[3] ? 1.0 : 0.0);
  return out;
}

Json box_json(const Box& box) {
  Json out = Json::array();
  for (const double v : box) out.push(number_json(v));
  return out;
}
Box box_of(const Json& list) {
  if (!list.is_array() || list.size() != 4) input_error("answer: expected a box of four numbers, found ", list.shown());
  Box box;
  for (std::size_t i = 0; i < 4; ++i) box[i] = list[i].as_double();
  return box;
}
Box box_of(const Regex::Match& found) {
  Box box;
  for (std::size_t i = 0; i < 4; ++i) box[i] = to_float(*found.groups[i + 1]).value_or(NAN);
  return box;
}

// The gold as shares of the picture; where a line has no answer, from the document's "bbox" in pixels.
Box gold_box(const Case& c) {
  if (const Json* answer = c.line.find("answer"); answer && answer->is_array()) return box_of(*answer);
  const Json *box = c.doc("bbox"), *width = c.doc("image_width"), *height = c.doc("image_height");
  if (!box || !width || !height) input_error("answer: missing, and so are doc.bbox, image_width and image_height");
  return shares_of_picture(box_of(*box), width->as_double(), height->as_double());
}

// The first [a, b, c, d]; zeros where there is none. Gold and reply are shares of the picture.
Json rec(const Case& c) {
  static const Regex four(
      UR"(\[\s*(-?\d+(?:\.\d+)?),\s*(-?\d+(?:\.\d+)?),\s*(-?\d+(?:\.\d+)?),\s*(-?\d+(?:\.\d+)?)\s*\])");
  const auto found = four.search(c.reply);
  const Box said = found ? box_of(*found) : Box{}, gold = gold_box(c);
  Json out = Json::object({{"parsed", box_json(said)}});
  try {
    const double value = signed_iou(gold, said, c.compat);
    out.set("score", number_json(value));
    out.set("metrics", metrics_of(value, gold, said));
  } catch (const Raised& raised) { out.set("error", raised.type); }
  return out;
}

double as_float(const PythonJson& v) {  // float(v); only what may be a coordinate comes here
  if (v.too_large) throw Raised{"OverflowError"};
  return v.number;
}

// A list of four numbers is a box (true counts as 1), anything else is searched; of an object the known keys first.
void find_boxes(const PythonJson& v, std::vector<Box>& boxes) {
  using Kind = PythonJson::Kind;
  if (v.kind == Kind::list) {
    const bool numbers =
        std::all_of(v.items.begin(), v.items.end(), [](const auto& i) { return i.kind == Kind::number; });
    if (numbers && v.items.size() == 4)
      boxes.push_back({as_float(v.items[0]), as_float(v.items[1]), as_float(v.items[2]), as_float(v.items[3])});
    else
      for (const PythonJson& item : v.items) find_boxes(item, boxes);
  }
  if (v.kind != Kind::dict) return;
  for (const View key : {U"bbox_2d", U"bbox", U"box", U"coordinates", U"coord", U"location", U"position"}) {
    const PythonJson* found = v.find(key);
    if (!found || found->kind != Kind::list || found->items.size() != 4) continue;
    Box box;
    bool all = true;
    for (std::size_t i = 0; i < 4 && all; ++i) {
      const PythonJson& item = found->items[i];
      const auto number = item.kind == Kind::number   ? std::optional(as_float(item))
                          : item.kind == Kind::string ? to_float(item.string)
                                                      : std::nullopt;
      all = number.has_value();
      if (all) box[i] = *number;
    }
    if (all) {
      boxes.push_back(box);
      return;
    }
  }
  for (const auto& [key, value] : v.members) find_boxes(value, boxes);
}

std::optional<PythonJson> some_json(View reply) {
  static const Regex fence(UR"(```(?:json)?\s*(.*?)\s*```)", Regex::ignore_case | Regex::dot_all);
  const Text s = strip(reply);
  if (s.empty()) return {};
  if (const auto found = fence.search(s))
    if (auto value = PythonJson::parse(*found->groups[1])) return value;
  if (auto value = PythonJson::parse(s)) return value;
  for (const auto& [open, close] : {std::pair(U'[', U']'), std::pair(U'{', U'}')}) {
    const std::size_t begin = s.find(open), end = s.rfind(close);
    if (begin == Text::npos || end == Text::npos || end <= begin) continue;
    if (auto value = PythonJson::parse(s.substr(begin, end - begin + 1))) return value;
  }
  return {};
}

std::vector<Box> boxes_in(const Text& reply) {
  static const Regex four(
      UR"(\[?\s*(-?\d+(?:\.\d+)?)\s*[,\s]\s*(-?\d+(?:\.\d+)?)\s*[,\s]\s*)"
      UR"((-?\d+(?:\.\d+)?)\s*[,\s]\s*(-?\d+(?:\.\d+)?)\s*\]?)");
  std::vector<Box> boxes;
  if (const auto value = some_json(reply)) find_boxes(*value, boxes);
  if (boxes.empty())
    for (const auto& found : four.find_all(reply)) boxes.push_back(box_of(found));
  return boxes;
}

// Each box is tried as pixels and as thousandths; the best of all counts. Gold: x y width height in pixels.
Json grounding(const Case& c) {
  const Box xywh = box_of(c.line.at("answer")), gold = {xywh[0], xywh[1], xywh[0] + xywh[2], xywh[1] + xywh[3]};
  const Json& doc = c.line.at("doc");
  const double width = doc.at("image_width").as_double(), height = doc.at("image_height").as_double();
  Json listed = Json::array();
  Box best = {};
  double best_iou = -1;
  bool any = false;
  for (const Box& box : boxes_in(c.reply)) {
    listed.push(box_json(box));
    const Box scaled = {box[0] / 1000 * width, box[1] / 1000 * height, box[2] / 1000 * width, box[3] / 1000 * height};
    for (const Box& candidate : {box, scaled}) {
      const double value = iou(candidate, gold);
      if (!any) best = candidate;
      if (value > best_iou) best_iou = value, best = candidate;
      any = true;
    }
  }
  const double value = iou(gold, best);
  return Json::object({{"boxes", std::move(listed)},
                       {"best", box_json(best)},
                       {"metrics", metrics_of(value, gold, best)},
                       {"score", value}});
}

Json box_metrics(const Lines& lines, const std::string& prefix) {
  Json out = Json::object();
  for (const char* name : names) {
    Values values;
    for (const Json& line : lines) {
      const Json* metrics = line.find("metrics");
      const Json* value = metrics ? metrics->find(name) : nullptr;
      values.push_back(!value               ? 0  // their code raises here
                       : value->is_string() ? to_float(text(value->as_string())).value_or(NAN)
                                            : value->as_double());
    }
    Json metric = share_metric(values);
    if (values.empty()) metric.set("value", "nan");
    out.set(prefix + name, std::move(metric));
  }
  return out;
}

}  // namespace

Box shares_of_picture(const Box& b, double width, double height) {
  return {b[0] / width, b[1] / height, (b[0] + b[2]) / width, (b[1] + b[3]) / height};
}

Rows box_tasks() {
  return {
      {"refcoco_rec", rec, [](const Lines& l, Compat) { return box_metrics(l, "refcoco_"); }},
      {"refcoco_grounding", grounding, [](const Lines& l, Compat) { return box_metrics(l, "refcoco_grounding_"); }}};
}

}  // namespace ov::public_tasks
