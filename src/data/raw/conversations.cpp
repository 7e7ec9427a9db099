#include "data/raw/conversations.h"

#include <algorithm>

#include "data/reject.h"

namespace ov {
namespace {

constexpr std::string_view blanks = " \t\r\n";
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

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
  return absent(one) ? other : one;
}

std::string id_of(const Json& record) {
  const Json* id = record.find("id");
  return id && (id->is_string() || id->is_number()) ? cat(" (id ", id->dump(), ")") : "";
}

std::vector<std::string> images_of(const Json& record, const std::string& image_dir, const std::string& where) {
  const Json* images = either(record, "image", "images", where);
  if (absent(images)) return {};
  const auto path = [&](const Json& j) {
    if (!j.is_string() || j.as_string().empty())
      malformed(where, cat("image: expected a path or a list of paths, found ", j.dump()));
    return j.as_string()[0] == '/' ? j.as_string() : image_dir + "/" + j.as_string();
  };
  if (!images->is_array()) return {path(*images)};
  std::vector<std::string> out;
  for (const Json& j : images->items()) out.push_back(path(j));
  return out;
}

std::string role_of(const std::string& name, const std::string& where) {
  if (name == "human" || name == "user") return "user";
  if (name == "gpt" || name == "assistant") return "assistant";
  if (name == "system") return name;
  malformed(where,
            cat("expected from human, gpt or system (or role user, assistant or system), found ", Json(name).dump()));
}

const Json& messages_of(const Json& record, const std::string& where) {
  const Json* list = either(record, "conversations", "messages", where);
  if (!list) malformed(where, "has neither \"conversations\" nor \"messages\"");
  return *list;
}

}  // namespace

std::vector<Turn> read_turns(const Json& list, const std::string& where) {
  if (!list.is_array())
    malformed(where, cat("conversations: expected a list of messages, found ", kind_name(list.kind())));
  std::vector<Turn> turns;
  for (const Json& message : list.items()) {
    const std::string place = cat(where, ": message ", turns.size() + 1);
    if (!message.is_object()) malformed(place, cat("expected an object, found ", kind_name(message.kind())));
    const auto text = [&](const char* llava, const char* chat) {
      const Json* found = message.find(llava);
      if (!found) found = message.find(chat);
      if (!found) malformed(place, cat("has neither \"", llava, "\" nor \"", chat, "\""));
      if (!found->is_string())
        malformed(place, cat("\"", llava, "\" or \"", chat, "\": expected a string, found ", kind_name(found->kind())));
      return found->as_string();
    };
    const std::string role = role_of(text("from", "role"), place);
    turns.push_back({role, text("value", "content")});
  }
  return turns;
}

ConversationFile::ConversationFile(const std::string& path, const std::string& image_dir)
    : path_(path), image_dir_(image_dir.empty() ? parent_directory(path) : image_dir) {
  file_ = MappedFile::open(path);
  const std::string_view text = file_->text();
  std::size_t at = text.starts_with(byte_order_mark) ? byte_order_mark.size() : 0;
  const std::size_t first = text.find_first_not_of(blanks, at);
  if (first != text.npos && text[first] == '[') {
    array_ = Json::parse(text, path).items();
    file_.reset();
  } else {
    for (std::size_t number = 1; at < text.size(); ++number) {
      const std::size_t newline = std::min(text.find('\n', at), text.size());
      if (text.substr(at, newline - at).find_first_not_of(blanks) != text.npos) lines_.push_back({at, number});
      at = newline + 1;
    }
  }
  if (size() == 0) input_error(path, ": no records: expected a JSON array of conversations, or one on each line");
}

std::int64_t ConversationFile::size() const { return static_cast<std::int64_t>(file_ ? lines_.size() : array_.size()); }

Conversation ConversationFile::read(std::int64_t index) const {
  if (index < 0 || index >= size()) input_error(path_, ": record ", index, " of ", size());
  const auto i = static_cast<std::size_t>(index);
  Json parsed;
  std::string where = cat(path_, ": record ", index + 1);
  if (file_) {
    where = cat(path_, ":", lines_[i].number);
    const std::string_view text = file_->text().substr(lines_[i].begin);
    try {
      parsed = Json::parse(text.substr(0, text.find('\n')), path_, lines_[i].number);
    } catch (const Error& e) { throw Rejected(RejectReason::malformed_record, e.what()); }
  }
  const Json& record = file_ ? parsed : array_[i];
  if (!record.is_object()) malformed(where, cat("expected an object, found ", kind_name(record.kind())));
  where += id_of(record);
  for (const char* key : {"video", "videos"})
    if (!absent(record.find(key))) malformed(where, cat("has a \"", key, "\"; only pictures are read"));

  Conversation out{where, images_of(record, image_dir_, where), {}};
  out.turns = read_turns(messages_of(record, where), where);
  return out;
}

}  // namespace ov
