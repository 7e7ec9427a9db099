#include "instruct/audit.h"

#include <iomanip>
#include <sstream>

#include "base/text.h"

namespace ov::instruct {

Audit::Audit(const std::vector<std::string>& steps) {
  for (const std::string& name : steps) steps_.push_back({name, 0, 0, {}, {}});
}

void Audit::rejected(std::size_t step, const std::string& id, const Refused& why, std::string* log) {
  Count& c = steps_[step].rejected[why.reason];
  const std::string message = shown(why.message, 300);
  if (c.n++ < static_cast<std::int64_t>(examples)) c.examples.push(Json::object({{"id", id}, {"message", message}}));
  *log +=
      Json::object({{"id", id}, {"step", steps_[step].name}, {"rejected", why.reason}, {"message", message}}).dump();
  *log += "\n";
}

void Audit::changed(std::size_t step, const std::string& id, const Note& note, std::string* log) {
  Count& c = steps_[step].changed[note.what];
  const std::string message = shown(note.message, 300);
  if (c.n++ < static_cast<std::int64_t>(examples)) c.examples.push(Json::object({{"id", id}, {"message", message}}));
  if (note.message.empty()) return;
  *log += Json::object({{"id", id}, {"step", steps_[step].name}, {"changed", note.what}, {"message", message}}).dump();
  *log += "\n";
}

void Audit::add(const Json& part, const std::string& where) {
  if (!part.is_array() || part.size() != steps_.size()) input_error(where, ": expected ", steps_.size(), " steps");
  for (std::size_t s = 0; s < steps_.size(); ++s) {
    const Json& p = part[s];
    if (p.at("step").as_string() != steps_[s].name) input_error(where, ": expected the step ", steps_[s].name);
    steps_[s].in += p.at("in").as_int(), steps_[s].out += p.at("out").as_int();
    for (auto [key, to] : {std::pair{"rejected", &steps_[s].rejected}, {"changed", &steps_[s].changed}})
      for (const auto& [word, count] : p.at(key).members()) {
        Count& c = (*to)[word];
        c.n += count.at("n").as_int();
        for (const Json& example : count.at("examples").items())
          if (c.examples.size() < examples) c.examples.push(example);
      }
  }
}

Json Audit::json() const {
  Json list = Json::array();
  for (const Step& s : steps_) {
    std::int64_t lost = 0;
    Json both[2] = {Json::object(), Json::object()};
    for (const auto& [word, c] : s.rejected) lost += c.n;
    if (s.in != s.out + lost) machine_error("step ", s.name, ": ", s.in, " in, ", s.out, " out, ", lost, " rejected");
    for (const int k : {0, 1})
      for (const auto& [word, c] : k ? s.changed : s.rejected)
        both[k].set(word, Json::object({{"n", c.n}, {"examples", c.examples}}));
    list.push(
        Json::object({{"step", s.name}, {"in", s.in}, {"out", s.out}, {"rejected", both[0]}, {"changed", both[1]}}));
  }
  return list;
}

FirstReasons Audit::refused() const {
  FirstReasons out;
  for (const Step& s : steps_)
    for (const auto& [word, c] : s.rejected)
      out.add(s.name + ": " + word, c.examples[0].at("id").as_string() + " " + c.examples[0].at("message").as_string(),
              c.n);
  return out;
}

std::string Audit::text() const {
  std::ostringstream table;
  table << "step              in      out  rejected\n";
  for (const Step& s : steps_) {
    table << std::left << std::setw(12) << s.name << std::right << std::setw(8) << s.in << " " << std::setw(8) << s.out;
    std::string why;
    for (const auto& [word, c] : s.rejected) why += cat(why.empty() ? "  " : ", ", word, " ", c.n);
    table << why << "\n";
  }
  return table.str();
}

}  // namespace ov::instruct
