#include "serve/api.h"

#include <algorithm>
#include <random>

#include "base/text.h"
#include "base/utf8.h"
#include "text/chat.h"

namespace ov::serve {
namespace {

[[noreturn]] void wrong(const std::string& param, const std::string& message) { throw ApiError(400, message, param); }

// The members of a request, each with its type and range. null is as good as absent.
class Fields {
 public:
  explicit Fields(const Json& object) : object_(object) {}
  const Json* find(const char* key) const {
    const Json* found = object_.find(key);
    return found && !found->is_null() ? found : nullptr;
  }
  double number(const char* key, double otherwise, double low, double high) const {
    const Json* v = find(key);
    if (!v) return otherwise;
    if (!v->is_number() || !(v->as_double() >= low && v->as_double() <= high))
      wrong(key, cat(key, ": expected a number from ", low, " to ", high, ", found ", v->shown()));
    return v->as_double();
  }
  std::int64_t integer(const char* key, std::int64_t otherwise, std::int64_t low, std::int64_t high) const {
    const Json* v = find(key);
    if (!v) return otherwise;
    if (!v->is_integer() || v->as_int() < low || v->as_int() > high)
      wrong(key, cat(key, ": expected a whole number from ", low, high == INT64_MAX ? " up" : cat(" to ", high),
                     ", found ", v->shown()));
    return v->as_int();
  }
  bool flag(const char* key, bool otherwise = false) const {
    const Json* v = find(key);
    if (!v) return otherwise;
    if (!v->is_boolean()) wrong(key, cat(key, ": expected true or false, found ", v->shown()));
    return v->as_bool();
  }
  const Json* object(const char* key) const {
    const Json* v = find(key);
    if (v && !v->is_object()) wrong(key, cat(key, ": expected an object, found ", kind_name(v->kind())));
    return v;
  }

