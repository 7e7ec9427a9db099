#include "data/synth/catalog.h"

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "data/synth/scene.h"

namespace ov::synth {

namespace {

int percent(const Json& value, const std::string& where) {
  const std::int64_t p = value.as_int();
  if (p < 0 || p > 100) input_error(where, ": expected a percentage from 0 to 100, found ", p);
  return static_cast<int>(p);
}

std::array<std::string, 2> pattern(const Json& value, const std::string& where) {
  if (value.size() != 2) input_error(where, ": expected [question, answer], found ", value.size(), " entries");
  return {value[0].as_string(), value[1].as_string()};
}

Template read_template(const Json& entry, const std::string& file, const Words& categories, const Words& scorers) {
  Template t;
  t.id = entry.at("id").as_string();
  const std::string where = file + ": template '" + t.id + "'";
  const auto known = [&](const Words& names, const std::string& name, const char* what) {
    if (std::find(names.begin(), names.end(), name) == names.end())
      input_error(where, ": unknown ", what, " '", name, "'", did_you_mean(name, names));
  };
  t.category = entry.at("category").as_string();
  if (t.category != terse_category) {
    known(categories, t.category, "category");
    t.scorer = entry.at("scorer").as_string();
    known(scorers, t.scorer, "scorer");
  }
  t.english = pattern(entry.at("en"), where);
  if (const Json* zh = entry.find("zh")) t.chinese = pattern(*zh, where);
  if (const Json* p = entry.find("zh_percent")) t.zh_percent = percent(*p, where + " zh_percent");
  if (t.zh_percent > 0 && t.chinese[0].empty()) input_error(where, ": zh_percent without a Chinese pattern 'zh'");
  if (const Json* p = entry.find("ask")) t.ask_percent = percent(*p, where + " ask");
  if (const Json* keep = entry.find("keep"))
    for (const auto& [answer, p] : keep->members())
      t.keep_percent.emplace_back(answer, percent(p, where + " keep '" + answer + "'"));
  if (const Json* families = entry.find("families"))
    for (const Json& family : families->items()) {
      t.families.push_back(family.as_string());
      known(scene_families(), t.families.back(), "family");
    }
  if (const Json* type = entry.find("answer_type")) t.answer_type = type->as_string();
  if (const Json* share = entry.find("share")) t.share = static_cast<int>(share->as_int());
  if (const Json* hard = entry.find("hard")) t.hard = hard->as_bool();
  if (const Json* two_way = entry.find("two_way")) t.two_way = two_way->as_bool();
  if (const Json* from_caption = entry.find("from_caption")) t.from_caption = from_caption->as_bool();
  return t;
}

std::vector<int> read_mixture(const std::string& name, const Json& entry, const std::string& file) {
  const std::string where = file + ": mixture '" + name + "'";
  const Words& families = scene_families();
  std::vector<int> weights(families.size());
  for (const auto& [family, weight] : entry.members()) {
    const auto at = std::find(families.begin(), families.end(), family);
    if (at == families.end()) input_error(where, ": unknown family '", family, "'", did_you_mean(family, families));
    if (weight.as_int() < 0) input_error(where, ": expected a weight of at least 0, found ", weight.as_int());
    weights[static_cast<std::size_t>(at - families.begin())] = static_cast<int>(weight.as_int());
  }
  if (std::all_of(weights.begin(), weights.end(), [](int w) { return w == 0; }))
    input_error(where, ": no family has a weight");
  return weights;
}

// Fields of templates that the worlds of a mixture have otherwise, by id; "*": of all that are not named.
Json read_asked(const Json& entry, const Json& templates, const std::string& where) {
  Words ids = {"*"};
  for (const Json& t : templates.items()) ids.push_back(t.at("id").as_string());
  const Words fields = {"ask", "share", "category", "answer_type"};
  const auto object = [](const Json& json, const std::string& place) {
    if (!json.is_object()) input_error(place, ": expected an object, found ", json.shown());
  };
  object(entry, where);
  for (const auto& [id, otherwise] : entry.members()) {
    const std::string place = cat(where, ": template '", id, "'");
    if (std::find(ids.begin(), ids.end(), id) == ids.end())
      input_error(where, ": no template '", id, "'", did_you_mean(id, ids));
    object(otherwise, place);
    for (const auto& [field, value] : otherwise.members()) {
      if (std::find(fields.begin(), fields.end(), field) == fields.end())
        input_error(place, ": '", field, "' is not asked otherwise", did_you_mean(field, fields));
      const std::int64_t most = field == "ask" ? 100 : 1'000'000;
      if (field == "ask" || field == "share") {
        if (!value.is_integer() || value.as_int() < 0 || value.as_int() > most)
          input_error(place, ": ", field, ": expected a whole number from 0 to ", most, ", found ", value.shown());
      } else if (!value.is_string() || value.as_string().empty()) {
        input_error(place, ": ", field, ": expected a text, found ", value.shown());
      }
    }
  }
  return entry;
}

Json with(Json entry, const Json& asked) {
  const Json* otherwise = asked.find(entry.at("id").as_string());
  if (!otherwise) otherwise = asked.find("*");
  if (otherwise)
    for (const auto& [field, value] : otherwise->members()) entry.set(field, value);
  return entry;
}

}  // namespace

Catalog Catalog::read(const std::string& data_dir, const std::string& mixture) {
  Catalog c;
  std::string file = data_dir + "/mixtures.json";
  const Json mixtures = Json::read(file), templates = Json::read(data_dir + "/templates.json");
  for (const auto& [name, entry] : mixtures.at("mixtures").members())
    c.mixtures_.emplace_back(name, read_mixture(name, entry, file));
  c.mixture(mixture);  // throws when it is not there
  Json asked = Json::object();
  for (const auto& [name, entry] : mixtures.at("asked").members()) {
    c.mixture(name);
    const Json read = read_asked(entry, templates.at("templates"), cat(file, ": asked '", name, "'"));
    if (name == mixture) asked = read;
  }

  file = data_dir + "/templates.json";
  for (const Json& name : templates.at("categories").items()) c.categories_.push_back(name.as_string());
  for (const Json& name : templates.at("categories_apart").items()) c.categories_apart_.push_back(name.as_string());
  Words categories = c.categories_;
  categories.insert(categories.end(), c.categories_apart_.begin(), c.categories_apart_.end());
  Words scorers;
  for (const auto& [name, meaning] : templates.at("scorers").members()) scorers.push_back(name);
  for (const Json& entry : templates.at("templates").items()) {
    c.templates_.push_back(read_template(with(entry, asked), file, categories, scorers));
    const std::string& id = c.templates_.back().id;
    if (!c.by_id_.emplace(id, c.templates_.size() - 1).second) input_error(file, ": template '", id, "' stands twice");
  }

  file = data_dir + "/mixtures.json";
  for (const auto& [name, entry] : mixtures.at("interspersed").members()) {
    const Interspersed other{entry.at("one_in").as_int(), entry.at("mixture").as_string()};
    if (other.one_in < 1)
      input_error(file, ": interspersed '", name, "': one_in: expected at least 1, found ", other.one_in);
    for (const std::string& used : {name, other.mixture}) c.mixture(used);  // throws when it is not there
    c.interspersed_.emplace(name, other);
  }
  c.held_out_percent_ = percent(mixtures.at("held_out_percent"), file + ": held_out_percent");
  for (const auto& [family, reason] : mixtures.at("shared_descriptions").members())
    c.shared_.emplace_back(family, reason.as_string());
  return c;
}

const Template& Catalog::find(std::string_view id) const {
  const auto at = by_id_.find(id);
  if (at == by_id_.end()) input_error("templates.json: no template '", id, "'");
  return templates_[at->second];
}

const std::vector<int>& Catalog::mixture(const std::string& name) const {
  Words names;
  for (const auto& [key, weights] : mixtures_) {
    if (key == name) return weights;
    names.push_back(key);
  }
  input_error("mixtures.json: no mixture '", name, "'", did_you_mean(name, names));
}

const std::string& Catalog::instruct_mixture(const std::string& name, std::int64_t i) const {
  const auto at = interspersed_.find(name);
  return at == interspersed_.end() || (i + 1) % at->second.one_in != 0 ? name : at->second.mixture;
}

bool Catalog::held_out(std::string_view description) const {
  return mix64(fnv1a(description)) % 100 < static_cast<std::uint64_t>(held_out_percent_);
}

const std::string* Catalog::shared_reason(std::string_view family) const {
  for (const auto& [name, reason] : shared_)
    if (name == family) return &reason;
  return nullptr;
}

}  // namespace ov::synth
