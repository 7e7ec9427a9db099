#include "base/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <sstream>

#include "base/config_words.h"
#include "base/error.h"
#include "base/text.h"

namespace ov {
namespace {

std::string in_quotes(const std::string& text) { return "'" + shown(text) + "'"; }

template <class T>
bool read_number(const std::string& text, T* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

// The key's type from what somebody typed. False when it is no such thing.
bool from_text(const Key& key, const std::string& text, Value* value) {
  *value = key.value;
  if (auto* b = std::get_if<bool>(value)) {
    *b = text == "true" || text == "1";
    return *b || text == "false" || text == "0";
  }
  if (auto* i = std::get_if<std::int64_t>(value)) return read_number(text, i);
  if (auto* d = std::get_if<double>(value)) return read_number(text, d);
  if (auto* s = std::get_if<std::string>(value)) *s = text;
  else *value = Strings{text};
  return true;
}

bool from_json(const Key& key, const Json& json, Value* value) {
  *value = key.value;
  if (auto* b = std::get_if<bool>(value)) return json.is_boolean() && (*b = json.as_bool(), true);
  if (auto* i = std::get_if<std::int64_t>(value)) return json.is_integer() && (*i = json.as_int(), true);
  if (auto* d = std::get_if<double>(value)) return json.is_number() && (*d = json.as_double(), true);
  if (auto* s = std::get_if<std::string>(value)) {
    *s = json.is_string() ? json.as_string() : json.dump();
    return json.is_string() || (json.is_boolean() && has_word(key.allowed.choices, *s));  // a flag with a third value
  }
  auto& list = std::get<Strings>(*value);
  list.clear();
  if (json.is_string()) return list.push_back(json.as_string()), true;
  if (!json.is_array()) return false;
  for (const Json& item : json.items()) {
    if (!item.is_string()) return false;
    list.push_back(item.as_string());
  }
  return true;
}

// What the key does not allow about the value: of a list the first such word, else `typed`; empty when all is well.
std::string refused(const Key& key, const Value& value, const std::string& typed) {
  const auto outside = [&](double v) {  // NaN too
    return !(v >= key.allowed.low && v <= key.allowed.high && std::isfinite(v));
  };
  if (const auto* i = std::get_if<std::int64_t>(&value)) return outside(static_cast<double>(*i)) ? typed : "";
  if (const auto* d = std::get_if<double>(&value)) return outside(*d) ? typed : "";
  if (key.allowed.choices.empty()) return "";
  if (const auto* s = std::get_if<std::string>(&value)) return has_word(key.allowed.choices, *s) ? "" : typed;
  if (const auto* list = std::get_if<Strings>(&value))
    for (const std::string& word : *list)
      if (!has_word(key.allowed.choices, word)) return in_quotes(word);
  return "";
}

constexpr const char* from_command_line = "command line";

// In a key's section the rest has to be near by itself: "stove.fat" means "stove.fan", "stove.watts" means none.
[[noreturn]] void unknown_key(const std::string& where, std::string_view name, const Strings& candidates) {
  std::string meant = did_you_mean(name, candidates);
  const std::size_t section = name.rfind('.') + 1;  // 0: none
  if (const std::string near = nearest_name(name, candidates); section > 0 && near.starts_with(name.substr(0, section)))
    if (nearest_name(name.substr(section), {near.substr(section)}).empty()) meant.clear();
  input_error(where, "unknown key '", shown(name), "'", meant);
}

// What a name without its section may have meant: "steps" is the end or the short name of "train.steps". Keys of the
// command; where it has none and `of_others`, theirs. dashes: before each.
std::string without_section(const KeyTable& table, std::string_view command, const std::string& name,
                            const char* dashes, bool of_others) {
  for (const bool own : {true, false}) {
    std::string meant;
    for (const Key& k : table.keys())
      if ((k.short_name == name || k.name.ends_with("." + name)) && has_word(k.commands, command) == own)
        meant += cat(meant.empty() ? "; did you mean '" : " or '", dashes, k.name, "'");
    if (!meant.empty()) return meant + "?";
    if (!of_others) break;
  }
  return "";
}

// {"a": {"b": 1}, "a.b": 2}: one key in two ways, of which one would be passed over.
void refuse_twice(const KeyTable& table, const Json& object, const std::string& prefix, const std::string& path,
                  std::set<std::string>& seen) {
  for (const auto& [member, json] : object.members()) {
    const std::string name = prefix + member;
    if (!table.find(name) && json.is_object()) refuse_twice(table, json, name + ".", path, seen);
    else if (!seen.insert(name).second) input_error(path, ": ", shown(name), ": stands there twice");
  }
}

}  // namespace

void Config::set(const Key& key, Value value, const std::string& where, const std::string& source,
                 const std::string& typed) {
  if (const std::string bad = refused(key, value, typed); !bad.empty())
    input_error(
        where, ": expected ", expected(key), ", got ", bad,
        key.allowed.choices.empty() ? "" : meant_word(bad.substr(1, bad.size() - 2), words(key.allowed.choices)));
  for (Setting& s : settings_) {
    if (s.key != &key) continue;
    s.typed = source == from_command_line;
    if (!s.typed || s.value != value) s.source = source;
    s.value = std::move(value);
  }
}

void Config::read_object(const KeyTable& table, const Json& object, const std::string& prefix,
                         const std::string& path) {
  for (const auto& [member, json] : object.members()) {
    const std::string name = prefix + member, where = path + ": " + name;
    const Key* key = table.find(name);
    if (!key && json.is_object()) {
      read_object(table, json, name + ".", path);
      continue;
    }
    if (!key) {
      if (const std::string meant = without_section(table, command_->name, name, "", true); !meant.empty())
        input_error(path, ": unknown key '", shown(name), "'", meant);
      Strings names;
      for (const Key& k : table.keys()) names.emplace_back(k.name);
      unknown_key(path + ": ", name, names);
    }
    Value value;
    if (!from_json(*key, json, &value)) input_error(where, ": expected ", expected(*key), ", got ", json.shown());
    set(*key, std::move(value), where, path, json.shown());
  }
}

void Config::read_file(const KeyTable& table, const std::string& path) {
  const Json json = Json::read(path);
  if (!json.is_object()) input_error(path, ": expected an object of keys, found ", kind_name(json.kind()));
  std::set<std::string> seen;
  refuse_twice(table, json, "", path, seen);
  read_object(table, json, "", path);
}

Config Config::parse(const KeyTable& table, std::string_view command, const Strings& arguments) {
  Config config;
  config.command_ = &table.command(command);
  for (const Key& k : table.keys()) config.settings_.push_back({&k, k.value});
  const std::vector<const Key*> own = table.of(command);

  // First what was said, key by key; then the files; then what was said is applied over them.
  struct Said {
    const Key* key;
    std::string argument;  // as typed, for errors
    Strings values;
  };
  std::vector<Said> said;
  Strings files;
  const bool open_ended = config.command_->operands.ends_with("...");
  for (std::size_t at = 0; at < arguments.size();) {
    const std::string& argument = arguments[at++];
    const bool letter =
        argument.size() == 2 && argument[0] == '-' &&
        std::any_of(own.begin(), own.end(), [&](const Key* k) { return k->short_name == argument.substr(1); });
    if (argument == "--" && open_ended) {
      config.operands_.assign(arguments.begin() + static_cast<std::ptrdiff_t>(at), arguments.end());
      break;
    }
    if ((!argument.starts_with("--") && !letter) || argument == "--") {
      config.operands_.push_back(argument);
      continue;
    }
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(letter ? 1 : 2, equals == argument.npos ? equals : equals - 2);
    const bool is_config = name == "config";
    const Key* key = nullptr;
    for (const Key* k : own)
      if (k->name == name || (!k->short_name.empty() && k->short_name == name)) key = k;
    if (!key && !is_config) {
      if (const Key* other = table.find(name))
        input_error("--", name, ": '", command, "' does not use this key; it belongs to: ", other->commands);
      if (open_ended && !config.operands_.empty())
        input_error(command, ": --", name, " is no key of it; put -- before the command: ", command, " ... -- ",
                    config.operands_[0], " ... --", name);
      if (const std::string meant = without_section(table, command, name, "--", false); !meant.empty())
        input_error(command, ": unknown key '--", shown(name), "'", meant);
      Strings names = {"--config"};
      for (const Key* k : own) {
        names.push_back(cat("--", k->name));
        if (!k->short_name.empty()) names.push_back(cat("--", k->short_name));
      }
      unknown_key(cat(command, ": "), "--" + name, names);
    }
    const bool is_flag = key && (std::holds_alternative<bool>(key->value) || has_word(key->allowed.choices, "true"));
    const bool is_list = is_config || std::holds_alternative<Strings>(key->value);
    const auto next_is_value = [&] { return at < arguments.size() && !arguments[at].starts_with("--"); };
    Strings values;
    if (equals != argument.npos) {
      values.push_back(argument.substr(equals + 1));
    } else if (is_list) {
      while (next_is_value()) values.push_back(arguments[at++]);
    } else if (next_is_value() &&
               (!is_flag || has_word("true false", arguments[at]) || has_word(key->allowed.choices, arguments[at]))) {
      values.push_back(arguments[at++]);
    } else if (is_flag) {
      values.push_back("true");
    }
    if (values.empty()) input_error("--", name, ": expected ", is_config ? "a file" : expected(*key), ", got nothing");
    if (is_config) files.insert(files.end(), values.begin(), values.end());
    else said.push_back({key, "--" + name, std::move(values)});
  }

  for (const std::string& file : files) config.read_file(table, file);
  config.files_ = files;

  std::map<const Key*, Strings> lists;  // a list may be said in several pieces
  for (const Said& s : said) {
    Value value;
    if (std::holds_alternative<Strings>(s.key->value)) {
      Strings& all = lists[s.key];
      all.insert(all.end(), s.values.begin(), s.values.end());
      value = all;
    } else if (!from_text(*s.key, s.values[0], &value)) {
      input_error(s.argument, ": expected ", expected(*s.key), ", got ", in_quotes(s.values[0]));
    }
    config.set(*s.key, std::move(value), s.argument, from_command_line, in_quotes(s.values[0]));
  }

  const Strings operands = words(open_ended ? "COMMAND" : config.command_->operands);
  const auto optional = static_cast<std::size_t>(
      std::count_if(operands.begin(), operands.end(), [](const std::string& o) { return o.starts_with("["); }));
  const std::size_t got = config.operands_.size();
  if (got > operands.size() && !open_ended)
    input_error(command, ": unexpected argument '", config.operands_[operands.size()], "'; ",
                operands.empty() ? "it takes keys only" : cat("it takes ", config.command_->operands));
  if (got + optional < operands.size())
    input_error(command, ": expected ", config.command_->operands, "; ", operands[got], " is missing");
  return config;
}

const Config::Setting& Config::setting(std::string_view name) const {
  for (const Setting& s : settings_) {
    if (s.key->name != name) continue;
    if (!has_word(s.key->commands, command_->name))
      throw std::logic_error(cat("'", command_->name, "' reads ", name, ", whose row does not list it"));
    s.read = true;
    return s;
  }
  throw std::logic_error(cat("no key is declared as ", name));
}

template <class T>
const T& Config::get(std::string_view name) const {
  const T* value = std::get_if<T>(&setting(name).value);
  if (!value) throw std::logic_error(cat(name, " is read as another type than it was declared with"));
  return *value;
}
template const bool& Config::get(std::string_view) const;
template const std::int64_t& Config::get(std::string_view) const;
template const double& Config::get(std::string_view) const;
template const std::string& Config::get(std::string_view) const;
template const Strings& Config::get(std::string_view) const;

const std::string& Config::required(std::string_view name) const {
  const std::string& value = text(name);
  if (value.empty()) missing(name);
  return value;
}

const Strings& Config::required_list(std::string_view name) const {
  const Strings& value = list(name);
  if (value.empty()) missing(name);
  for (const std::string& entry : value)
    if (entry.empty()) input_error(name, ": an entry is empty");
  return value;
}

namespace {

bool is_of(std::string_view key, std::string_view section) {
  return key == section || key.starts_with(cat(section, "."));
}

}  // namespace

bool Config::given(std::string_view section) const {
  for (const Setting& s : settings_)
    if (s.source != "default" && is_of(s.key->name, section)) return true;
  return false;
}

std::vector<Config::Filed> Config::in_files(std::string_view section) const {
  std::vector<Filed> found;
  for (const Setting& s : settings_)
    if (s.source != "default" && !s.typed && is_of(s.key->name, section))
      found.push_back({s.key->name, s.value, s.source});
  return found;
}

void Config::missing(std::string_view name) const {
  const Key& key = *setting(name).key;
  input_error(command_->name, ": --", key.short_name.empty() ? key.name : key.short_name, " is missing: ", key.help);
}

std::vector<const Config::Setting*> Config::own() const {
  std::vector<const Setting*> found;
  for (const Setting& s : settings_)
    if (has_word(s.key->commands, command_->name)) found.push_back(&s);
  return found;
}

Json Config::dump() const {
  Json root = Json::object();
  for (const Setting* s : own()) {
    const Json value = std::visit([](const auto& v) { return Json(v); }, s->value);
    const auto dot = s->key->name.find('.');
    if (dot == s->key->name.npos) {
      root.set(s->key->name, value);
      continue;
    }
    const std::string_view section = s->key->name.substr(0, dot);
    Json object = root.find(section) ? *root.find(section) : Json::object();
    object.set(s->key->name.substr(dot + 1), value);
    root.set(section, std::move(object));
  }
  return root;
}

std::string Config::table() const {
  std::string out;
  for (const std::string& file : files_) out += cat("  ", file, "\n");
  std::size_t width = 0;
  for (const Setting* s : own())
    if (s->source == from_command_line) width = std::max(width, s->key->name.size());
  for (const Setting* s : own())
    if (s->source == from_command_line)
      out += cat("  ", s->key->name, std::string(width - s->key->name.size() + 2, ' '), to_text(s->value), "\n");
  return out;
}

Strings Config::free_keys() const {
  Strings names;
  for (const Setting* s : own())
    if (s->key->resume == Resume::free) names.emplace_back(s->key->name);
  return names;
}

Strings Config::defaults() const {
  Strings names;
  for (const Setting* s : own())
    if (s->source == "default") names.emplace_back(s->key->name);
  return names;
}

Strings Config::unread() const {
  Strings names;
  for (const Setting* s : own())
    if (!s->read) names.emplace_back(s->key->name);
  return names;
}

void Config::refuse_unread(std::string_view why) const {
  std::string named;
  int count = 0;
  for (const Setting* s : own())
    if (s->typed && !s->read) named += cat(count++ ? ", --" : "--", s->key->name);
  if (count > 0) input_error(command_->name, ": ", named, count == 1 ? " has" : " have", " no effect ", why);
}

Strings Config::texts(std::string_view except) const {
  Strings all = operands_;
  for (const Setting* s : own()) {
    if (s->key->name == except) continue;
    if (const auto* text = std::get_if<std::string>(&s->value)) all.push_back(*text);
    if (const auto* list = std::get_if<Strings>(&s->value)) all.insert(all.end(), list->begin(), list->end());
  }
  return all;
}

}  // namespace ov
