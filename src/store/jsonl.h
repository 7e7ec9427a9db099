// JSON lines: one value per line. Reading names the line in every error; writing is a log that a kill leaves readable.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "base/io/file.h"
#include "base/json.h"

namespace ov {

// The values of a mapped file, one after the other. Empty lines are passed over; the last line may lack its newline.
class JsonlReader {
 public:
  explicit JsonlReader(const std::string& path);

  // False at the end. A malformed line throws input_error "path:line:column: ..." and is passed: the next call goes on
  // behind it, so that a caller may count it and continue.
  bool next(Json* value);
  std::size_t line() const { return line_; }  // of the value that came last, from 1
  std::string_view text() const { return file_->text(); }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::size_t at_ = 0, line_ = 0;
};

// Appends lines. Each reaches the operating system before write() returns, whole or not at all as far as an error goes
// (machine_error on a full disk); a kill may leave half of one, which the next opening cuts off.
class JsonlWriter {
 public:
  // A new file: an old one of that name is emptied.
  static JsonlWriter create(const std::string& path);
  // Goes on after the last whole line; a missing file is created. Every line is parsed and offered to `keep`, and from
  // the first that it declines the file is cut (a run resumed at step 100 drops what came later). A whole line that is
  // malformed is an input_error.
  static JsonlWriter resume(const std::string& path, const std::function<bool(const Json&)>& keep = nullptr);

  void write(const Json& value);

 private:
  explicit JsonlWriter(AppendFile file) : file_(std::move(file)) {}
  AppendFile file_;
};

}  // namespace ov
