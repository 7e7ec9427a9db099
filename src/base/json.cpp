#include "base/json.h"

#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"
#include "base/io/mapped_file.h"
#include "base/text.h"

namespace ov {
namespace {

// Receives the parser's events and builds a Json bottom-up; the stack holds the open arrays and objects.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(std::string_view text, const std::string& where, std::size_t first_line)
      : text_(text), where_(where), first_line_(first_line) {}
  Json take() { return std::move(root_); }

  bool null() override { return put(Json()); }
  bool boolean(bool v) override { return put(Json(v)); }
  bool number_integer(number_integer_t v) override { return put(Json(static_cast<std::int64_t>(v))); }
  bool number_unsigned(number_unsigned_t v) override {
    if (v > static_cast<std::uint64_t>(INT64_MAX)) return put(Json(static_cast<double>(v)));
    return put(Json(static_cast<std::int64_t>(v)));
  }
  bool number_float(number_float_t v, const string_t&) override { return put(Json(static_cast<double>(v))); }
  bool string(string_t& v) override { return put(Json(std::move(v))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  // A vocabulary is one object of 151 643 keys, so a repeated key is found by hashing.
  bool key(string_t& v) override {
    ++keys_seen_;
    if (!known_.back().insert(v).second) fail(place_of_last_key(), cat("the key ", Json(v).shown(), " stands twice"));
    keys_.back() = v;
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    std::string what = e.what();
    if (const auto at = what.find("column "); at != std::string::npos) {
      if (const auto colon = what.find(": ", at); colon != std::string::npos) what = what.substr(colon + 2);
    }
    fail(position, "malformed JSON: " + shown(what, 200) + (position < 8 ? hint() : ""));
  }
  std::string hint() const {
    const std::string kind = looks_like(text_);
    return kind.empty() || kind.starts_with("JSON") ? "" : "; this looks like " + kind;
  }
  // `position`: how many bytes were read, the last one being the fault.
  [[noreturn]] void fail(std::size_t position, const std::string& what) const {
    std::size_t line = first_line_, column = 1;
    for (std::size_t i = 0; i + 1 < position && i < text_.size(); ++i) {
      if (text_[i] == '\n') ++line, column = 0;
      ++column;
    }
    input_error(where_, ":", line, ":", column, ": ", what);
  }

 private:
  bool put(Json v) {
    if (stack_.empty()) root_ = std::move(v);
    else if (stack_.back().is_array()) stack_.back().push(std::move(v));
    else members_.back().emplace_back(keys_.back(), std::move(v));
    return true;
  }
  bool open(Json v) {
    if (stack_.size() == Json::deepest)
      fail(first_too_deep(), cat("arrays and objects are more than ", Json::deepest, " deep"));
    stack_.push_back(std::move(v));
    keys_.emplace_back();
    members_.emplace_back();
    known_.emplace_back();
    return true;
  }
  bool close() {
    Json v = std::move(stack_.back());
    if (v.is_object()) v = Json::object(std::move(members_.back()));
    stack_.pop_back();
    keys_.pop_back();
    members_.pop_back();
    known_.pop_back();
    return put(std::move(v));
  }

  // The parser's events come without a place: it is found by reading the text again, up to where f(i) is true for the
  // character i, which is no part of a comment; of a string only its first is asked about.
  template <class F>
  std::size_t place(F&& f) const {
    for (std::size_t i = 0; i < text_.size(); ++i) {
      if (text_[i] == '/') {  // a comment
        const bool line = text_.substr(i, 2) == "//";
        i = std::min(text_.find(line ? "\n" : "*/", i + 2), text_.size()) + !line;
        continue;
      }
      if (f(i)) return i + 1;
      if (text_[i] == '"')
        while (++i < text_.size() && text_[i] != '"') i += text_[i] == '\\';
    }
    return text_.size();
  }
  std::size_t first_too_deep() const {
    std::size_t depth = 0;
    return place([&](std::size_t i) {
      const char c = text_[i];
      if (c == ']' || c == '}') --depth;
      return (c == '[' || c == '{') && ++depth > Json::deepest;
    });
  }
  // A key is the string before a colon.
  std::size_t place_of_last_key() const {
    std::size_t string = 0, colons = 0;
    place([&](std::size_t i) {
      if (text_[i] == '"') string = i;
      return text_[i] == ':' && ++colons == keys_seen_;
    });
    return string + 1;
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t first_line_;
  Json root_;
  std::vector<Json> stack_;
  std::vector<std::string> keys_;
  std::vector<std::vector<Json::Member>> members_;      // of the open objects
  std::vector<std::unordered_set<std::string>> known_;  // their keys
  std::size_t keys_seen_ = 0;
};

nlohmann::ordered_json to_nlohmann(const Json& j) {
  switch (j.kind()) {
    case Json::Kind::null: return nullptr;
    case Json::Kind::boolean: return j.as_bool();
    case Json::Kind::integer: return j.as_int();
    case Json::Kind::number: return j.as_double();
    case Json::Kind::string: return j.as_string();
    case Json::Kind::array: {
      auto a = nlohmann::ordered_json::array();
      for (const Json& e : j.items()) a.push_back(to_nlohmann(e));
      return a;
    }
    case Json::Kind::object: break;
  }
  auto o = nlohmann::ordered_json::object();
  auto& members = o.get_ref<nlohmann::ordered_json::object_t&>();
  for (const auto& [key, value] : j.members()) members.emplace_back(key, to_nlohmann(value));  // keys differ already
  return o;
}

[[noreturn]] void wrong_kind(const char* expected, const Json& j) {
  input_error("expected ", expected, ", found ", kind_name(j.kind()));
}

}  // namespace

const char* kind_name(Json::Kind kind) {
  switch (kind) {
    case Json::Kind::null: return "null";
    case Json::Kind::boolean: return "a boolean";
    case Json::Kind::integer: return "an integer";
    case Json::Kind::number: return "a number";
    case Json::Kind::string: return "a string";
    case Json::Kind::array: return "an array";
    case Json::Kind::object: break;
  }
  return "an object";
}

Json Json::object(std::vector<Member> members) {
  Json j = object();
  j.object_ = std::move(members);
  return j;
}

Json Json::parse(std::string_view text, const std::string& where, std::size_t first_line) {
  Builder builder(text, where, first_line);
  // The parser takes a zero byte for the end of the text and would pass over what follows.
  if (const auto zero = text.find('\0'); zero != text.npos)
    builder.fail(zero + 1, "malformed JSON: a zero byte" + builder.hint());
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder, nlohmann::json::input_format_t::json, true, true);
  return builder.take();
}

Json Json::read(const std::string& path) { return parse(read_file(path), path); }

std::string Json::shown(std::size_t limit) const { return ov::shown(dump(), limit); }

std::string Json::dump(int indent) const {
  return to_nlohmann(*this).dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

bool Json::as_bool() const {
  if (kind_ != Kind::boolean) wrong_kind("a boolean", *this);
  return integer_ != 0;
}

std::int64_t Json::as_int() const {
  if (kind_ != Kind::integer) wrong_kind("an integer", *this);
  return integer_;
}

double Json::as_double() const {
  if (kind_ == Kind::integer) return static_cast<double>(integer_);
  if (kind_ != Kind::number) wrong_kind("a number", *this);
  return number_;
}

const std::string& Json::as_string() const {
  if (kind_ != Kind::string) wrong_kind("a string", *this);
  return string_;
}

const std::vector<Json>& Json::items() const {
  if (kind_ != Kind::array) wrong_kind("an array", *this);
  return array_;
}

const std::vector<Json::Member>& Json::members() const {
  if (kind_ != Kind::object) wrong_kind("an object", *this);
  return object_;
}

const Json& Json::operator[](std::size_t i) const {
  if (i >= items().size()) input_error("element ", i, " of an array of ", array_.size());
  return array_[i];
}

const Json* Json::find(std::string_view key) const {
  for (const auto& [name, value] : members())
    if (name == key) return &value;
  return nullptr;
}

const Json& Json::at(std::string_view key) const {
  if (const Json* value = find(key)) return *value;
  input_error("key '", ov::shown(key), "' is missing");
}

Json& Json::set(std::string_view key, Json value) {
  members();
  for (auto& [name, old] : object_)
    if (name == key) return old = std::move(value);
  return object_.emplace_back(std::string(key), std::move(value)).second;
}

void Json::push(Json value) {
  items();
  array_.push_back(std::move(value));
}

}  // namespace ov
