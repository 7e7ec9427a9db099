// Errors: library code throws, only main turns them into exit codes.
//
//   input_error    the caller gave something wrong: a file, a key, a shape            exit 2
//   machine_error  the machine failed: disk full, no permission, out of memory        exit 3
//
// A message is one line that names the file (or key, or tensor), the place in it, what was expected and what came.
// Whatever a file put into it, it is valid UTF-8 without control characters, and of what is longer than
// `longest_message` bytes the middle is left out. A value that may be long is cut where the message is made, by shown()
// of base/text.h.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace ov {

enum class Exit { done = 0, answer_is_no = 1, wrong_input = 2, machine_failed = 3 };

constexpr std::size_t longest_message = 2000;

class Error : public std::runtime_error {
 public:
  Error(Exit exit, const std::string& message);
  Exit exit() const { return exit_; }

 private:
  Exit exit_;
};

// The arguments written one after the other, as operator<< prints them.
template <class... A>
std::string cat(const A&... a) {
  std::ostringstream s;
  (s << ... << a);
  return s.str();
}

template <class... A>
[[noreturn]] void input_error(const A&... a) {
  throw Error(Exit::wrong_input, cat(a...));
}

template <class... A>
[[noreturn]] void machine_error(const A&... a) {
  throw Error(Exit::machine_failed, cat(a...));
}

// Throws input_error that starts with `name`, a key or an argument.
inline void require_at_least(long long value, long long least, const char* name) {
  if (value < least) input_error(name, ": expected at least ", least, ", found ", value);
}

}  // namespace ov
