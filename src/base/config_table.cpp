// What the table says to people: help, and the same as a table of Markdown.
#include <algorithm>
#include <map>
#include <sstream>

#include "base/config.h"
#include "base/config_words.h"
#include "base/error.h"
#include "base/revision.h"
#include "base/text.h"

namespace ov {

std::string meant_word(const std::string& said, const Strings& choices) {
  static const std::map<std::string_view, std::string_view> names = {
      {"gpu", "cuda"},      {"nvidia", "cuda"}, {"host", "cpu"}, {"float32", "f32"},
      {"fp32", "f32"},      {"float64", "f64"}, {"fp64", "f64"}, {"double", "f64"},
      {"bfloat16", "bf16"}, {"yes", "true"},    {"no", "false"}};
  const std::size_t colon = said.find(':');  // gpu:0, cuda:0
  const std::string name = said.substr(0, colon);
  const auto known = names.find(name);
  const std::string word(known == names.end() ? std::string_view(name) : known->second);
  if (std::find(choices.begin(), choices.end(), word) != choices.end()) return "; did you mean '" + word + "'?";
  return did_you_mean(said, choices);
}

KeyTable::KeyTable(std::vector<Command> commands, std::vector<Key> keys)
    : commands_(std::move(commands)), keys_(std::move(keys)) {}

const Command& KeyTable::command(std::string_view name) const {
  Strings names;
  for (const Command& c : commands_) {
    if (c.name == name) return c;
    names.emplace_back(c.name);
  }
  input_error("no command '", name, "'", did_you_mean(name, names), " `onevision help` lists them");
}

const Key* KeyTable::find(std::string_view name) const {
  const auto it = std::find_if(keys_.begin(), keys_.end(), [&](const Key& k) { return k.name == name; });
  return it == keys_.end() ? nullptr : &*it;
}

std::vector<const Key*> KeyTable::of(std::string_view command) const {
  std::vector<const Key*> result;
  for (const Key& k : keys_)
    if (has_word(k.commands, command)) result.push_back(&k);
  return result;
}

std::string expected(const Key& key) {
  const std::string_view choices = key.allowed.choices;
  const bool low = key.allowed.low > -std::numeric_limits<double>::infinity();
  const bool high = key.allowed.high < std::numeric_limits<double>::infinity();
  const bool whole = std::holds_alternative<std::int64_t>(key.value);
  const auto bound = [&](double v) { return whole ? cat(static_cast<std::int64_t>(v)) : cat(v); };
  std::string range;
  if (low && high) range = cat(" from ", bound(key.allowed.low), " to ", bound(key.allowed.high));
  else if (low) range = cat(" of at least ", bound(key.allowed.low));
  switch (key.value.index()) {
    case 0: return "true or false";
    case 1: return "an integer" + range;
    case 2: return "a number" + range;
    case 3: return choices.empty() ? "a text" : cat("one of ", choices);
    default: return choices.empty() ? "a list of texts" : cat("some of ", choices);
  }
}

std::string to_text(const Value& value) {
  if (const auto* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
  if (const auto* i = std::get_if<std::int64_t>(&value)) return std::to_string(*i);
  if (const auto* d = std::get_if<double>(&value)) return Json(*d).dump();
  if (const auto* s = std::get_if<std::string>(&value)) return *s;
  std::string joined;
  for (const std::string& s : std::get<Strings>(value)) joined += (joined.empty() ? "" : " ") + s;
  return joined;
}

std::string KeyTable::help() const {
  std::ostringstream out;
  out << "onevision COMMAND [--config FILE.json ...] [--key value ...]\n\n";
  std::size_t width = 0;
  for (const Command& c : commands_) width = std::max(width, c.name.size());
  for (const Command& c : commands_) {
    const std::string gap(width - c.name.size() + 2, ' ');
    out << "  " << c.name << gap << c.summary << "\n";
  }
  out << "\n`onevision help COMMAND` lists the keys of a command.\n"
         "Exit codes: 0 done, 1 the answer is no, 2 wrong input, 3 the machine failed, 4 a round is done and the same "
         "command\nis to be given again (cluster --shard merge), 129, 130 and 143 stopped by a signal.\n"
      << "`onevision --version`: revision " << revision() << ", and the compiler.\n";
  return out.str();
}

std::string KeyTable::help(std::string_view command_name) const {
  const Command& c = command(command_name);
  std::ostringstream out;
  out << "onevision " << c.name << (c.operands.empty() ? "" : " ") << c.operands << " [--key value ...]\n  "
      << c.summary << "\n\n";
  std::vector<std::pair<std::string, const Key*>> rows;
  std::size_t width = 0;
  for (const Key* k : of(command_name)) {
    rows.emplace_back(k->short_name.empty() ? cat("--", k->name) : cat("--", k->short_name, ", --", k->name), k);
    width = std::max(width, rows.back().first.size());
  }
  for (const auto& [name, key] : rows) {
    const std::string shown = to_text(key->value);
    out << "  " << name << std::string(width - name.size() + 2, ' ') << key->help << " (" << expected(*key)
        << (shown.empty() ? "" : "; default " + shown) << ")\n";
  }
  return out.str();
}

std::string KeyTable::markdown() const {
  std::ostringstream out;
  out << "| key | short | default | expected | used by | what it does |\n|---|---|---|---|---|---|\n";
  for (const Key& k : keys_) {
    const std::string shown = to_text(k.value);
    out << "| `" << k.name << "` | " << (k.short_name.empty() ? "" : cat("`--", k.short_name, "`")) << " | "
        << (shown.empty() ? "" : "`" + shown + "`") << " | " << expected(k) << " | " << k.commands << " | " << k.help
        << " |\n";
  }
  return out.str();
}

}  // namespace ov
