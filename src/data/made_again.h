// Files that a command of ours wrote from data: when one is damaged, its error says how it is made again.
#pragma once
#include <string>

#include "base/error.h"

namespace ov {

// f(), its input_error followed by "; " and the remedy: "remove it and make it again (onevision pack)".
template <class F>
auto or_make_again(const std::string& remedy, F&& f) {
  try {
    return f();
  } catch (const Error& e) {
    if (e.exit() != Exit::wrong_input) throw;
    throw Error(e.exit(), cat(e.what(), "; ", remedy));
  }
}

}  // namespace ov
