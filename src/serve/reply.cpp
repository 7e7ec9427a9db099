#include "serve/reply.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <ctime>
#include <iomanip>
#include <random>

#include "base/revision.h"
#include "base/utf8.h"

namespace ov::serve {

struct Reply::Choice {
  Choice(const Tokenizer& tokenizer, const std::vector<std::string>& stop) : stream(tokenizer, stop) {}
  TextStream stream;
  std::string text = {}, finish_reason = {};
  std::vector<Token> prompt = {}, tokens = {};
  Finish finish = {};
  std::int64_t written = 0;  // tokens, the one that ends the answer not among them
};

// Shared with the engine's thread, which may still hold it when the client has gone.
struct Reply::State {
  std::mutex lock;
  std::condition_variable changed;
  std::deque<Piece> pieces;
  std::vector<Choice> choices;
  std::size_t open = 0;
  std::exception_ptr error;
};

namespace {

std::string fresh_id(bool chat) {
  static const std::uint64_t run = static_cast<std::uint64_t>(std::random_device()()) << 32 | std::random_device()();
  static std::atomic<std::uint64_t> next{0};
  std::ostringstream s;
  s << (chat ? "chatcmpl-" : "cmpl-") << std::hex << std::setfill('0') << std::setw(16) << run << '-' << std::dec
    << ++next;
  return s.str();
}

}  // namespace

Reply::Reply(const Service& service, Engine& engine, Asked asked)
    : service_(service),
      engine_(engine),
      asked_(std::move(asked)),
      id_(fresh_id(asked_.chat)),
      created_(static_cast<std::int64_t>(std::time(nullptr))),
      state_(std::make_shared<State>()) {
  const std::size_t n = static_cast<std::size_t>(asked_.choices), all = asked_.prompts.size() * n;
  for (std::size_t i = 0; i < all; ++i) state_->choices.emplace_back(service.processor.tokenizer(), asked_.stop);
  state_->open = all;
  try {
    for (std::size_t i = 0; i < all; ++i) {
      Request r{.prompt = asked_.prompts[i / n],
                .pictures = asked_.pictures,
                .sampling = asked_.sampling,
                .max_new_tokens = asked_.max_tokens,
                .stop = asked_.stop_ids,
                .prompt_logprobs = asked_.echo && asked_.logprobs,
                .attention = asked_.image_attention};
      r.sampling.choice = i % n;
      const std::size_t to_read = r.prompt_logprobs ? r.prompt.size() - 1 : 0;
      r.token = [state = state_, i, to_read, stop = asked_.stop_ids](const Token& t) {
        const std::lock_guard hold(state->lock);
        Choice& c = state->choices[i];
        if (c.prompt.size() < to_read) return c.prompt.push_back(t), true;
        if (std::find(stop.begin(), stop.end(), t.id) != stop.end()) return true;
        ++c.written;
        c.tokens.push_back(t);
        Piece piece{i, c.stream.add(t.id), {t}, ""};
        c.text += piece.text;
        state->pieces.push_back(std::move(piece));
        state->changed.notify_all();
        return !c.stream.stopped();
      };
      r.done = [state = state_, i](const Finish& f) {
        const std::lock_guard hold(state->lock);
        Choice& c = state->choices[i];
        c.finish = f;
        c.finish_reason = f.why == Ended::length ? "length" : "stop";
        Piece piece{i, c.stream.finish(), {}, c.finish_reason};
        c.text += piece.text;
        if (f.error && !state->error) state->error = f.error;
        --state->open;
        state->pieces.push_back(std::move(piece));
        state->changed.notify_all();
      };
      numbers_.push_back(engine_.submit(std::move(r)));
    }
  } catch (const EngineFull& e) {
    for (const std::uint64_t number : numbers_) engine_.cancel(number);
    throw ApiError(503, e.what());
  } catch (const ov::Error& e) {
    for (const std::uint64_t number : numbers_) engine_.cancel(number);
    throw ApiError(e.exit() == Exit::wrong_input ? 400 : 500, e.what(), asked_.chat ? "messages" : "prompt");
  }
}

Reply::~Reply() {
  std::size_t open;
  {
    const std::lock_guard hold(state_->lock);
    open = state_->open;
  }
  for (const std::uint64_t number : numbers_)
    if (open) engine_.cancel(number);
}

std::optional<Piece> Reply::next(std::chrono::milliseconds most) {
  std::unique_lock hold(state_->lock);
  if (!state_->changed.wait_for(hold, most, [&] { return !state_->pieces.empty(); })) return std::nullopt;
  Piece piece = std::move(state_->pieces.front());
  state_->pieces.pop_front();
  return piece;
}

bool Reply::over() const {
  const std::lock_guard hold(state_->lock);
  return state_->open == 0 && state_->pieces.empty();
}

void Reply::take_all() {
  const std::lock_guard hold(state_->lock);
  state_->pieces.clear();
}

void Reply::check() const {
  const std::lock_guard hold(state_->lock);
  if (!state_->error) return;
  try {
    std::rethrow_exception(state_->error);
  } catch (const ov::Error& e) {
    throw ApiError(e.exit() == Exit::wrong_input ? 400 : 500, e.what());
  } catch (const std::exception& e) { throw ApiError(500, e.what()); }
}

Reply::Costs Reply::costs() const {
  Costs costs;
  for (const auto& p : asked_.prompts) {
    costs.prompt_tokens += std::ssize(p);
    costs.image_tokens += std::count(p.begin(), p.end(), service_.config.image_token);
  }
  const std::lock_guard hold(state_->lock);
  for (const Choice& c : state_->choices) {
    costs.new_tokens += c.written;
    costs.finish_reasons.push_back(c.finish_reason);
  }
  // A prompt counts once, also with several choices.
  for (std::size_t i = 0; i < state_->choices.size(); i += static_cast<std::size_t>(asked_.choices))
    costs.shared_tokens += state_->choices[i].finish.shared_tokens;
  const Finish& f = state_->choices[0].finish;
  costs.wait_s = f.wait_s - f.vision_s, costs.vision_s = f.vision_s, costs.read_s = f.read_s, costs.write_s = f.write_s;
  return costs;
}

std::string Reply::Costs::line() const {
  const auto ms = [](double s) { return static_cast<std::int64_t>(s * 1000 + 0.5); };
  return cat("prompt=", prompt_tokens, " image=", image_tokens, " shared=", shared_tokens, " new=", new_tokens,
             " wait=", ms(wait_s), "ms vision=", ms(vision_s), "ms read=", ms(read_s), "ms write=", ms(write_s), "ms");
}

Json Reply::head(const char* object) const {
  return Json::object({{"id", id_},
                       {"object", object},
                       {"created", created_},
                       {"model", service_.name},
                       {"system_fingerprint", revision()}});
}

Json Reply::usage() const {
  const Costs c = costs();
  return Json::object({{"prompt_tokens", c.prompt_tokens},
                       {"completion_tokens", c.new_tokens},
                       {"total_tokens", c.prompt_tokens + c.new_tokens},
                       {"prompt_tokens_details", Json::object({{"cached_tokens", c.shared_tokens}})}});
}

Json Reply::token_json(const Token& t) const {
  const auto entry = [&](std::int64_t id, double logprob) {
    const std::string bytes = token_bytes(service_.processor.tokenizer(), id, false);
    Json list = Json::array();
    for (const char c : bytes) list.push(Json(static_cast<int>(static_cast<unsigned char>(c))));
    return Json::object({{"token", valid_utf8(bytes)}, {"logprob", logprob}, {"bytes", list}});
  };
  Json top = Json::array();
  for (const auto& [id, logprob] : t.top) top.push(entry(id, logprob));
  Json json = entry(t.id, t.logprob);
  json.set("top_logprobs", top);
  return json;
}

Json Reply::chat_logprobs(const std::vector<Token>& tokens) const {
  if (!asked_.logprobs) return Json();
  Json content = Json::array();
  for (const Token& t : tokens) content.push(token_json(t));
  return Json::object({{"content", content}, {"refusal", Json()}});
}

Json Reply::image_attention(const std::vector<Token>& tokens) const {
  const std::int64_t merge = service_.config.vision.merge;
  Json grids = Json::array(), masses = Json::array();
  for (const Picture& p : asked_.pictures)
    grids.push(std::vector<std::int64_t>{p.grid.t * p.grid.h / merge, p.grid.w / merge});
  for (const Token& t : tokens) {
    Json row = Json::array();
    for (const double mass : t.attention) row.push(std::round(mass * 1e6) / 1e6);
    masses.push(std::move(row));
  }
  return Json::object({{"grids", std::move(grids)}, {"tokens", std::move(masses)}});
}

// tokens, token_logprobs, top_logprobs and text_offset, side by side; with echo those of the prompt first, whose first
// token follows nothing.
Json Reply::completion_logprobs(const Choice& c) const {
  if (!asked_.logprobs) return Json();
  const Tokenizer& tokenizer = service_.processor.tokenizer();
  Json tokens = Json::array(), logprobs = Json::array(), top = Json::array(), offsets = Json::array();
  std::string text;
  const auto add = [&](const Token& t, bool follows) {
    const std::string bytes = token_bytes(tokenizer, t.id, false);
    tokens.push(Json(valid_utf8(bytes)));
    offsets.push(Json(static_cast<std::int64_t>(text.size())));
    text += bytes;
    logprobs.push(follows ? Json(t.logprob) : Json());
    Json likely = Json::object();
    for (const auto& [id, logprob] : t.top) likely.set(valid_utf8(token_bytes(tokenizer, id, false)), logprob);
    top.push(follows ? likely : Json());
  };
  if (asked_.echo)
    add({.id = asked_.prompts[static_cast<std::size_t>(&c - state_->choices.data()) /
                              static_cast<std::size_t>(asked_.choices)][0]},
        false);
  for (const Token& t : c.prompt) add(t, true);
  for (const Token& t : c.tokens) add(t, true);
  return Json::object(
      {{"tokens", tokens}, {"token_logprobs", logprobs}, {"top_logprobs", top}, {"text_offset", offsets}});
}

Json Reply::json() const {
  Json choices = Json::array();
  {
    const std::lock_guard hold(state_->lock);
    for (std::size_t i = 0; i < state_->choices.size(); ++i) {
      const Choice& c = state_->choices[i];
      Json j = Json::object({{"index", i}});
      if (asked_.chat) {
        j.set("message", Json::object({{"role", "assistant"}, {"content", c.text}, {"refusal", Json()}}));
        j.set("logprobs", chat_logprobs(c.tokens));
        if (asked_.image_attention) j.set("image_attention", image_attention(c.tokens));
      } else {
        const auto& prompt = asked_.prompts[i / static_cast<std::size_t>(asked_.choices)];
        j.set("text", (asked_.echo ? service_.processor.tokenizer().decode(prompt, false) : "") + c.text);
        j.set("logprobs", completion_logprobs(c));
      }
      j.set("finish_reason", c.finish_reason);
      choices.push(std::move(j));
    }
  }
  Json json = head(asked_.chat ? "chat.completion" : "text_completion");
  json.set("choices", choices);
  json.set("usage", usage());
  return json;
}

Json Reply::event(const Piece& piece) const {
  Json choice = Json::object({{"index", piece.choice}});
  if (asked_.chat) {
    choice.set("delta", piece.finish_reason.empty() || !piece.text.empty() ? Json::object({{"content", piece.text}})
                                                                           : Json::object());
    choice.set("logprobs", piece.tokens.empty() ? Json() : chat_logprobs(piece.tokens));
    if (asked_.image_attention && !piece.tokens.empty()) choice.set("image_attention", image_attention(piece.tokens));
  } else {
    choice.set("text", piece.text);
    choice.set("logprobs", Json());
  }
  choice.set("finish_reason", piece.finish_reason.empty() ? Json() : Json(piece.finish_reason));
  Json choices = Json::array();
  choices.push(std::move(choice));
  Json json = head(asked_.chat ? "chat.completion.chunk" : "text_completion");
  json.set("choices", choices);
  if (asked_.include_usage) json.set("usage", Json());
  return json;
}

std::vector<Json> Reply::first_events() const {
  std::vector<Json> events;
  for (std::size_t i = 0; asked_.chat && i < state_->choices.size(); ++i) {
    Json choices = Json::array();
    choices.push(Json::object({{"index", i},
                               {"delta", Json::object({{"role", "assistant"}, {"content", ""}})},
                               {"logprobs", Json()},
                               {"finish_reason", Json()}}));
    events.push_back(head("chat.completion.chunk"));
    events.back().set("choices", choices);
    if (asked_.include_usage) events.back().set("usage", Json());
  }
  return events;
}

Json Reply::usage_event() const {
  Json json = head(asked_.chat ? "chat.completion.chunk" : "text_completion");
  json.set("choices", Json::array());
  json.set("usage", usage());
  return json;
}

}  // namespace ov::serve
