#include "serve/sse.h"

#include "base/error.h"

namespace ov::serve {

bool EventReader::line(std::string_view text, const Take& take) {
  if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
  if (text.empty()) {
    if (!any_) return true;
    const std::string data = std::move(data_);
    data_.clear(), any_ = false;
    return take(data);
  }
  if (!text.starts_with("data:")) return true;
  text.remove_prefix(text.size() > 5 && text[5] == ' ' ? 6 : 5);
  if (any_) data_ += '\n';
  data_ += text;
  any_ = true;
  return true;
}

bool EventReader::add(std::string_view bytes, const Take& take) {
  held_ += bytes;
  std::size_t begin = 0;
  for (std::size_t end; (end = held_.find('\n', begin)) != held_.npos; begin = end + 1)
    if (!line(std::string_view(held_).substr(begin, end - begin), take)) return false;
  held_.erase(0, begin);
  if (held_.size() + data_.size() > std::size_t{1} << 24) input_error("an event of more than 16 MiB");
  return true;
}

bool EventReader::end(const Take& take) {
  const std::string last = std::move(held_);
  held_.clear();
  return line(last, take) && line("", take);
}

}  // namespace ov::serve
