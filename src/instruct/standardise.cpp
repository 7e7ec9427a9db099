#include "instruct/standardise.h"

#include <algorithm>

#include "base/sha256.h"
#include "base/text.h"
#include "base/utf8.h"

namespace ov::instruct {
namespace {

// Which of the layouts a record came in, for the audit's counts.
void note_layout(const Json* record, Notes& notes, bool tagged, std::size_t pictures) {
  if (pictures > 0 && !tagged) notes.push_back({"tag_added", ""});
  if (!record || !record->is_object()) return;
  if (const Json* id = record->find("id"); id && id->is_number()) notes.push_back({"id_was_a_number", ""});
  const Json* list = record->find("conversations");
  if (!list || !list->is_array()) list = record->find("messages");
  if (!list || !list->is_array() || list->size() == 0 || !(*list)[0].is_object()) return;
  const Json& first = (*list)[0];
  const bool chat = first.find("role"), llava = first.find("from");
  notes.push_back({chat && llava ? "all_four_keys" : llava ? "from_value" : "role_content", ""});
  if (first.find("markdown") || first.find("text")) notes.push_back({"other_keys", ""});
  if (first.find("data_source")) notes.push_back({"data_source_in_turn", ""});
}

std::string data_source(const Json& record) {
  std::string own = source_of(record, "");
  for (const char* key : {"conversations", "messages"})
    if (const Json* list = record.find(key); own.empty() && list && list->is_array())
      for (const Json& turn : list->items())
        if (own.empty() && turn.is_object()) own = source_of(turn, "");
  return own;
}

// Texts alone; pictures are added where they are read.
std::string digest_of(const Record& r) {
  std::string all;
  for (const Turn& t : r.turns) all += t.role + "\n" + collapsed(t.text) + "\n\n";
  return sha256(all);
}

// 1 for answers of a few words, 3 for long or worked-out ones and several pictures, 2 between.
int guessed_difficulty(const Record& r) {
  std::size_t longest = 0;
  bool worked_out = r.images.size() > 1;
  for (const Turn& t : r.turns) {
    if (t.role != "assistant") continue;
    longest = std::max(longest, words_of(t.text).size());
    worked_out = worked_out || t.text.find("```") != t.text.npos || t.text.find("<think>") != t.text.npos;
  }
  return worked_out || longest > 100 ? 3 : longest > 5 ? 2 : 1;
}

void check_turns(const Record& r) {
  std::size_t tags = 0, first = !r.turns.empty() && r.turns[0].role == "system";
  if (r.turns.size() < first + 2)
    refuse("roles", "expected a question and an answer, found ", r.turns.size(), " turns");
  for (std::size_t i = 0; i < r.turns.size(); ++i) {
    const Turn& t = r.turns[i];
    const char* expected = i < first ? "system" : (i - first) % 2 ? "assistant" : "user";
    if (t.role != expected) refuse("roles", "message ", i + 1, " is of ", t.role, ", expected ", expected);
    if (blank(t.text)) refuse(t.role == "assistant" ? "no_answer" : "empty_turn", "message ", i + 1, " is empty");
    if (t.role == "user") tags += count(t.text, image_tag);
  }
  if (r.turns.back().role != "assistant") refuse("roles", "the last question has no answer");
  if (tags != r.images.size()) refuse("image_count", tags, " <image> for ", r.images.size(), " pictures");
}

}  // namespace

Record standardise(Conversation c, const SourceEntry& source, std::int64_t number, Notes& notes) {
  Record r;
  r.id = cat(source.name, ":", number), r.source = source.name;
  const Json* raw = c.record.get();
  const auto member = [&](const char* key) { return raw && raw->is_object() ? raw->find(key) : nullptr; };
  bool tagged = true;
  if (const Json* list = member("conversations") ? member("conversations") : member("messages"); list)
    tagged = list->dump().find(image_tag) != std::string::npos;
  note_layout(raw, notes, tagged, c.images.size());
  r.images = std::move(c.images), r.image_bytes = std::move(c.image_bytes), r.memory = std::move(c.memory);
  r.turns = std::move(c.turns);
  // What stands before the first question is learnt by nobody (text/conversation.h).
  if (!r.turns.empty() && r.turns[0].role == "assistant") {
    r.turns.erase(r.turns.begin());
    notes.push_back({"answer_before_question", "an answer before the first question was left out"});
  }
  std::string all;
  for (const Turn& t : r.turns) {
    if (utf8_prefix(t.text) != t.text.size()) refuse("malformed_record", "a text is not UTF-8");
    all += without_tags(t.text) + "\n";
  }

  r.meta.set("licence", source.licence);
  if (const Json* id = member("id"); id && (id->is_string() || id->is_number())) r.meta.set("id", *id);
  if (raw && raw->is_object())
    if (const std::string own = data_source(*raw); !own.empty()) r.meta.set("data_source", own);
  const auto word = [&](const char* key) {
    const Json* j = member(key);
    return j && j->is_string() ? j->as_string() : std::string();
  };
  r.category = place_of(categories, word("category")) >= 0 ? word("category")
               : !source.category.empty()                  ? source.category
               : r.images.empty()                          ? "text"
                                                           : "vqa";
  const std::string found = language_of(all);
  r.lang = !source.lang.empty() ? source.lang : !found.empty() ? found : "en";
  const Json* given = member("difficulty");
  const bool fits = given && given->is_integer() && 1 <= given->as_int() && given->as_int() <= difficulties;
  r.difficulty = fits                ? static_cast<int>(given->as_int())
                 : source.difficulty ? source.difficulty
                                     : guessed_difficulty(r);
  check_turns(r);
  r.content = digest_of(r);
  return r;
}

}  // namespace ov::instruct
