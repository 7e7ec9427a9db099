// Shared by the two halves of the configuration, config.cpp and config_table.cpp.
#pragma once
#include <sstream>
#include <string>
#include <string_view>

#include "base/config.h"

namespace ov {

std::string expected(const Key& key);  // "a number from 0 to 1", "one of tree chain"
// "; did you mean 'cuda'?" for gpu: first what some call a word by, since the nearest in letters may be another thing.
std::string meant_word(const std::string& said, const Strings& choices);

inline Strings words(std::string_view text) {
  Strings result;
  std::istringstream stream{std::string(text)};
  for (std::string word; stream >> word;) result.push_back(word);
  return result;
}

inline bool has_word(std::string_view text, std::string_view word) {
  for (const std::string& w : words(text))
    if (w == word) return true;
  return false;
}

}  // namespace ov
