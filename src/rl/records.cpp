#include "rl/records.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "base/io/file.h"
#include "base/text.h"
#include "data/raw/conversations.h"
#include "data/raw/parquet_records.h"
#include "image/decode.h"
#include "rl/preferences.h"
#include "rl/reward.h"
#include "rl/verifiers/verifier.h"
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
  try {
    return read_image(path);
  } catch (const Error& e) {
    throw Error(e.exit(), cat(r.where, ": ", e.what(),
                              path_exists(path) ? "" : "; data.image_dir says which directory holds the pictures"));
  }
}

Image at_most_512(Image image) {
  const auto area = static_cast<double>(image.width * image.height);
  if (area <= 512.0 * 512.0) return image;
  const double factor = std::sqrt(512.0 * 512.0 / area);
  const auto side = [&](std::int64_t n) { return std::max<std::int64_t>(1, static_cast<std::int64_t>(n * factor)); };
  return resize_bicubic(image, side(image.width), side(image.height));
}

}  // namespace

std::int64_t tags_in(const std::string& text) {
  std::int64_t n = 0;
  for (std::size_t at = 0; (at = text.find(image_tag, at)) != text.npos; ++n) at += std::string_view(image_tag).size();
  return n;
}

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
  std::set<std::string> ids, groups;
  for (const Record& r : records_) {
    groups.insert(r.group);
    if (!ids.insert(r.id).second) input_error(r.where, ": the id '", r.id, "' stands twice");
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
      kept.insert(text_of(line, where, "id"));
      if (!ids.count(*kept.find(line.at("id").as_string()))) input_error(where, ": no record of this id in ", path);
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
      const std::filesystem::path at = image->as_string();
      record.images.push_back(at.is_absolute() ? at.string() : (std::filesystem::path(directory) / at).string());
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
  if (!answer || answer->is_null()) input_error(r.where, ": answer: expected a text or a list of texts, found nothing");
  try {
    Gold::of(*answer);
  } catch (const Error& e) { input_error(r.where, ": ", e.what()); }
  r.answer = *answer;
  if (tags_in(r.problem) != static_cast<std::int64_t>(pictures))
    input_error(r.where, ": problem: ", tags_in(r.problem), " <image> tag(s) for ", pictures, " picture(s)");
  records_.push_back(std::move(r));
}

// Each question of a conversation by itself, behind the record's pictures.
void RecordFile::add_turns(const Json& json, const Record& shared) {
  const std::vector<Turn> turns = turns_of(json, shared.images.size(), shared.where);
  const auto names = [&](const char* key, std::size_t i) {
    const Json* list = json.find(key);
    return list && list->is_array() && i < list->size() && (*list)[i].is_string() ? (*list)[i].as_string() : "";
  };
  const std::string id =
      json.find("id") && json.find("id")->is_string() ? json.find("id")->as_string() : cat("record_", records_.size());
  std::size_t asked = 0;
  for (std::size_t t = 0; t + 1 < turns.size(); ++t) {
    if (turns[t].role != "user" || turns[t + 1].role != "assistant") continue;
    Record r = shared;
    r.id = cat(id, "_", asked), r.source = source_of(json, "conversations"), r.group = r.source;
    if (const std::string name = names("templates", asked); !name.empty()) r.group = name;
    if (const std::string name = names("answer_types", asked); !name.empty()) r.answer_type = name;
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

std::string user_text(const Record& r, PromptStyle style) {
  if (style == PromptStyle::plain) return r.problem;
  std::string text =
      r.prompt_type == "normal"
          ? "Put ONLY your final answer within <answer></answer>."
          : "Think and solve the following question step by step. Please put your thinking and analysis procedure "
            "within <think></think>. Put ONLY your final answer within <answer></answer>.";
  if (r.format_guidance) text += " " + *r.format_guidance + "\n";
  if (r.problem_type == "spatial-reasoning")
    text += " Please first generate the coordinates (x, y, x, y) of each relevant object mentioned in the problem.";
  return text + "\n" + r.problem;
}

std::vector<std::int64_t> add_pictures(Prompt& prompt, std::vector<Image> pictures, const ProcessorConfig& config,
                                       const std::string& where, bool small) {
  std::vector<Tensor> pixels;
  std::vector<std::int64_t> tokens;
  for (Image& image : pictures) {
    const Patches p = named_patches(small ? at_most_512(std::move(image)) : image, config, where);
    pixels.push_back(p.pixel_values);
    prompt.grids.push_back(p.grid);
    tokens.push_back(p.pixel_values.dim(0) / (config.merge * config.merge));
  }
  prompt.pixel_values = join_rows(pixels);
  return tokens;
}

std::vector<Content> contents_of(const std::string& text) {
  std::vector<Content> parts;
  std::size_t from = 0;
  for (std::size_t at; (at = text.find(image_tag, from)) != text.npos;) {
    if (at > from) parts.push_back({Content::Kind::text, text.substr(from, at - from)});
    parts.push_back({Content::Kind::image, ""});
    from = at + std::string_view(image_tag).size();
  }
  parts.push_back({Content::Kind::text, text.substr(from)});
  return parts;
}

Prompt make_prompt(const Record& r, std::vector<Image> pictures, const Processor& processor, PromptStyle style,
                   const PixelLimits& limits) {
  Prompt out;
  const std::vector<std::int64_t> image_tokens =
      add_pictures(out, std::move(pictures), processor.with_limits(limits).images(), r.where, true);
  std::vector<Content> parts = contents_of(user_text(r, style));
  std::vector<Message> messages;
  if (style == PromptStyle::released) messages.push_back({"system", {{Content::Kind::text, system_text}}});
  messages.push_back({"user", std::move(parts)});
  out.input_ids = encode_chat(processor.tokenizer(), messages, image_tokens, {.add_generation_prompt = true});
  return out;
}

}  // namespace ov::rl
