#include "instruct/manifest.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <set>

#include "base/io/file.h"
#include "base/json_section.h"
#include "base/text.h"

namespace ov::instruct {
namespace {

constexpr std::int64_t most_parts = 100000;

// NAME-part-03-of-10, and the misspelling NAME-part03-of-10, which stands beside the right one in the released set.
struct PartName {
  std::int64_t number = -1, of = -1;
  bool usual = false;
  explicit PartName(const std::string& name) {
    std::size_t at = name.rfind("-part");
    if (at == name.npos) return;
    at += 5;
    usual = name.compare(at, 1, "-") == 0;
    at += usual;
    const char *p = name.data() + at, *end = name.data() + name.size();
    const auto first = std::from_chars(p, end, number);
    if (first.ec != std::errc() || number < 0) {
      number = -1;
      return;
    }
    p = first.ptr;
    if (!std::string_view(p, static_cast<std::size_t>(end - p)).starts_with("-of-")) return;
    if (std::from_chars(p + 4, end, of).ec == std::errc::result_out_of_range) of = most_parts + 1;
  }
};

// A path as it was looked for, from the root on.
std::string whole(const std::string& path) { return std::filesystem::absolute(path).lexically_normal(); }

void expand(SourceEntry& s, const std::string& path, const std::string& where) {
  const std::string directory = parent_directory(path), pattern = path.substr(path.rfind('/') + 1);
  const std::size_t star = pattern.find('*');
  if (star == pattern.npos) {
    if (!path_exists(path)) input_error(where, ": path: there is no ", whole(path));
    s.files.push_back({path, ""});
    return;
  }
  const std::string head = pattern.substr(0, star), tail = pattern.substr(star + 1);
  std::map<std::int64_t, std::size_t> taken;  // part -> its file
  std::int64_t of = -1;
  for (const std::string& name : list_directory(directory)) {
    if (name.size() < head.size() + tail.size() || !name.starts_with(head) || !name.ends_with(tail)) continue;
    const PartName part(name);
    of = std::max(of, part.of);
    const auto [place, first] = taken.try_emplace(part.number, s.files.size());
    s.files.push_back({directory + "/" + name, ""});
    if (part.number < 0 || first) continue;
    const bool replaces = part.usual && !PartName(s.files[place->second].path).usual;
    s.files[replaces ? place->second : s.files.size() - 1].refused = "duplicate_part";
    if (replaces) place->second = s.files.size() - 1;
  }
  if (s.files.empty()) input_error(where, ": path: nothing matches ", whole(path));
  taken.erase(-1);
  if (taken.empty()) return;
  const std::int64_t highest = std::max(of, taken.rbegin()->first);
  if (highest > most_parts)
    input_error(where, ": path: the parts' names count to ", highest, ", expected at most ", most_parts);
  const std::int64_t first = taken.contains(0) ? 0 : 1, last = of < 0 ? taken.rbegin()->first : first + of - 1;
  for (std::int64_t n = first; n <= last; ++n)
    if (!taken.contains(n)) s.missing_parts.push_back(n);
}

template <std::size_t n>
std::string one_of(JsonSection& section, const char* key, const std::array<const char*, n>& list) {
  const std::string name = section.text(key);
  std::vector<std::string> names(list.begin(), list.end());
  if (name.empty() || place_of(list, name) >= 0) return name;
  std::string all;
  for (const std::string& known : names) all += (all.empty() ? "" : ", ") + known;
  input_error(section.where(), ": ", key, ": there is no ", shown(name), did_you_mean(name, names), "; there are ",
              all);
}

std::vector<double> shares(const Json& list, const std::string& where) {
  std::vector<double> out;
  double sum = 0;
  for (const Json& v : list.items()) {
    out.push_back(v.as_double());
    if (!(out.back() >= 0 && out.back() < 1e9)) input_error(where, ": expected shares of at least 0, found ", v.dump());
    sum += out.back();
  }
  if (sum == 0) input_error(where, ": every share is 0");
  return out;
}

// Every key of a section is known: a misspelt cap would be no cap.
void only_known(const Json& object, const std::string& where, const std::vector<std::string>& known) {
  for (const auto& [key, value] : object.members())
    if (std::find(known.begin(), known.end(), key) == known.end())
      input_error(where, ": there is no key ", Json(key).shown(), did_you_mean(key, known));
}

SourceEntry read_source(const Json& entry, const std::string& directory, const std::string& where) {
  JsonSection section(entry, where);
  only_known(entry, where, {"name", "path", "licence", "category", "cap", "lang", "difficulty", "image_dir"});
  SourceEntry s;
  const auto below = [&](const std::string& path) {
    return path.empty() || path[0] == '/' ? path : directory + "/" + path;
  };
  std::string path = below(section.text("path"));
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (path.empty()) input_error(where, ": path is missing");
  s.name = section.text("name");
  if (s.name.empty()) s.name = path.substr(path.rfind('/') + 1);
  const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  if (s.name.find('/') != s.name.npos || std::any_of(s.name.begin(), s.name.end(), control) ||
      s.name.starts_with(".") || s.name.size() > 200)
    input_error(where, ": name: expected a word that can name a directory, found ", shown(s.name));
  s.licence = section.text("licence");
  if (s.licence.empty()) input_error(where, ": licence is missing: nobody may train on data of unknown terms");
  s.category = one_of(section, "category", categories);
  s.lang = one_of(section, "lang", languages);
  s.cap = section.integer("cap", -1);
  if (section.find("cap") && s.cap < 0) input_error(where, ": cap: expected at least 0, found ", s.cap);
  s.difficulty = static_cast<int>(std::clamp<std::int64_t>(section.integer("difficulty", 0), -1, difficulties + 1));
  if ((section.find("difficulty") && s.difficulty < 1) || s.difficulty > difficulties)
    input_error(where, ": difficulty: expected 1 to ", difficulties);
  s.image_dir = below(section.text("image_dir"));
  if (!s.image_dir.empty() && !path_exists(s.image_dir))
    input_error(where, ": image_dir: there is no ", whole(s.image_dir));
  expand(s, path, where);
  return s;
}

}  // namespace

Manifest Manifest::read(const std::string& path) {
  Manifest m;
  m.text = read_file(path);
  const Json json = Json::parse(m.text, path);
  JsonSection top(json, path);
  only_known(json, path, {"sources", "licences", "balance"});
  const Json* sources = top.find("sources");
  if (!sources || !sources->is_array() || sources->size() == 0) input_error(path, ": expected a list of sources");
  std::set<std::string> names, allowed;
  if (const Json* list = top.find("licences")) {
    for (const Json& l : list->items()) allowed.insert(l.as_string());
    if (allowed.empty()) input_error(path, ": licences: an empty list leaves nothing; without the key any may be used");
  }
  for (std::size_t i = 0; i < sources->size(); ++i) {
    m.sources.push_back(read_source((*sources)[i], parent_directory(whole(path)), cat(path, ": source ", i + 1)));
    SourceEntry& s = m.sources.back();
    if (!names.insert(s.name).second) input_error(path, ": source ", i + 1, ": another is called ", s.name, " too");
    if (!allowed.empty() && !allowed.contains(s.licence))
      for (SourceFile& f : s.files) f.refused = "licence";
  }
  m.balance.category.resize(categories.size()), m.balance.difficulty.assign(difficulties, 0);
  const Json* balance = top.find("balance");
  if (!balance) return m;
  const std::string where = path + ": balance";
  JsonSection b(*balance, where);
  only_known(*balance, where, {"records", "categories", "difficulty"});
  m.balance.records = b.integer("records", 0);
  if (m.balance.records < 0) input_error(where, ": records: expected at least 0, found ", m.balance.records);
  if (const Json* c = b.find("categories")) {
    only_known(*c, where + ": categories", {categories.begin(), categories.end()});
    Json list = Json::array();
    for (const char* name : categories) list.push(c->find(name) ? *c->find(name) : Json(0));
    m.balance.category = shares(list, where + ": categories");
  }
  if (const Json* d = b.find("difficulty")) {
    m.balance.difficulty = shares(*d, where + ": difficulty");
    if (m.balance.difficulty.size() != difficulties)
      input_error(where, ": difficulty: expected ", difficulties, " shares");
  }
  return m;
}

}  // namespace ov::instruct
