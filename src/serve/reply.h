// The answers to one request, while they are written and when they are done.
#pragma once
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>

#include "generate/text_stream.h"
#include "serve/api.h"

namespace ov::serve {

// Of one choice: what one pass of the engine, or the end, added to it.
struct Piece {
  std::size_t choice = 0;
  std::string text;
  std::vector<Token> tokens;
  std::string finish_reason;  // "" while it goes on
};

class Reply {
 public:
  // Hands the request over. Throws ApiError: 400 for what the engine refuses, 503 when too many wait.
  Reply(const Service& service, Engine& engine, Asked asked);
  ~Reply();  // cancels what is not done

  // The next piece, or nothing within that time.
  std::optional<Piece> next(std::chrono::milliseconds most);
  bool over() const;   // every piece was taken
  void check() const;  // throws ApiError, 500, when an answer failed
  void take_all();     // pieces that came, without a look at them; then json()

  // Objects of the API: the whole answer, an event of a stream, its first one, and its last one with usage.
  Json json() const;
  Json event(const Piece& piece) const;
  std::vector<Json> first_events() const;
  Json usage_event() const;
  const std::string& id() const { return id_; }
  const Asked& asked() const { return asked_; }

  struct Costs {
    std::int64_t prompt_tokens = 0, image_tokens = 0, shared_tokens = 0, new_tokens = 0;
    double wait_s = 0, vision_s = 0, read_s = 0, write_s = 0;  // of the first choice; waiting without the tower
    std::vector<std::string> finish_reasons;
    std::string line() const;  // for an access log
  };
  Costs costs() const;

 private:
  struct Choice;
  struct State;
  Json head(const char* object) const;
  Json usage() const;
  Json token_json(const Token& token) const;
  Json chat_logprobs(const std::vector<Token>& tokens) const;
  Json completion_logprobs(const Choice& choice) const;
  Json image_attention(const std::vector<Token>& tokens) const;

  const Service& service_;
  Engine& engine_;
  const Asked asked_;
  std::string id_;
  std::int64_t created_;
  std::shared_ptr<State> state_;
  std::vector<std::uint64_t> numbers_;
};

}  // namespace ov::serve
