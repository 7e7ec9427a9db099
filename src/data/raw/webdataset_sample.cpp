#include "data/raw/webdataset_sample.h"

#include <algorithm>
#include <map>

#include "base/utf8.h"
#include "data/reject.h"

namespace ov {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return out;
}

bool is_picture(std::string_view part) {
  const std::string_view extension = part.substr(part.rfind('.') + 1);
  return extension == "jpg" || extension == "jpeg" || extension == "png" || extension == "webp";
}

const TarMember* find(const std::vector<TarMember>& parts, std::string_view part) {
  const auto found =
      std::find_if(parts.begin(), parts.end(), [&](const TarMember& m) { return part_of(m.name) == part; });
  return found == parts.end() ? nullptr : &*found;
}

Json parse(const TarMember& json, const std::string& where) {
  return or_reject(RejectReason::malformed_record, "", [&] { return Json::parse(json.data, where); });
}

const std::string& text(const Json& j, const std::string& where) {
  if (!j.is_string()) malformed(where, "expected a string, found ", kind_name(j.kind()));
  return j.as_string();
}

std::string plain_text(const TarMember& member, const std::string& where) {
  if (member.data.find('\0') != member.data.npos) malformed(where, "txt: holds a zero byte, so it is no UTF-8 text");
  or_reject(RejectReason::malformed_record, "", [&] { require_utf8(member.data, cat(where, ": txt")); });
  return std::string(member.data);
}

void add_picture(Conversation& c, const TarMember& member) {
  c.images.push_back(member.name);
  c.image_bytes.push_back(member.data);
}

void read_mix(Conversation& c, const Json& json, const std::vector<TarMember>& parts) {
  c.turns = read_turns(json.at("texts"), c.where);
  const Json* media = json.find("media");
  const std::string kind = media ? text(*media, cat(c.where, ": media")) : "image";
  if (kind != "image" && kind != "text") malformed(c.where, "media: expected image or text, found '", kind, "'");
  const Json* names = json.find("name");
  if (kind == "text" || !names || names->is_null()) return;
  if (!names->is_array()) malformed(c.where, "name: expected a list of parts, found ", kind_name(names->kind()));
  std::map<std::string, const TarMember*> named;
  for (const TarMember& m : parts) named[part_of(m.name)] = &m;
  for (const Json& name : names->items()) {
    const auto member = named.find(lower(text(name, cat(c.where, ": name"))));
    if (member == named.end()) reject(RejectReason::image_missing, c.where, ": no part '", name.shown(), "'");
    add_picture(c, *member->second);
  }
}

// i and j of "img<i>.jpg" and "img<i>_<j>.jpg"; j is 0 in the former.
std::optional<std::pair<std::int64_t, std::int64_t>> packed_place(std::string_view part) {
  if (!part.starts_with("img") || !is_picture(part)) return std::nullopt;
  part.remove_prefix(3);
  const auto digits = [&] {
    std::int64_t n = -1;
    for (; !part.empty() && part[0] >= '0' && part[0] <= '9' && n < 100000000; part.remove_prefix(1))
      n = 10 * std::max<std::int64_t>(n, 0) + (part[0] - '0');
    return n;
  };
  const std::int64_t i = digits();
  if (i < 0) return std::nullopt;
  if (!part.starts_with("_")) return std::pair(i, std::int64_t{0});
  part.remove_prefix(1);
  const std::int64_t j = digits();
  if (j < 0) return std::nullopt;
  return std::pair(i, j);
}

std::vector<std::string> strings(const Json& one_or_list, const std::string& where) {
  if (!one_or_list.is_array()) return {text(one_or_list, where)};
  std::vector<std::string> out;
  for (const Json& j : one_or_list.items()) out.push_back(text(j, where));
  return out;
}

