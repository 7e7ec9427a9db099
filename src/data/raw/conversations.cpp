#include "data/raw/conversations.h"

#include <algorithm>

#include "base/text.h"
#include "data/raw/picture_file.h"
#include "data/reject.h"

namespace ov {
namespace {

bool absent(const Json* j) {
  return !j || j->is_null() || (j->is_string() && j->as_string().empty()) || (j->is_array() && j->size() == 0);
}

// Of two spellings of one key, the one that says something, else the one that is not null.
const Json* preferred(const Json* one, const Json* other) {
  const auto says = [](const Json* j) { return !j ? 0 : j->is_null() ? 1 : absent(j) ? 2 : 3; };
  return says(one) >= says(other) ? one : other;
}

// The value under one of two keys that mean the same; null when neither is there.
const Json* either(const Json& record, const char* a, const char* b, const std::string& where) {
  const Json *one = record.find(a), *other = record.find(b);
  if (!absent(one) && !absent(other) && one->dump() != other->dump())
    malformed(where, "has both \"", a, "\" and \"", b, "\"");
  return preferred(one, other);
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
  malformed(where, "expected from human, gpt or system (or role user, assistant or system), found ",
            Json(name).shown());
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

std::vector<Turn> read_turns(const Json& list, const std::string& where) {
  if (!list.is_array()) malformed(where, "conversations: expected a list of messages, found ", kind_name(list.kind()));
  std::vector<Turn> turns;
  for (const Json& message : list.items()) {
    const std::string place = cat(where, ": message ", turns.size() + 1);
    if (!message.is_object()) malformed(place, "expected an object, found ", kind_name(message.kind()));
    const auto text = [&](const Json* found, const char* llava, const char* chat) {
      if (!found || found->is_null()) malformed(place, "has neither \"", llava, "\" nor \"", chat, "\"");
      if (!found->is_string())
        malformed(place, "\"", llava, "\" or \"", chat, "\": expected a string, found ", kind_name(found->kind()));
      return found->as_string();
    };
    const Json* role = preferred(message.find("from"), message.find("role"));
    turns.push_back({role_of(text(role, "from", "role"), place),
                     text(either(message, "value", "content", place), "value", "content")});
  }
  return turns;
}

std::vector<Turn> turns_of(const Json& record, std::size_t pictures, const std::string& where,
                           const std::function<std::string()>& caption) {
  const Json* list = either(record, "conversations", "messages", where);
  const Json* own = record.find("caption");
  if (absent(list) && (caption || (own && own->is_string()))) {
    if (pictures != 1) reject(RejectReason::image_count, where, ": a caption of ", pictures, " pictures");
    return {{"user", image_tag}, {"assistant", caption ? caption() : own->as_string()}};
  }
  if (const Json* question = record.find("question"); absent(list) && question && question->is_string()) {
    std::vector<Turn> turns = {{"user", question->as_string()}};
    if (const Json* answer = record.find("answer"); !absent(answer))
      turns.push_back({"assistant", answer->is_string() ? answer->as_string() : answer->dump()});
    return turns;
  }
  if (!list) malformed(where, "has neither \"conversations\" nor \"messages\"", other_layout(record));
  const char* key = list == record.find("messages") ? "messages" : "conversations";
  if (list->is_null()) malformed(where, "\"", key, "\" is null: expected a list of messages");
  if (absent(list)) malformed(where, "\"", key, "\" is empty: there is nothing to learn");
  return read_turns(*list, where);
}

void place_pictures(Conversation& c) {
  Turn* first = nullptr;
  for (Turn& t : c.turns) {
    // A tag in an answer is a mistake that the count of tags will tell.
    if (t.role != "system" && t.text.find(image_tag) != std::string::npos) return;
    if (t.role == "user" && !first) first = &t;
  }
  if (!first || c.images.empty()) return;
  std::string tags;
  for (std::size_t k = 0; k < c.images.size(); ++k) tags += image_tag;
  first->text = tags + (first->text.empty() ? "" : "\n") + first->text;
}

std::string source_of(const Json& record, const std::string& otherwise) {
  for (const char* key : {"data_source", "source"})
    if (const Json* source = record.find(key); !absent(source) && source->is_string()) return source->as_string();
  return otherwise;
}

ConversationFile::ConversationFile(std::shared_ptr<const MappedFile> file, const std::string& image_dir, UseIndex use)
    : records_(std::move(file), use), image_dir_(image_dir.empty() ? parent_directory(path()) : image_dir) {
  if (size() == 0) input_error(path(), ": no records: expected a JSON array of conversations, or one on each line");
}

Conversation conversation_of(Json record, const std::string& at, const std::string& image_dir,
                             const std::string& source) {
  if (!record.is_object()) malformed(at, "expected an object, found ", kind_name(record.kind()));
  const std::string where = at + id_of(record);
  for (const char* key : {"video", "videos"})
    if (!absent(record.find(key))) malformed(where, "has a \"", key, "\"; only pictures are read");

  Conversation out{where, images_of(record, image_dir, where), {}};
  out.turns = turns_of(record, out.images.size(), where);
  out.source = source_of(record, source);
  place_pictures(out);
  out.record = std::make_shared<const Json>(std::move(record));
  return out;
}

Conversation ConversationFile::read(std::int64_t index) const {
  return conversation_of(records_.read(index), records_.where(index), image_dir_, path());
}

}  // namespace ov