 private:
  const Json& object_;
};

const std::string& url_of(const Json& part, const char* where) {
  for (const char* key : {"image_url", "image", "url"})
    if (const Json* v = part.find(key)) {
      if (v->is_string()) return v->as_string();
      if (v->is_object()) return url_of(*v, where);
    }
  wrong("messages", cat(where, ": expected image_url with a url"));
}

// Messages as the chat format has them, and the URLs of their pictures in order.
struct Talk {
  std::vector<Message> messages;
  std::vector<std::string> urls;
};

void read_part(const Json& part, const std::string& where, Talk& talk) {
  std::vector<Content>& to = talk.messages.back().content;
  const Json* type = part.is_object() ? part.find("type") : nullptr;
  if (!type || !type->is_string()) wrong("messages", cat(where, ": expected an object with a type"));
  const std::string& name = type->as_string();
  if (name == "text" || name == "input_text") {
    const Json* text = part.find("text");
    if (!text || !text->is_string()) wrong("messages", cat(where, ": a text part without text"));
    to.push_back({Content::Kind::text, text->as_string()});
  } else if (name == "image_url" || name == "image" || name == "input_image") {
    talk.urls.push_back(url_of(part, where.c_str()));
    to.push_back({Content::Kind::image, ""});
  } else {
    wrong("messages",
          cat(where, ": parts of type ", type->shown(40), " are not understood; expected text or image_url"));
  }
}

Talk read_messages(const Json& body) {
  const Json* list = body.find("messages");
  if (!list || !list->is_array() || list->size() == 0) wrong("messages", "messages: expected a list of at least one");
  Talk talk;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const Json& m = (*list)[i];
    const std::string where = cat("messages[", i, "]");
    const Json* role = m.is_object() ? m.find("role") : nullptr;
    if (!role || !role->is_string()) wrong("messages", cat(where, ": expected an object with a role"));
    std::string name = role->as_string();
    if (name == "developer") name = "system";
    if (name != "system" && name != "user" && name != "assistant")
      wrong("messages", cat(where, ".role: expected system, developer, user or assistant, found ", role->shown(40)));
    talk.messages.push_back({name, {}});
    const Json* content = m.find("content");
    if (!content || content->is_null()) {
      if (name != "assistant") wrong("messages", cat(where, ": no content"));
    } else if (content->is_string()) {
      talk.messages.back().content.push_back({Content::Kind::text, content->as_string()});
    } else if (content->is_array()) {
      for (std::size_t p = 0; p < content->size(); ++p) read_part((*content)[p], cat(where, ".content[", p, "]"), talk);
    } else {
      wrong("messages", cat(where, ".content: expected a text or a list of parts, found ", kind_name(content->kind())));
    }
  }
  return talk;
}

ChatOptions chat_options(const Service& s, const Fields& f) {
  return {.add_generation_prompt = f.flag("add_generation_prompt", true),
          .line_after_picture = s.processor.line_after_picture};
}

void read_sampling(const Service& s, const Fields& f, Asked& a) {
  Sampling& o = a.sampling = s.otherwise;
  o.temperature = f.number("temperature", o.temperature, 0, 2);
  o.top_p = f.number("top_p", o.top_p, 0, 1);
  o.min_p = f.number("min_p", o.min_p, 0, 1);
  o.top_k = std::max<std::int64_t>(0, f.integer("top_k", o.top_k, -1, INT64_MAX));
  o.repetition_penalty = f.number("repetition_penalty", o.repetition_penalty, 1e-3, 1e3);
  o.presence_penalty = f.number("presence_penalty", 0, -2, 2);
  o.frequency_penalty = f.number("frequency_penalty", 0, -2, 2);
  if (f.find("seed")) o.seed = static_cast<std::uint64_t>(f.integer("seed", 0, INT64_MIN, INT64_MAX));
  else o.seed = static_cast<std::uint64_t>(std::random_device()()) << 32 | std::random_device()();
  if (const Json* bias = f.object("logit_bias"))
    for (const auto& [key, value] : bias->members()) {
      const bool digits = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == key.npos;
      const std::int64_t id = digits ? std::stoll(key) : -1;
      if (id < 0 || id >= s.config.text.vocabulary || !value.is_number() || !(std::abs(value.as_double()) <= 100))
        wrong("logit_bias", cat("logit_bias: expected ids below ", s.config.text.vocabulary,
                                " with numbers from -100 to 100, found ", shown(key, 20), ": ", value.shown(20)));
      o.logit_bias.emplace_back(id, value.as_double());
    }
  a.choices = f.integer("n", 1, 1, 128);
  a.stream = f.flag("stream");
  if (const Json* options = f.object("stream_options")) {
    if (!a.stream) wrong("stream_options", "stream_options: only with stream");
    a.include_usage = Fields(*options).flag("include_usage");
  }
  if (const Json* stop = f.find("stop")) {
    for (const Json& item : stop->is_array() ? stop->items() : std::vector<Json>{*stop}) {
      if (!item.is_string() || item.as_string().empty() || item.as_string().size() > 1000 || a.stop.size() == 64)
        wrong("stop", cat("stop: expected a text that is not empty, or up to 64 of them, found ", stop->shown()));
      a.stop.push_back(item.as_string());
    }
  }
  if (!f.flag("ignore_eos")) a.stop_ids = s.stop;
  if (const Json* format = f.object("response_format")) {
    const Json* type = format->find("type");
    if (!type || !type->is_string() || type->as_string() != "text")
      wrong("response_format", cat("response_format: only text is supported, found ", format->shown()));
  }
  for (const char* key : {"tools", "functions"})
    if (const Json* tools = f.find(key); tools && tools->size()) wrong(key, cat(key, ": tools are not supported"));
}

// How long the answer may be: what is asked, else what is usual; prompt and answer fit the context.
void read_length(const Service& s, const Fields& f, std::int64_t least, std::int64_t otherwise, Asked& a) {
  const char* key = f.find("max_completion_tokens") ? "max_completion_tokens" : "max_tokens";
  const std::int64_t context = s.config.text.max_positions;
  std::int64_t longest = 0;
  for (const auto& p : a.prompts) longest = std::max<std::int64_t>(longest, std::ssize(p));
  a.max_tokens = f.integer(key, std::min(otherwise, std::max<std::int64_t>(1, context - longest)), least, INT64_MAX);
  if (a.max_tokens > context - longest)
    throw ApiError(400,
                   cat("the prompt has ", longest, " tokens, the answer may have ", a.max_tokens,
                       "; together they are more than the context of ", context),
                   "messages", "context_length_exceeded");
}

}  // namespace

Json ApiError::json() const {
  const char* type = status == 401   ? "authentication_error"
                     : status == 404 ? "not_found_error"
                     : status >= 500 ? "server_error"
                                     : "invalid_request_error";
  return Json::object({{"error", Json::object({{"message", what()},
                                               {"type", type},
                                               {"param", param.empty() ? Json() : Json(param)},
                                               {"code", code.empty() ? Json() : Json(code)}})}});
}

Json parse_body(const std::string& body) {
  // A value takes two bytes to write and a hundred to keep: a body of brackets would be fifty times as large here.
  constexpr std::size_t most = std::size_t{1} << 19;
  std::size_t values = 0;
  for (std::size_t i = 0; i < body.size(); ++i) {
    if (body[i] == '"')
      for (++i; i < body.size() && body[i] != '"'; ++i) i += body[i] == '\\';
    else if (body[i] == '/') wrong("", "body: malformed JSON: a comment, or a slash outside of a string");
    else values += body[i] == ',' || body[i] == '[' || body[i] == '{';
  }
  if (values > most) wrong("", cat("body: more than ", most, " values"));
  Json json;
  try {
    json = Json::parse(body, "body");
  } catch (const ov::Error& e) { wrong("", e.what()); }
  if (!json.is_object()) wrong("", cat("body: expected an object, found ", kind_name(json.kind())));
  return json;
}

