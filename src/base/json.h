// JSON values: parsed with line and column in every error, // comments allowed, object keys in file order.
// The parser behind it is nlohmann's; json.cpp is the only file that includes it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ov {

class Json {
 public:
  enum class Kind { null, boolean, integer, number, string, array, object };
  using Member = std::pair<std::string, Json>;

  Json() = default;
  Json(bool v) : kind_(Kind::boolean), integer_(v) {}
  Json(int v) : kind_(Kind::integer), integer_(v) {}
  Json(std::int64_t v) : kind_(Kind::integer), integer_(v) {}
  Json(std::size_t v) : kind_(Kind::integer), integer_(static_cast<std::int64_t>(v)) {}
  Json(double v) : kind_(Kind::number), number_(v) {}
  Json(const char* v) : kind_(Kind::string), string_(v) {}
  Json(std::string v) : kind_(Kind::string), string_(std::move(v)) {}
  Json(std::string_view v) : kind_(Kind::string), string_(v) {}
  template <class T>
  Json(const std::vector<T>& v) : kind_(Kind::array) {
    for (const auto& e : v) array_.push_back(Json(e));
  }
  static Json array() { return of_kind(Kind::array); }
  static Json object() { return of_kind(Kind::object); }
  static Json object(std::vector<Member> members);

  // `where` names the source in errors: "file.json:12:5: expected ...". Throws input_error. `first_line`: the number of
  // the text's first line in that source. Integers beyond 64 bits become numbers. Refused, beside what JSON refuses: a
  // key that stands twice in an object, a zero byte, and arrays and objects more than `deepest` deep, since what walks
  // a value (dump, copy, destructor) goes as deep on the stack.
  static constexpr std::size_t deepest = 500;
  static Json parse(std::string_view text, const std::string& where, std::size_t first_line = 1);
  // Throws machine_error when the file is there and cannot be read.
  static Json read(const std::string& path);
  // indent < 0: one line. Strings stay UTF-8 (not escaped to ASCII); numbers are the shortest that read back the same.
  std::string dump(int indent = -1) const;
  std::string shown(std::size_t limit = 120) const;  // dump(), cut for a message

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  bool is_string() const { return kind_ == Kind::string; }
  bool is_array() const { return kind_ == Kind::array; }
  bool is_object() const { return kind_ == Kind::object; }
  bool is_number() const { return kind_ == Kind::integer || kind_ == Kind::number; }
  bool is_boolean() const { return kind_ == Kind::boolean; }
  bool is_integer() const { return kind_ == Kind::integer; }

  // Each throws input_error "expected a string, found an array" when the kind is another.
  bool as_bool() const;
  std::int64_t as_int() const;
  double as_double() const;  // integers too
  const std::string& as_string() const;
  const std::vector<Json>& items() const;      // of an array
  const std::vector<Member>& members() const;  // of an object

  std::size_t size() const { return kind_ == Kind::object ? object_.size() : array_.size(); }
  const Json& operator[](std::size_t i) const;   // array element
  const Json* find(std::string_view key) const;  // null when this object lacks the key
  const Json& at(std::string_view key) const;    // throws input_error naming the key
  Json& set(std::string_view key, Json value);   // object: adds or replaces
  void push(Json value);                         // array: appends

 private:
  static Json of_kind(Kind kind) {
    Json j;
    j.kind_ = kind;
    return j;
  }

  Kind kind_ = Kind::null;
  std::int64_t integer_ = 0;
  double number_ = 0;
  std::string string_;
  std::vector<Json> array_;
  std::vector<Member> object_;
};

const char* kind_name(Json::Kind kind);

}  // namespace ov
