// Who answers public tasks in tests, and what was asked.
#pragma once
#include <functional>

#include "eval/ask.h"

namespace ov::test {

inline std::string said(const Json& body) {  // texts as they are, pictures as their bytes' number
  std::string out;
  for (const Json& m : body.at("messages").items()) {
    out += m.at("role").as_string() + ":";
    for (const Json& part : m.at("content").items())
      out += part.find("text") ? "[" + part.at("text").as_string() + "]"
                               : "<" + part.at("image_url").at("url").as_string() + ">";
  }
  return out;
}

inline Json reply(const std::string& text) {
  return Json::object({{"choices", std::vector<Json>{Json::object({{"message", Json::object({{"content", text}})}})}},
                       {"usage", Json::object({{"prompt_tokens", 7}, {"completion_tokens", 2}})}});
}

// Answers each body with what `f` makes of it.
inline Asker answering(std::function<Json(const Json& body)> f) {
  return [f](std::size_t n, const auto& body, const auto& take) {
    for (std::size_t i = n; i-- > 0;) take(i, f(body(i)));
  };
}

}  // namespace ov::test
