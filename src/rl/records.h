// The prompts of RL, from JSON lines (or an array), a Parquet file, or a directory: all Parquet files in it, at any
// depth, in the order of their paths, as the release has a stage. A record in the schema of the release:
//
//   id              text; absent: {source}_{number, four digits at least}
//   images          list of pictures: paths beside the file, or in Parquet bytes or structs of bytes and path
//   problem         text with an <image> where each picture stands
//   answer          text or list of texts
//   answer_type     what verifies it: bbox, boolean, critic, general-code, html-code, math-expressions, number,
//                   ocrtext, multiple-choice, svg-code, or any, a comparison of texts (rl/verifiers, one file each);
//                   also -strict ones and bbox-bare (rl/reward.cpp). Absent: any. Other names count as any, with a line
//                   that says so
//   problem_type, source, prompt_type ("normal": the answer alone), format_guidance, template
//
// Or a conversation (data/raw/conversations.h): every question of it is a record, with its answer for a reference; of
// an answer with an <answer> block what that holds. "templates", if there, names them one by one, "answer_types" what
// verifies them: each a list of as many texts as there are questions.
//
// For DPO, a preference (rl/preferences.h): prompt, chosen and rejected in place of problem and answer.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/sample/processor.h"
#include "text/chat.h"
#include "text/conversation.h"

namespace ov {
class ParquetFile;
}

namespace ov::rl {

struct Record {
  std::string where = {}, id = {}, source = {}, group = {};  // group: its template, else its source
  std::string problem = {}, answer_type = "any", problem_type = {}, prompt_type = {};
  Json answer = {};
  std::optional<std::string> format_guidance = {};
  std::vector<std::string> images = {};  // paths
  std::int64_t parquet_row = -1;         // where its pictures are, if not in files
  std::size_t parquet_file = 0;          // with a row: which of the files
  // Of a preference, with <image> where a picture stands: what is asked, and two answers to it.
  std::vector<Turn> turns = {};
  std::string chosen = {}, rejected = {};
};

std::string question_hash(const Record& record);  // of its problem and answer, 16 hex digits

enum class RecordKind { question, preference };

class RecordFile {
 public:
  // templates: which are taken; none: all. keep: JSON lines with the ids that are, "": all; a line may have the hash of
  // its "question", which the record must then have. input_error names file and record: a key missing or of another
  // kind, two records of one id, no record. image_dir: where paths of pictures begin; "": beside the file.
  RecordFile(const std::string& path, const std::string& image_dir, const std::vector<std::string>& templates = {},
             const std::string& keep = "", RecordKind kind = RecordKind::question);
  ~RecordFile();

  const std::vector<Record>& records() const { return records_; }
  const std::string& fingerprint() const { return fingerprint_; }  // of what was read, pictures aside
  // Safe from several threads. Errors name the record, and for a file that is not there data.image_dir.
  std::vector<Image> pictures(const Record& record) const;
  std::string said_of_unknown_types() const;  // rl/reward.h

 private:
  void read_json(const std::string& path, const std::string& directory);
  void read_parquet(const std::vector<std::string>& paths);
  void add(const Json& json, std::size_t pictures, Record record);
  void name(const Json& json, Record& record) const;
  void add_turns(const Json& json, const Record& shared);

  RecordKind kind_;
  std::vector<Record> records_;
  std::string fingerprint_, directory_;  // directory_: of paths of pictures, "" beside each file
  std::vector<std::unique_ptr<ParquetFile>> parquet_;
};

// released   the original's text: its system message, then instruction, guidance, a line, the problem
// plain      the problem as it is, under the model's own system message: what a model without that instruction was
//            taught, as the toy world's. An answer without a block then counts as a whole
enum class PromptStyle { released, plain };

std::int64_t tags_in(const std::string& text);              // how often <image> stands there
std::vector<Content> contents_of(const std::string& text);  // with pictures where the tags are
// Appends them to a prompt's and returns how many tokens each has. small: those of more than 512 x 512 pixels are made
// smaller first, with their sides cut to whole pixels.
std::vector<std::int64_t> add_pictures(Prompt& prompt, std::vector<Image> pictures, const ProcessorConfig& config,
                                       const std::string& where, bool small);

inline constexpr const char* system_text = "You are a helpful AI assistant.";
// The user's text, with <image> where pictures stand.
std::string user_text(const Record& record, PromptStyle style);
// What RL asks, its pictures made small.
Prompt make_prompt(const Record& record, std::vector<Image> pictures, const Processor& processor, PromptStyle style,
                   const PixelLimits& limits = {});

}  // namespace ov::rl
