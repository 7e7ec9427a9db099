#include "store/jsonl.h"

#include <algorithm>
#include <filesystem>
#include <string_view>

namespace ov {

JsonlReader::JsonlReader(const std::string& path) : file_(MappedFile::open(path)) {}

bool JsonlReader::next(Json* value) {
  const std::string_view text = file_->text();
  while (at_ < text.size()) {
    const std::size_t newline = std::min(text.find('\n', at_), text.size());
    const std::string_view line = text.substr(at_, newline - at_);
    at_ = newline + 1;
    ++line_;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    *value = Json::parse(line, file_->path(), line_);
    return true;
  }
  return false;
}

JsonlWriter JsonlWriter::create(const std::string& path) { return JsonlWriter(AppendFile(path, 0)); }

JsonlWriter JsonlWriter::resume(const std::string& path, const std::function<bool(const Json&)>& keep) {
  std::size_t kept = 0;
  std::error_code missing;
  if (std::filesystem::is_regular_file(path, missing)) {
    const auto file = MappedFile::open(path);
    const std::string_view text = file->text();
    std::size_t line = 0;
    for (std::size_t newline; (newline = text.find('\n', kept)) != std::string_view::npos; kept = newline + 1) {
      const Json value = Json::parse(text.substr(kept, newline - kept), path, ++line);
      if (keep && !keep(value)) break;
    }
  }
  return JsonlWriter(AppendFile(path, kept));
}

void JsonlWriter::write(const Json& value) { file_.append(value.dump() + "\n"); }

}  // namespace ov