void read_packed(Conversation& c, const Json& json, const std::vector<TarMember>& parts, std::size_t item) {
  std::vector<std::pair<std::int64_t, const TarMember*>> pictures;
  for (const TarMember& m : parts) {
    const std::string part = part_of(m.name);
    if (const auto place = packed_place(part); place && place->first == static_cast<std::int64_t>(item))
      pictures.push_back({place->second, &m});
  }
  std::sort(pictures.begin(), pictures.end());
  for (const auto& [j, member] : pictures) add_picture(c, *member);

  const std::vector<std::string> prompts = strings(json.at("prompts")[item], cat(c.where, ": prompts"));
  const std::vector<std::string> captions = strings(json.at("captions")[item], cat(c.where, ": captions"));
  if (prompts.size() != captions.size())
    malformed(c.where, prompts.size(), " prompt(s), but ", captions.size(), " caption(s)");
  for (std::size_t t = 0; t < prompts.size(); ++t) {
    c.turns.push_back({"user", prompts[t]});
    c.turns.push_back({"assistant", captions[t]});
  }
}

// How many conversations a packed sample holds; 0 when it is of another layout.
std::size_t items_of(const Json& json, const std::string& where) {
  if (!json.is_object() || !json.find("prompts")) return 0;
  const Json* captions = json.find("captions");
  if (!json.at("prompts").is_array() || !captions || !captions->is_array() ||
      captions->size() != json.at("prompts").size() || captions->size() == 0)
    malformed(where, "expected \"prompts\" and \"captions\", two lists of the same length");
  return captions->size();
}

}  // namespace

std::string_view webdataset_key(std::string_view name) {
  const std::size_t last = name.rfind('/') + 1, dot = name.find('.', last);  // npos + 1 is 0
  const std::string_view first = name.substr(0, name.find('/'));
  const bool meta = first.size() >= 4 && first.starts_with("__") && first.ends_with("__");
  return dot == name.npos || dot == last || meta ? std::string_view() : name.substr(0, dot);
}

std::string part_of(std::string_view name) {
  return lower(name.substr(std::min(webdataset_key(name).size() + 1, name.size())));
}

bool next_part(TarReader& tar, TarMember* member) {
  while (tar.next(member))
    if (!webdataset_key(member->name).empty()) return true;
  return false;
}

std::optional<std::size_t> packed_items(const std::vector<TarMember>& parts, const std::string& where) {
  const TarMember* json = find(parts, "json");
  if (!json) return std::nullopt;
  const std::string place = cat(where, ": ", json->name);
  return items_of(parse(*json, place), place);
}

Conversation webdataset_conversation(const std::vector<TarMember>& parts, std::int64_t item, const std::string& where) {
  Conversation c;
  c.where = cat(where, ": sample '", webdataset_key(parts.at(0).name), "'",
                item < 0 ? std::string() : cat(", conversation ", item + 1));
  const TarMember *json = find(parts, "json"), *caption = find(parts, "txt");
  Json record = json ? parse(*json, c.where) : Json::object();
  const bool list = record.is_array();
  if (!list && !record.is_object())
    malformed(c.where, "json: expected an object or a list of messages, found ", kind_name(record.kind()));
  if (item >= 0) {
    if (list || item >= static_cast<std::int64_t>(items_of(record, c.where)))
      malformed(c.where, "the sample does not hold so many conversations");  // an index of other data
    read_packed(c, record, parts, static_cast<std::size_t>(item));
  } else if (!list && record.find("texts")) {
    read_mix(c, record, parts);
  } else if (items_of(record, c.where) > 0) {
    malformed(c.where, "is a packed sample among others that are not");
  } else {
    for (const TarMember& m : parts)
      if (is_picture(part_of(m.name))) add_picture(c, m);
    if (!json && !caption)
      malformed(c.where,
                "expected a part 'json' with texts, conversations, prompts, a caption or a list of messages, or 'txt'");
    std::function<std::string()> said;
    if (caption) said = [&] { return plain_text(*caption, c.where); };
    c.turns = list ? read_turns(record, c.where) : turns_of(record, c.images.size(), c.where, said);
  }
  if (!list) c.source = source_of(record, "");
  place_pictures(c);
  if (item < 0) c.record = std::make_shared<const Json>(std::move(record));
  return c;
}

}  // namespace ov
