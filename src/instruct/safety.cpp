#include "instruct/safety.h"

#include <optional>

#include "base/json_section.h"
#include "base/text.h"
#include "text/python.h"

namespace ov::instruct {
namespace {

// How an answer begins: capitals and curly apostrophes as plain ones, full-width commas as half-width ones.
std::string opening(const std::string& answer) {
  std::string out = lowered(trimmed(answer).substr(0, 400));
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"\xE2\x80\x99", "'"}, {"\xEF\xBC\x8C", ","}})
    for (std::size_t at; (at = out.find(from)) != out.npos;) out.replace(at, from.size(), to);
  return out;
}

std::string digits_of(const std::string& text) {
  std::string out;
  for (const char c : text)
    if (c != ' ' && c != '-') out += c;
  return out;
}

}  // namespace

struct SafetyRules::Rule {
  std::string name, needs, as;
  bool mask = false;
  bool (*check)(const std::string&) = nullptr;
  std::optional<python::Regex> pattern, except;
};

bool passes_luhn(const std::string& number) {
  const std::string d = digits_of(number);
  int sum = 0;
  for (std::size_t i = 0; i < d.size(); ++i) {
    const int v = (d[d.size() - 1 - i] - '0') * (i % 2 ? 2 : 1);
    sum += v > 9 ? v - 9 : v;
  }
  return sum % 10 == 0;
}

bool passes_iban(const std::string& account) {
  const std::string d = digits_of(account);
  if (d.size() < 15 || d.size() > 34) return false;
  int rest = 0;
  for (const char c : d.substr(4) + d.substr(0, 4))
    rest = c <= '9' ? (rest * 10 + c - '0') % 97 : (rest * 100 + c - 'A' + 10) % 97;
  return rest == 1;
}

bool passes_gb11643(const std::string& number) {
  const std::string d = digits_of(number);
  int sum = 0, weight = 1;  // 2^i mod 11, from the check character on
  for (std::size_t i = d.size(); i-- > 0; weight = weight * 2 % 11)
    sum += weight * (d[i] == 'X' || d[i] == 'x' ? 10 : d[i] - '0');
  return d.size() == 18 && sum % 11 == 1;
}

SafetyRules SafetyRules::read(const std::string& path) {
  SafetyRules out;
  const Json json = Json::read(path);
  for (const auto& [lang, list] : json.at("refusals").members())
    for (const Json& text : list.items()) {
      out.refusals_.push_back(opening(text.as_string()));
      if (out.refusals_.back().empty()) input_error(path, ": an empty refusal would refuse every answer");
    }
  for (const Json& entry : json.at("rules").items()) {
    JsonSection section(entry, path + ": a rule");
    auto rule = std::make_shared<Rule>();
    rule->name = section.text("name");
    const std::string where = cat(path, ": rule ", shown(rule->name)), action = section.text("action");
    rule->needs = section.text("needs"), rule->as = section.text("as"), rule->mask = action == "mask";
    if (rule->name.empty() || (action != "mask" && action != "reject"))
      input_error(where, ": expected a name, and an action mask or reject, found ", shown(action));
    if (rule->mask && rule->as.empty()) input_error(where, ": expected \"as\", what a match is masked with");
    const std::string check = section.text("check");
    rule->check = check == "luhn"      ? passes_luhn
                  : check == "iban"    ? passes_iban
                  : check == "gb11643" ? passes_gb11643
                                       : nullptr;
    if (!check.empty() && !rule->check) input_error(where, ": there is no check ", shown(check));
    const auto compile = [&](const char* key) -> std::optional<python::Regex> {
      if (section.text(key).empty()) return {};
      try {
        return python::Regex(python::text(section.text(key)));
      } catch (const Error& e) { input_error(where, ": ", e.what()); }
    };
    rule->pattern = compile("pattern"), rule->except = compile("except");
    if (!rule->pattern) input_error(where, ": expected a pattern");
    if (rule->pattern->search(U""))
      input_error(where, ": the pattern matches an empty text: it would find something in every text");
    out.rules_.push_back(rule);
  }
  return out;
}

std::string SafetyRules::refusal_in(const std::string& answer) const {
  const std::string begins = opening(answer);
  for (const std::string& refusal : refusals_)
    if (begins.starts_with(refusal)) return refusal;
  return "";
}

void SafetyRules::apply(Record& r, Notes& notes) const {
  for (std::size_t t = 0; t < r.turns.size(); ++t) {
    Turn& turn = r.turns[t];
    const std::string place = cat("in message ", t + 1);
    if (turn.role == "assistant")
      if (const std::string refusal = refusal_in(turn.text); !refusal.empty())
        refuse("refusal", shown(refusal), " ", place);
    python::Text text;
    bool masked = false;
    for (const auto& rule : rules_) {
      if (!rule->needs.empty() && turn.text.find_first_of(rule->needs) == std::string::npos) continue;
      if (text.empty()) text = python::text(turn.text);
      try {
        python::Text out;  // what stands before `copied`, masked
        std::size_t copied = 0;
        for (std::size_t from = 0; from <= text.size();) {
          const auto found = rule->pattern->search(text, from);
          if (!found) break;
          from = std::max(found->end, found->begin + 1);
          if (rule->mask && found->begin == found->end) continue;  // between two letters, say: nothing to mask
          const python::Text match = text.substr(found->begin, found->end - found->begin);
          if (rule->check && !rule->check(python::utf8(match))) continue;
          if (rule->except && rule->except->search(python::text(python::utf8(python::lower(match))))) continue;
          if (!rule->mask) refuse(rule->name, match.size(), " characters ", place);
          out.append(text, copied, found->begin - copied).append(python::text(rule->as));
          copied = found->end, masked = true;
          notes.push_back({rule->name, cat(match.size(), " characters ", place, " masked")});
        }
        if (copied > 0) text = out.append(text, copied);
      } catch (const Error& e) { refuse("too_hard_to_check", "rule ", rule->name, " ", place, ": ", e.what()); }
    }
    if (masked) turn.text = python::utf8(text);
  }
}

}  // namespace ov::instruct
