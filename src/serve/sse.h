// Server-sent events: a stream's events as text, and back.
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace ov::serve {

inline constexpr std::string_view stream_end = "data: [DONE]\n\n";
inline constexpr std::string_view stream_comment = ": keep-alive\n\n";  // so that nobody takes the stream for dead
inline std::string event_text(const Json& json) { return "data: " + json.dump() + "\n\n"; }

// Text that comes in pieces of any size, with lines that end in \n or \r\n. An event is what its "data:" lines hold, up
// to an empty line; comments and other fields are passed over.
class EventReader {
 public:
  using Take = std::function<bool(std::string_view data)>;  // whether to go on
  // False once `take` said so. Throws input_error for an event of more than 16 MiB.
  bool add(std::string_view bytes, const Take& take);
  bool end(const Take& take);  // the stream ended: what came behind the last empty line

 private:
  bool line(std::string_view text, const Take& take);
  std::string held_, data_;  // half a line; the lines of an event
  bool any_ = false;
};

}  // namespace ov::serve