std::string rendered(const Service& s, const Json& body) {
  return render_chat(read_messages(body).messages, chat_options(s, Fields(body)));
}

Asked read_chat(const Service& s, const Json& body) {
  const Fields f(body);
  Asked a;
  read_sampling(s, f, a);
  a.logprobs = f.flag("logprobs");
  if (f.find("top_logprobs") && !a.logprobs) wrong("top_logprobs", "top_logprobs: only with logprobs");
  if (a.logprobs) a.sampling.top_logprobs = f.integer("top_logprobs", 0, 0, 20);
  a.image_attention = f.flag("image_attention");
  if (a.image_attention && a.choices > 1) wrong("image_attention", "image_attention: only with one answer (n 1)");
  const Talk talk = read_messages(body);
  if (std::ssize(talk.urls) > s.max_images)
    wrong("messages",
          cat("messages: ", talk.urls.size(), " pictures, more than ", s.max_images, " (serve.max_images)"));
  if (!talk.urls.empty() && !s.config.has_tower) wrong("messages", "messages: this model reads no pictures");
  PixelLimits limits;
  if (const Json* kwargs = f.object("mm_processor_kwargs")) {
    const Fields k(*kwargs);
    // More than the context could hold is never made: an area to reach would be memory to fill.
    const std::int64_t side = s.processor.images().factor();
    const std::int64_t most = side * side * s.config.text.max_positions;
    if (k.find("min_pixels")) limits.min_pixels = k.integer("min_pixels", 1, 1, most);
    if (k.find("max_pixels")) limits.max_pixels = std::min(most, k.integer("max_pixels", 1, 1, INT64_MAX));
  }
  try {
    const ProcessorConfig images = s.processor.with_limits(limits).images();
    std::vector<std::int64_t> tokens;
    std::int64_t all = 0, pixels = 0;
    for (const std::string& url : talk.urls) {
      const Patches p =
          named_patches(picture_at(url, s.media, &pixels), images, cat("picture ", a.pictures.size() + 1));
      a.pictures.push_back({.pixel_values = p.pixel_values, .grid = {p.grid[0], p.grid[1], p.grid[2]}});
      tokens.push_back(p.pixel_values.dim(0) / (images.merge * images.merge));
      if ((all += tokens.back()) > s.config.text.max_positions)
        throw ApiError(
            400,
            cat("pictures of ", all, " tokens and more are more than the context of ", s.config.text.max_positions),
            "messages", "context_length_exceeded");
    }
    a.prompts = {encode_chat(s.processor.tokenizer(), talk.messages, tokens, chat_options(s, f))};
  } catch (const ov::Error& e) { throw ApiError(e.exit() == Exit::wrong_input ? 400 : 500, e.what(), "messages"); }
  read_length(s, f, 1, s.max_tokens, a);
  return a;
}

Asked read_completion(const Service& s, const Json& body) {
  const Fields f(body);
  Asked a{.chat = false, .prompts = {}};
  read_sampling(s, f, a);
  if (f.flag("image_attention")) wrong("image_attention", "image_attention: only in a chat");
  a.echo = f.flag("echo");
  if (a.echo && a.stream) wrong("echo", "echo: not with stream");
  a.logprobs = f.find("logprobs") != nullptr;
  if (a.logprobs) a.sampling.top_logprobs = f.integer("logprobs", 0, 0, 20);
  const Json* prompt = f.find("prompt");
  if (!prompt) wrong("prompt", "prompt: expected a text, ids, or a list of them");
  const auto ids_of = [&](const Json& item) {
    if (item.is_string()) return s.processor.tokenizer().encode(item.as_string());
    std::vector<std::int64_t> ids;
    for (const Json& id : item.is_array() ? item.items() : std::vector<Json>{Json()}) {
      if (!id.is_integer() || id.as_int() < 0 || id.as_int() >= s.config.text.vocabulary)
        wrong("prompt", cat("prompt: expected a text, ids below ", s.config.text.vocabulary,
                            ", or a list of them, found ", id.shown(40)));
      ids.push_back(id.as_int());
    }
    return ids;
  };
  const bool several = prompt->is_array() && prompt->size() && !(*prompt)[0].is_number();
  for (const Json& item : several ? prompt->items() : std::vector<Json>{*prompt}) {
    a.prompts.push_back(ids_of(item));
    if (a.prompts.back().empty()) wrong("prompt", "prompt: it has no tokens");
  }
  if (std::ssize(a.prompts) * a.choices > 1024) wrong("prompt", "prompt: more than 1024 answers");
  read_length(s, f, a.echo ? 0 : 1, 16, a);
  return a;
}

}  // namespace ov::serve
