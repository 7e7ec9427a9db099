#include "data/raw/json_records.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "data/reject.h"

namespace ov {
namespace {

constexpr const char* index_kind = "json";
constexpr std::string_view blanks = " \t\r\n";
constexpr std::size_t longest_padding = 1 << 16, longest_shown = 1 << 26;

// The first character from `at` on that is neither blank nor in a comment.
std::size_t skip_blanks(std::string_view text, std::size_t at) {
  for (;;) {
    at = std::min(text.find_first_not_of(blanks, at), text.size());
    const std::string_view two = text.substr(at, 2);
    if (two == "//") at = std::min(text.find('\n', at), text.size());
    else if (two == "/*") at = std::min(text.find("*/", at + 2), text.size() - 2) + 2;
    else return at;
  }
}

// Behind the string that opens at `at`; the end of the text when it does not close.
std::size_t string_end(std::string_view text, std::size_t at) {
  for (++at; at < text.size() && text[at] != '"'; ++at) at += text[at] == '\\';
  return std::min(at + 1, text.size());
}

}  // namespace

// The comma or bracket after the value that begins at `at`; what the value is does not matter as long as its brackets
// fit. `at_its_bracket`: just after the bracket that closes it. npos when the text ends inside.
std::size_t JsonRecords::value_end(std::size_t at, bool at_its_bracket) const {
  std::string open;  // the brackets that are still to be closed
  while ((at = skip_blanks(text_, at)) < text_.size()) {
    const char c = text_[at];
    if (open.empty() && (c == ',' || c == ']')) return at;
    if (c == '{' || c == '[') {
      open += c == '{' ? '}' : ']';
    } else if ((c == '}' || c == ']') && !open.empty()) {
      if (open.back() != c) refuse(at, cat("expected '", open.back(), "', found '", c, "'"));
      open.pop_back();
      if (open.empty() && at_its_bracket) return at + 1;
    }
    if (c == '"') at = string_end(text_, at);
    else at = std::min(text_.find_first_of("{}[],\"/ \t\r\n", at + 1), text_.size());
  }
  return text_.npos;
}

void JsonRecords::refuse(std::size_t at, const std::string& what) const {
  const std::string_view before = text_.substr(0, at);
  const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  input_error(path(), ":", 1 + std::count(before.begin(), before.end(), '\n'), ":", at - line_start + 1,
              ": malformed JSON: ", what);
}

JsonRecords::JsonRecords(std::shared_ptr<const MappedFile> file, UseIndex use)
    : file_(std::move(file)), text_(file_->text()) {
  if (const auto index = use == UseIndex::yes ? RecordIndex::open(path(), index_kind, {""}) : std::nullopt) {
    array_ = index->said("array") == "true";
    fingerprint_ = index->fingerprint();
    begin_ = index->column<std::int64_t>("begin");
    line_ = index->column<std::int64_t>("line", size());
    return;
  }
  before_ = RecordIndex::before_reading(path(), {""});
  before_[0].size = std::ssize(text_);  // as it was mapped, which is earlier
  const std::string looks = looks_like(text_.substr(0, 512));
  if (!looks.empty() && looks != "JSON text")
    input_error(path(), ": looks like ", looks, "; expected a JSON array of records, or one record on each line");
  const std::size_t first = skip_blanks(text_, text_.starts_with("\xEF\xBB\xBF") ? 3 : 0);
  array_ = first < text_.size() && text_[first] == '[';
  if (array_) list_array(first + 1);
  else list_lines(first);
  begin_ = Column(std::move(begins_)), line_ = Column(std::move(lines_));
}

void JsonRecords::note(std::size_t at, std::size_t line) {
  begins_.push_back(static_cast<std::int64_t>(at)), lines_.push_back(static_cast<std::int64_t>(line));
}

void JsonRecords::write_index() const {
  RecordIndex::write(path(), index_kind, before_, {{"begin", begin_.tensor()}, {"line", line_.tensor()}},
                     {{"array", array_ ? "true" : "false"}, {"fingerprint", fingerprint()}});
}

void JsonRecords::list_array(std::size_t at) {
  const std::size_t opened = at - 1;
  std::size_t line = 1, counted = 0;
  at = skip_blanks(text_, at);
  for (bool more = at >= text_.size() || text_[at] != ']'; more; ++at) {
    at = skip_blanks(text_, at);
    line += static_cast<std::size_t>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(counted),
                                                text_.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
    counted = at;
    note(at, line);
    at = value_end(at);
    if (at == text_.npos) refuse(opened, "this array does not close: the file ends inside it");
    more = text_[at] == ',';
  }
  if (begins_.empty()) ++at;  // of []
  const std::size_t behind = skip_blanks(text_, at);
  if (behind == text_.size()) return;
  const std::size_t newline = text_.find('\n', opened);
  if (newline < at || newline > behind) refuse(behind, "expected nothing behind the array");
  array_ = false;  // what follows stands on lines of its own, as this array does: it is a record
  begins_.clear(), lines_.clear();
  list_lines(opened);
}

void JsonRecords::list_lines(std::size_t at) {
  if (at < text_.size() && text_[at] == '{') refuse_spread_object(at);
  for (std::size_t number = 1 + static_cast<std::size_t>(
                                    std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
       at < text_.size(); ++number) {
    const std::size_t newline = std::min(text_.find('\n', at), text_.size());
    if (!blank(text_.substr(at, newline - at))) note(at, number);
    at = newline + 1;
  }
}

// An object that opens on the first line and closes on a later one is not JSON lines.
void JsonRecords::refuse_spread_object(std::size_t at) const {
  std::size_t end = text_.npos;
  try {
    end = value_end(at, true);
  } catch (const Error&) {}  // a broken line among others
  const std::string_view whole = text_.substr(at, end == text_.npos ? 0 : end - at);
  if (whole.find('\n') == whole.npos) return;
  std::string list;  // the key of its first list, which may be the records
  if (whole.size() <= longest_shown) {
    try {
      const Json object = Json::parse(whole, path());
      for (const auto& [key, value] : object.members())
        if (value.is_array() && list.empty()) list = key;
    } catch (const Error&) {}
  }
  const bool record = list.empty() || list == "conversations" || list == "messages";
  input_error(path(), ": one object stands on ", 1 + count(whole, "\n"),
              " lines: expected a JSON array of records, or one record on each line; ",
              record ? "put [ and ] around the records, and commas between them"
                     : cat("write the list under \"", shown(list), "\" to a file of its own"));
}

std::string JsonRecords::where(std::int64_t index) const {
  if (index < 0 || index >= size()) input_error(path(), ": record ", index, " of ", size());
  return array_ ? cat(path(), ": record ", index + 1) : cat(path(), ":", line_[static_cast<std::size_t>(index)]);
}

Json JsonRecords::read(std::int64_t index) const {
  const std::string place = where(index);
  const auto begin = static_cast<std::size_t>(begin_[static_cast<std::size_t>(index)]);
  const auto line = static_cast<std::size_t>(line_[static_cast<std::size_t>(index)]);
  if (begin >= text_.size()) malformed(place, "its index says that it begins at byte ", begin, " of ", text_.size());
  return or_reject(RejectReason::malformed_record, "", [&] {
    const std::size_t end = array_ ? value_end(begin) : std::min(text_.find('\n', begin), text_.size());
    const std::string_view text = text_.substr(begin, end == text_.npos ? end : end - begin);
    try {
      return Json::parse(text, path(), line);
    } catch (const Error&) {
      // Of an array, again for the column, which counts from the line's first character.
      const std::size_t before = array_ ? begin - (text_.rfind('\n', begin) + 1) : 0;
      if (before == 0) throw;
      if (before > longest_padding) return Json::parse(text, place);
      return Json::parse(std::string(before, ' ') + std::string(text), path(), line);
    }
  });
}

}  // namespace ov
