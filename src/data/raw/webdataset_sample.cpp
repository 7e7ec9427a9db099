#include "data/raw/webdataset_sample.h"

#include <algorithm>

#include "data/reject.h"

namespace ov {
namespace {

std::string_view part_of(std::string_view name) {
  return name.substr(std::min(webdataset_key(name).size() + 1, name.size()));
}

bool is_picture(std::string_view part) {
  std::string extension(part.substr(part.rfind('.') + 1));
  for (char& c : extension) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return extension == "jpg" || extension == "jpeg" || extension == "png" || extension == "webp";
}

const TarMember* find(const std::vector<TarMember>& parts, std::string_view part) {
  const auto found =
      std::find_if(parts.begin(), parts.end(), [&](const TarMember& m) { return part_of(m.name) == part; });
  return found == parts.end() ? nullptr : &*found;
}

Json parse(const TarMember& json, const std::string& where) {
  try {
    return Json::parse(json.data, where);
  } catch (const Error& e) { throw Rejected(RejectReason::malformed_record, e.what()); }
}

[[noreturn]] void malformed(const std::string& where, const std::string& what) {
  reject(RejectReason::malformed_record, where, ": ", what);
}

const std::string& text(const Json& j, const std::string& where) {
  if (!j.is_string()) malformed(where, cat("expected a string, found ", kind_name(j.kind())));
  return j.as_string();
}

void add_picture(Conversation& c, const TarMember& member) {
  c.images.push_back(member.name);
  c.image_bytes.push_back(member.data);
}

void read_mix(Conversation& c, const Json& json, const std::vector<TarMember>& parts) {
  c.turns = read_turns(json.at("texts"), c.where);
  const Json* media = json.find("media");
  const std::string kind = media ? text(*media, cat(c.where, ": media")) : "image";
  if (kind != "image" && kind != "text") malformed(c.where, cat("media: expected image or text, found '", kind, "'"));
  const Json* names = json.find("name");
  if (kind == "text" || !names || names->is_null()) return;
  if (!names->is_array()) malformed(c.where, cat("name: expected a list of parts, found ", kind_name(names->kind())));
  for (const Json& name : names->items()) {
    const TarMember* member = find(parts, text(name, cat(c.where, ": name")));
    if (!member) reject(RejectReason::image_missing, c.where, ": no part '", name.as_string(), "'");
    add_picture(c, *member);
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
  for (const TarMember& m : parts)
    if (const auto place = packed_place(part_of(m.name)); place && place->first == static_cast<std::int64_t>(item))
      pictures.push_back({place->second, &m});
  std::sort(pictures.begin(), pictures.end());
  for (const auto& [j, member] : pictures) add_picture(c, *member);

  const std::vector<std::string> prompts = strings(json.at("prompts")[item], cat(c.where, ": prompts"));
  const std::vector<std::string> captions = strings(json.at("captions")[item], cat(c.where, ": captions"));
  if (prompts.size() != captions.size())
    malformed(c.where, cat(prompts.size(), " prompt(s), but ", captions.size(), " caption(s)"));
  bool placed = false;
  for (const std::string& p : prompts) placed = placed || p.find(image_tag) != p.npos;
  for (std::size_t t = 0; t < prompts.size(); ++t) {
    std::string question = prompts[t];
    if (t == 0 && !placed) {
      if (!question.empty() && !pictures.empty()) question.insert(0, "\n");
      for (std::size_t k = 0; k < pictures.size(); ++k) question.insert(0, image_tag);
    }
    c.turns.push_back({"user", question});
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

std::string_view webdataset_key(std::string_view name) { return name.substr(0, name.find('.', name.rfind('/') + 1)); }

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
  const Json record = json ? parse(*json, c.where) : Json();
  const bool object = record.is_object();
  if (item >= 0) {
    read_packed(c, record, parts, static_cast<std::size_t>(item));
  } else if (object && record.find("texts")) {
    read_mix(c, record, parts);
  } else if (items_of(record, c.where) > 0) {
    malformed(c.where, "is a packed sample among others that are not");
  } else {
    for (const TarMember& m : parts)
      if (is_picture(part_of(m.name))) add_picture(c, m);
    if (record.is_array()) {
      c.turns = read_turns(record, c.where);
    } else if (caption || (object && record.find("caption"))) {
      if (c.images.size() != 1)
        reject(RejectReason::image_count, c.where, ": a caption of ", c.images.size(), " pictures");
      c.turns = {{"user", image_tag},
                 {"assistant", caption ? std::string(caption->data) : text(record.at("caption"), c.where)}};
    } else {
      malformed(c.where,
                "expected a part 'json' with texts, prompts, a caption or a list of messages, or a part 'txt'");
    }
  }
  return c;
}

}  // namespace ov
