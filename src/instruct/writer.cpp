#include "instruct/writer.h"

#include <algorithm>

#include "base/json_section.h"
#include "base/text.h"
#include "eval/scorers/task.h"

namespace ov::instruct {
namespace {

std::string said_by(const Reply& reply) {
  return python::utf8(public_tasks::without_reasoning(python::text(reply.text)));
}

const char* name_of(const std::string& language) { return language == "zh" ? "Chinese" : "English"; }

// A list of texts, in a fence or not.
std::vector<std::string> list_in(const std::string& said) {
  const std::size_t begin = said.find('['), end = said.rfind(']');
  if (begin == said.npos || end == said.npos || end < begin) input_error("no list");
  const Json list = Json::parse(std::string_view(said).substr(begin, end - begin + 1), "the reply");
  std::vector<std::string> out;
  for (const Json& text : list.items()) out.push_back(text.as_string());
  return out;
}

}  // namespace

Writer::Writer(const WriterOptions& options, const std::string& path, const SafetyRules& safety, std::uint64_t seed)
    : options_(options), safety_(safety), seed_(seed), endpoint_(options.asker, options.cache) {
  const Json json = Json::read(path);
  JsonSection top(json, path);
  rewrite_ = top.text("rewrite"), translate_ = top.text("translate"), judge_ = top.text("judge");
  for (const std::string* prompt : {&rewrite_, &translate_, &judge_})
    if (blank(*prompt)) input_error(path, ": expected prompts rewrite, translate and judge");
  temperature_ = top.number("temperature");
  variants_ = top.integer("variants"), max_tokens_ = top.integer("max_tokens");
  if (variants_ < 1 || max_tokens_ < 1) input_error(path, ": expected variants and max_tokens of at least 1");
  JsonSection words(json.at("words"), path + ": words");
  bounds_ = {words.number("shortest"), words.number("longest"), words.integer("slack")};
  if (!(bounds_.shortest >= 0 && bounds_.shortest <= 1 && bounds_.longest >= 1 && bounds_.slack >= 0))
    input_error(path, ": words: expected shortest from 0 to 1, longest of at least 1 and slack of at least 0");
}

std::string Writer::spent() const {
  return cat("endpoint: ", endpoint_.asked(), " requests sent, ", options_.retries ? options_.retries->load() : 0,
             " of them tried again; ", endpoint_.found(), " answered from ", options_.cache);
}

Json Writer::body(const std::string& prompt, const Json& said) const {
  Json messages = Json::array();
  messages.push(Json::object({{"role", "system"}, {"content", prompt}}));
  messages.push(Json::object({{"role", "user"}, {"content", said.dump()}}));
  return Json::object({{"model", options_.model}, {"messages", messages}, {"max_tokens", max_tokens_}});
}

Json Writer::asks(const Wanted& t) const {
  Json out;
  if (t.from != t.to) {
    out = body(translate_, Json::object({{"into", name_of(t.to)}, {"messages", t.texts}}));
    out.set("temperature", 0);
  } else {
    out = body(rewrite_, Json::object({{"question", t.texts[0]}, {"answer", t.texts[1]}}));
    // Records that ask the same share this many wordings at most, so that no more of them are paid for.
    const std::size_t n = drawn(seed_, "instruct variant", t.id, static_cast<std::size_t>(variants_));
    out.set("temperature", temperature_), out.set("seed", n + 1);
  }
  return out;
}

Json Writer::judges(const Wanted& t, const Written& w) const {
  const auto list = [&](const std::vector<std::string>& texts) {
    return Json(t.from == t.to ? std::vector<std::string>{texts[0], texts[1]} : texts);
  };
  Json out = body(judge_, Json::object({{"before", list(t.texts)}, {"after", list(w.texts)}}));
  out.set("temperature", 0);
  return out;
}

Written Writer::read(const Wanted& t, const Reply& reply) const {
  Written w{t.texts, {}};
  const auto against = [&](const char* word, const std::string& message) {
    w.texts = t.texts, w.objection = {word, message};
    return w;
  };
  if (!reply.refused.empty()) return against("refused", reply.refused);
  const std::string said = said_by(reply);
  if (const std::string refusal = safety_.refusal_in(said); !refusal.empty() && safety_.refusal_in(t.texts[0]).empty())
    return against("refused", said);
  std::vector<std::string> answers;
  for (std::size_t i = 1; i < t.texts.size(); i += 2) answers.push_back(t.texts[i]);
  if (t.from == t.to) {
    w.texts[0] = std::string(trimmed(said));
    if (w.texts[0] == t.texts[0]) return against("unchanged", "");
  } else {
    try {
      w.texts = list_in(said);
    } catch (const Error& e) { return against("no_list", said); }
    if (w.texts.size() != t.texts.size())
      return against("no_list", cat(w.texts.size(), " texts, expected ", t.texts.size()));
    answers.clear();
    for (std::size_t i = 1; i < w.texts.size(); i += 2) answers.push_back(w.texts[i]);
  }
  for (std::size_t i = 0; i < w.texts.size(); ++i) {
    if (t.from == t.to && i > 0) break;
    if (t.texts[i].empty()) {  // an instruction alone: there is nothing to translate
      w.texts[i].clear();
      continue;
    }
    const Note n = i % 2
                       ? against_answer(t.texts[i], w.texts[i], t.from, t.to, bounds_)
                       : against_question(t.texts[i], w.texts[i], t.from == t.to ? answers : std::vector<std::string>(),
                                          t.from, t.to, bounds_);
    if (!n.what.empty()) return against(n.what.c_str(), cat(n.message, i ? cat(", in text ", i + 1) : std::string()));
  }
  return w;
}

std::vector<Written> Writer::write(const std::vector<Wanted>& wanted) {
  std::vector<Json> bodies;
  for (const Wanted& t : wanted) bodies.push_back(asks(t));
  const std::vector<Reply> replies = endpoint_.replies(bodies);
  std::vector<Written> out;
  std::vector<std::size_t> judged;
  bodies.clear();
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    out.push_back(read(wanted[i], replies[i]));
    if (!options_.judge || !out[i].objection.what.empty()) continue;
    judged.push_back(i), bodies.push_back(judges(wanted[i], out[i]));
  }
  const std::vector<Reply> verdicts = endpoint_.replies(bodies);
  for (std::size_t n = 0; n < judged.size(); ++n) {
    const std::size_t i = judged[n];
    const std::string said = verdicts[n].refused.empty() ? lowered(said_by(verdicts[n])) : verdicts[n].refused;
    if (verdicts[n].refused.empty() && (said.starts_with("yes") || said.starts_with("是"))) continue;
    const std::string texts = shown(out[i].texts[0]);
    out[i] = {wanted[i].texts,
              {verdicts[n].refused.empty() ? "judged_other" : "not_judged", cat(texts, ": ", shown(said))}};
  }
  return out;
}

}  // namespace ov::instruct
