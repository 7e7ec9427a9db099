// A conversation of several turns, with the model in this process or with any server of the OpenAI API.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "serve/reply.h"

namespace ov::serve {

// Streams the answer to messages: `piece` gets whole characters and returns whether to go on. Returns why it ended.
using Speaker = std::function<std::string(const Json& body, const std::function<bool(const std::string&)>& piece)>;
Speaker speaker_here(const Service& service, Engine& engine);
// `url` as clients have it, http://host:port/v1. Errors of the server are input_errors with its words.
Speaker speaker_at(const std::string& url, const std::string& api_key);

class Chat {
 public:
  // `options`: members of every request, beside messages.
  Chat(Speaker speaker, Json options, MediaOptions media);

  // What one typed line does: a turn, or a command. False after /quit.
  //   /image PATH   shows it with the next question      /system TEXT  replaces the system text
  //   /clear        forgets all turns                    /regen        answers the last question again
  //   /save FILE    writes the messages as JSON          /help, /quit, /exit
  // `out` gets the answer as it comes, and what a command says. Errors of a turn are told there too; it is then as if
  // it had not been.
  bool line(const std::string& typed, const std::function<bool(const std::string&)>& out);
  Exit exit() const { return exit_; }  // of the last error, done when no line had one
  const Json& messages() const { return messages_; }

 private:
  void answer(const std::function<bool(const std::string&)>& out);

  Speaker speaker_;
  Json options_, messages_ = Json::array(), pictures_ = Json::array();
  MediaOptions media_;
  std::int64_t again_ = 0;  // /regen draws anew
  Exit exit_ = Exit::done;
};

}  // namespace ov::serve
