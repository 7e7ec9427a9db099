#include "rl/records.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "base/hash.h"
#include "base/io/file.h"
#include "base/text.h"
#include "data/raw/conversations.h"
#include "data/raw/parquet_records.h"
#include "image/decode.h"
#include "rl/preferences.h"
#include "rl/reward.h"
#include "store/jsonl.h"
#include "store/parquet/rows.h"
#include "text/chat.h"

namespace ov::rl {
namespace {

std::string text_of(const Json& json, const std::string& where, const char* key, const char* otherwise = nullptr) {
  const Json* v = json.find(key);
  if ((!v || v->is_null()) && otherwise) return otherwise;
  if (!v || !v->is_string()) input_error(where, ": ", key, ": expected a text, found ", v ? v->shown() : "nothing");
  return v->as_string();
}

std::vector<const Json*> list_of(const Json& json, const char* one, const char* many) {
  std::vector<const Json*> out;
  const Json* v = json.find(many);
  if (!v || v->is_null()) v = json.find(one);
  if (!v || v->is_null()) return out;
  if (!v->is_array()) return {v};
  for (const Json& item : v->items()) out.push_back(&item);
  return out;
}

std::string beside(const std::string& file) { return std::filesystem::path(file).parent_path().string(); }
Image picture_of(const Record& r, const std::string& path) {
  if (path.find('\0') != path.npos) input_error(r.where, ": images: a path cannot hold a zero byte");
  try {
    return read_image(path);
  } catch (const Error& e) {
    throw Error(e.exit(), cat(r.where, ": ", e.what(),
                              path_exists(path) ? "" : "; data.image_dir says which directory holds the pictures"));
  }
}

// A text for every question of a conversation; none where the key is absent.
std::vector<std::string> of_questions(const Json& json, const char* key, std::size_t questions,
                                      const std::string& where) {
  std::vector<std::string> out(questions);
  const Json* list = json.find(key);
  if (!list || list->is_null()) return out;
  if (!list->is_array() || list->size() != questions)
    input_error(where, ": ", key, ": expected a list of ", questions, " texts, one a question, found ", list->shown());
  for (std::size_t i = 0; i < questions; ++i) {
    if (!(*list)[i].is_string())
      input_error(where, ": ", key, ": question ", i + 1, ": expected a text, found ", (*list)[i].shown());
    out[i] = (*list)[i].as_string();
  }
  return out;
}

}  // namespace

std::string question_hash(const Record& r) { return hex16(fnv1a(cat(r.problem, '\0', r.answer.dump()))); }

RecordFile::RecordFile(const std::string& path, const std::string& image_dir, const std::vector<std::string>& templates,
                       const std::string& keep, RecordKind kind)
    : kind_(kind), directory_(image_dir) {
  std::error_code none;
  if (std::filesystem::is_directory(path, none)) {
    const std::vector<std::string> files = parquet_files(path);
    if (files.empty()) input_error(path, ": no Parquet file in this directory; JSON lines are given as a file");
    read_parquet(files);
  } else if (path.ends_with(".parquet")) read_parquet({path});
  else read_json(path, image_dir.empty() ? beside(path) : image_dir);
  std::set<std::string> groups;
  std::map<std::string, std::string> asks;  // by id
  for (const Record& r : records_) {
    groups.insert(r.group);
    if (!asks.emplace(r.id, keep.empty() ? "" : question_hash(r)).second)
      input_error(r.where, ": the id '", r.id, "' stands twice");
  }
  for (const std::string& t : templates)
    if (!groups.count(t))
      input_error(path, ": no record of the template '", t, "'",
                  did_you_mean(t, std::vector<std::string>(groups.begin(), groups.end())));
  if (!templates.empty())
    std::erase_if(records_, [&](const Record& r) {
      return std::find(templates.begin(), templates.end(), r.group) == templates.end();
    });
  if (!keep.empty()) {
    std::set<std::string> kept;
    JsonlReader lines(keep);
    for (Json line; lines.next(&line);) {
      const std::string where = cat(keep, ":", lines.line());
      if (!line.is_object()) input_error(where, ": expected an object with an id, found ", line.shown());
      const std::string id = text_of(line, where, "id"), question = text_of(line, where, "question", "");
      const auto of = asks.find(id);
      if (of == asks.end()) input_error(where, ": no record of this id in ", path);
      if (kind_ == RecordKind::question && !question.empty() && question != of->second)
        input_error(where, ": the record '", id, "' of ", path, " asks something else than the one that was kept");
      kept.insert(id);
    }
    std::erase_if(records_, [&](const Record& r) { return !kept.count(r.id); });
    std::string all;
    for (const Record& r : records_) all += r.id + "\n";
    fingerprint_ = sha256(fingerprint_ + all);
  }
  if (records_.empty()) input_error(path, ": no record is left", keep.empty() ? "" : cat("; ", keep, " names none"));
}

RecordFile::~RecordFile() = default;

void RecordFile::read_json(const std::string& path, const std::string& directory) {
  const JsonRecords file(path);
  fingerprint_ = file.fingerprint();
  for (std::int64_t i = 0; i < file.size(); ++i) {
    const Json json = file.read(i);
    Record record{.where = file.where(i)};
    if (!json.is_object()) input_error(record.where, ": expected an object, found ", json.shown());
    for (const Json* image : list_of(json, "image", "images")) {
      if (!image->is_string()) input_error(record.where, ": images: expected paths, found ", image->shown());
      record.images.push_back((std::filesystem::path(directory) / image->as_string()).string());  // or it alone
    }
    const bool turns = kind_ == RecordKind::question && (json.find("conversations") || json.find("messages"));
    if (turns) add_turns(json, record);
    else add(json, list_of(json, "image", "images").size(), std::move(record));
  }
}

void RecordFile::read_parquet(const std::vector<std::string>& paths) {
  const auto no_bytes = [](std::string_view, std::string* out) { *out += "null"; };
  std::string footers;
  for (const std::string& path : paths) {
    const ParquetFile& file = *parquet_.emplace_back(std::make_unique<ParquetFile>(path));
    footers += file.footer();
    for (std::size_t g = 0; g < file.groups().size(); ++g) {
      const auto& group = file.groups()[g];
      const ParquetRows rows(file, g);
      for (std::int64_t row = 0; row < group.rows; ++row) {
        std::string text;
        rows.append_json(row, no_bytes, &text);
        Record record{.where = cat(path, ": row ", group.first_row + row + 1)};
        record.parquet_row = group.first_row + row, record.parquet_file = parquet_.size() - 1;
        const Json json = Json::parse(text, record.where);
        const std::size_t pictures = list_of(json, "image", "images").size();
        add(json, pictures, std::move(record));
      }
    }
  }
  fingerprint_ = sha256(footers);
}

void RecordFile::name(const Json& json, Record& r) const {
  r.source = text_of(json, r.where, "source", "unnamed");
  const std::string number = std::to_string(records_.size());
  r.id = text_of(json, r.where, "id",
                 cat(r.source, "_", std::string(number.size() < 4 ? 4 - number.size() : 0, '0'), number).c_str());
  if (r.id.empty()) input_error(r.where, ": id: expected a text that is not empty");
  r.group = text_of(json, r.where, "template", r.source.c_str());
}

// A record in the release's schema, or a preference.
void RecordFile::add(const Json& json, std::size_t pictures, Record r) {
  name(json, r);
  if (kind_ == RecordKind::preference) {
    read_preference(json, pictures, r);
    records_.push_back(std::move(r));
    return;
  }
  if (!json.find("problem") && json.find("chosen"))
    input_error(r.where, ": a pair of answers, where questions are expected; rl --objective dpo learns from pairs");
  r.problem = text_of(json, r.where, "problem");
  r.answer_type = text_of(json, r.where, "answer_type", "any");
  r.problem_type = text_of(json, r.where, "problem_type", "");
  r.prompt_type = text_of(json, r.where, "prompt_type", "");
  if (const Json* g = json.find("format_guidance"))
    r.format_guidance = g->is_null() ? "" : text_of(json, r.where, "format_guidance");
  const Json* answer = json.find("answer");
  try {
    const Gold gold = Gold::of(answer ? *answer : Json());
    if (gold.texts().empty())
      input_error("answer: expected a text or a list of texts, found ", answer ? answer->shown() : "nothing");
  } catch (const Error& e) { input_error(r.where, ": ", e.what()); }
  r.answer = *answer;
  if (tags_in(r.problem) != static_cast<std::int64_t>(pictures))
    input_error(r.where, ": problem: ", tags_in(r.problem), " <image> tag(s) for ", pictures, " picture(s)");
  records_.push_back(std::move(r));
}

// Each question of a conversation by itself, behind the record's pictures.
void RecordFile::add_turns(const Json& json, const Record& shared) {
  const std::vector<Turn> turns = turns_of(json, shared.images.size(), shared.where);
  const auto question = [&](std::size_t t) { return turns[t].role == "user" && turns[t + 1].role == "assistant"; };
  std::size_t questions = 0, asked = 0;
  for (std::size_t t = 0; t + 1 < turns.size(); ++t) questions += question(t);
  const std::vector<std::string> templates = of_questions(json, "templates", questions, shared.where);
  const std::vector<std::string> types = of_questions(json, "answer_types", questions, shared.where);
  const std::vector<std::string> known = answer_types();
  for (const std::string& type : types)
    if (!type.empty() && std::find(known.begin(), known.end(), type) == known.end())
      input_error(shared.where, ": answer_types: nothing verifies '", type, "'", did_you_mean(type, known));
  const Json* given = json.find("id");
  if (given && !given->is_null() && !given->is_string() && !given->is_integer())
    input_error(shared.where, ": id: expected a text or a whole number, found ", given->shown());
  const std::string id = !given || given->is_null() ? cat("record_", records_.size())
                         : given->is_string()       ? given->as_string()
                                                    : given->dump();
  for (std::size_t t = 0; t + 1 < turns.size(); ++t) {
    if (!question(t)) continue;
    Record r = shared;
    r.id = cat(id, "_", asked), r.source = source_of(json, "conversations"), r.group = r.source;
    if (!templates[asked].empty()) r.group = templates[asked];
    if (!types[asked].empty()) r.answer_type = types[asked];
    ++asked;
    r.problem = turns[t].text;
    if (const auto at = r.problem.find_first_not_of('\n'); tags_in(r.problem) == 0 && at != r.problem.npos) {
      std::string tags;
      for (std::size_t i = 0; i < r.images.size(); ++i) tags += image_tag;
      r.problem = tags + (tags.empty() ? "" : "\n") + r.problem.substr(at);
    }
    if (tags_in(r.problem) != std::ssize(r.images))
      input_error(r.where, ": question ", asked, ": ", tags_in(r.problem), " <image> tag(s) for ", r.images.size(),
                  " picture(s)");
    const auto block = last_answer(python::text(turns[t + 1].text));
    r.answer = block ? python::utf8(*block) : turns[t + 1].text;
    r.prompt_type = block ? "thinking" : "normal";
    records_.push_back(std::move(r));
  }
}

std::string RecordFile::said_of_unknown_types() const {
  std::map<std::string, std::int64_t> types;
  for (const Record& r : records_) ++types[r.answer_type];
  return rl::said_of_unknown_types(types);
}

std::vector<Image> RecordFile::pictures(const Record& r) const {
  std::vector<Image> out;
  for (const std::string& path : r.images) out.push_back(picture_of(r, path));
  if (r.parquet_row < 0) return out;
  const ParquetFile& file = *parquet_[r.parquet_file];
  std::size_t g = 0;
  while (file.groups()[g].first_row + file.groups()[g].rows <= r.parquet_row) ++g;
  const std::int64_t row = r.parquet_row - file.groups()[g].first_row;
  std::vector<std::string_view> bytes;
  const ParquetRows rows(file, g, {"image", "images"}, row);
  const auto memory = rows.memory();
  std::string text;
  rows.append_json(
      row, [&](std::string_view b, std::string* to) { *to += std::to_string(bytes.size()), bytes.push_back(b); },
      &text);
  const Json json = Json::parse(text, r.where);
  for (const Json* image : list_of(json, "image", "images")) {
    const Json* held = image->is_object() ? image->find("bytes") : image;
    if (held && held->is_integer()) {
      out.push_back(decode_image(bytes.at(static_cast<std::size_t>(held->as_int())), r.where));
      continue;
    }
    const Json* path = image->is_object() ? image->find("path") : image;
    if (!path || !path->is_string()) input_error(r.where, ": images: expected bytes or paths, found ", image->shown());
    const std::string from = directory_.empty() ? beside(file.path()) : directory_;
    out.push_back(picture_of(r, (std::filesystem::path(from) / path->as_string()).string()));
  }
  return out;
}

}  // namespace ov::rl
