#include "data/raw/conversations.h"

#include <algorithm>

#include "base/text.h"
#include "data/reject.h"

namespace ov {
namespace {

[[noreturn]] void malformed(const std::string& where, const std::string& what) {
  reject(RejectReason::malformed_record, where, ": ", what);
}

bool absent(const Json* j) {
  return !j || j->is_null() || (j->is_string() && j->as_string().empty()) || (j->is_array() && j->size() == 0);
}

// The value under one of two keys that mean the same; null when neither is there.
const Json* either(const Json& record, const char* a, const char* b, const std::string& where) {
  const Json *one = record.find(a), *other = record.find(b);
  if (!absent(one) && !absent(other)) malformed(where, cat("has both \"", a, "\" and \"", b, "\""));
  if (!absent(other) || !one) return other;
  return one;
}

std::string id_of(const Json& record) {
  const Json* id = record.find("id");
  return id && (id->is_string() || id->is_number()) ? cat(" (id ", id->shown(), ")") : "";
}

std::vector<std::string> images_of(const Json& record, const std::string& image_dir, const std::string& where) {
  const Json* images = either(record, "image", "images", where);
  if (absent(images)) return {};
  if (!images->is_array()) return {picture_path(*images, image_dir, where)};
  std::vector<std::string> out;
  for (const Json& j : images->items()) out.push_back(picture_path(j, image_dir, where));
  return out;
}

std::string role_of(const std::string& name, const std::string& where) {
  if (name == "human" || name == "user") return "user";
  if (name == "gpt" || name == "assistant") return "assistant";
  if (name == "system") return name;
  malformed(where,
            cat("expected from human, gpt or system (or role user, assistant or system), found ", Json(name).shown()));
}

// What the record looks like instead, for the message.
std::string other_layout(const Json& record) {
  if (record.find("prompts")) return "; a packed record (prompts and captions) is read from tar shards alone";
  if (record.find("instruction")) return "; records of instruction, input and output are not read";
  if (record.find("chosen") || record.find("prompt")) return "; records of prompt, chosen and rejected are not read";
  for (const auto& [key, value] : record.members())
    if (value.is_array() && value.size() > 0 && value[0].is_object())
      return cat("; are the records the list under ", Json(key).shown(), "? Write it to a file of its own");
  return "";
}

}  // namespace

std::string picture_path(const Json& path, const std::string& directory, const std::string& where) {
  if (!path.is_string() || path.as_string().empty())
    malformed(where, cat("image: expected a path or a list of paths, found ", path.shown()));
  if (path.as_string().find('\0') != std::string::npos)
    malformed(where, cat("image: expected a path, found one with a zero byte: ", path.shown()));
  return path.as_string()[0] == '/' ? path.as_string() : directory + "/" + path.as_string();
}

std::vector<Turn> read_turns(const Json& list, const std::string& where) {
  if (!list.is_array())
    malformed(where, cat("conversations: expected a list of messages, found ", kind_name(list.kind())));
  std::vector<Turn> turns;
  for (const Json& message : list.items()) {
    const std::string place = cat(where, ": message ", turns.size() + 1);
    if (!message.is_object()) malformed(place, cat("expected an object, found ", kind_name(message.kind())));
    const auto text = [&](const char* llava, const char* chat) {
      const Json* found = message.find(llava);
      if (!found || found->is_null()) found = message.find(chat);
      if (!found || found->is_null()) malformed(place, cat("has neither \"", llava, "\" nor \"", chat, "\""));
      if (!found->is_string())
        malformed(place, cat("\"", llava, "\" or \"", chat, "\": expected a string, found ", kind_name(found->kind())));
      return found->as_string();
    };
    const std::string role = role_of(text("from", "role"), place);
    turns.push_back({role, text("value", "content")});
  }
  return turns;
}

std::vector<Turn> turns_of(const Json& record, const std::string& where) {
  const Json* list = either(record, "conversations", "messages", where);
  const char* key = list && list == record.find("messages") ? "messages" : "conversations";
  if (!list) malformed(where, "has neither \"conversations\" nor \"messages\"" + other_layout(record));
  if (list->is_null()) malformed(where, cat("\"", key, "\" is null: expected a list of messages"));
  if (list->is_array() && list->size() == 0) malformed(where, cat("\"", key, "\" is empty: there is nothing to learn"));
  return read_turns(*list, where);
}

std::vector<Turn> caption_turns(std::string caption, std::size_t pictures, const std::string& where) {
  if (pictures != 1) reject(RejectReason::image_count, where, ": a caption of ", pictures, " pictures");
  return {{"user", image_tag}, {"assistant", std::move(caption)}};
}

void place_pictures(Conversation& c) {
  const auto is_question = [](const Turn& t) { return t.role == "user"; };
  const auto first = std::find_if(c.turns.begin(), c.turns.end(), is_question);
  for (const Turn& t : c.turns)
    if (t.text.find(image_tag) != t.text.npos) return;
  if (first == c.turns.end() || c.images.empty()) return;
  if (!first->text.empty()) first->text.insert(0, "\n");
  for (std::size_t k = 0; k < c.images.size(); ++k) first->text.insert(0, image_tag);
}

ConversationFile::ConversationFile(const std::string& path, const std::string& image_dir)
    : records_(path), image_dir_(image_dir.empty() ? parent_directory(path) : image_dir) {
  if (size() == 0) input_error(path, ": no records: expected a JSON array of conversations, or one on each line");
}

Conversation ConversationFile::read(std::int64_t index) const {
  const Json record = records_.read(index);
  std::string where = records_.where(index);
  if (!record.is_object()) malformed(where, cat("expected an object, found ", kind_name(record.kind())));
  where += id_of(record);
  for (const char* key : {"video", "videos"})
    if (!absent(record.find(key))) malformed(where, cat("has a \"", key, "\"; only pictures are read"));

  Conversation out{where, images_of(record, image_dir_, where), {}};
  const Json* caption = record.find("caption");
  if (caption && caption->is_string() && absent(record.find("conversations")) && absent(record.find("messages")))
    out.turns = caption_turns(caption->as_string(), out.images.size(), where);
  else out.turns = turns_of(record, where);
  place_pictures(out);
  return out;
}

}  // namespace ov
