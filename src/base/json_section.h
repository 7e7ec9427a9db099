// One object of a configuration file that others wrote: every key that is asked for is noted, so that the rest can be
// looked at.
//
// Errors: input_error "where: key ...".
#pragma once
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>

#include "base/error.h"
#include "base/json.h"

namespace ov {

class JsonSection {
 public:
  JsonSection(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) input_error(where_, ": expected an object, found ", kind_name(object.kind()));
  }
  const std::string& where() const { return where_; }

  // null is as good as absent.
  const Json* find(const char* key) {
    seen_.insert(key);
    const Json* v = object_.find(key);
    return v && !v->is_null() ? v : nullptr;
  }
  // `missing` stands for a key that is absent; without it, the key must be there. null is an error in both cases.
  std::int64_t integer(const char* key, std::optional<std::int64_t> missing = {}) {
    return read(key, missing, [](const Json& v) { return v.as_int(); });
  }
  double number(const char* key, std::optional<double> missing = {}) {
    return read(key, missing, [](const Json& v) { return v.as_double(); });
  }
  bool flag(const char* key, bool missing) {
    return read(key, std::optional(missing), [](const Json& v) { return v.as_bool(); });
  }
  std::string text(const char* key) {
    return find(key) ? read(key, std::optional<std::string>(), [](const Json& v) { return v.as_string(); }) : "";
  }
  // Absent, or one of `values`; null too, unless it means something.
  void only(const char* key, std::initializer_list<Json> values, bool null_too = true) {
    seen_.insert(key);
    const Json* v = object_.find(key);
    if (!v || (null_too && v->is_null())) return;
    for (const Json& value : values)
      if (v->is_number() && value.is_number() ? v->as_double() == value.as_double() : v->dump() == value.dump()) return;
    input_error(where_, ": ", key, " is ", shown(*v), "; only ", values.begin()->dump(), " is built");
  }
  // The keys that were not asked for. They pass when they are off (null, false, 0, empty) or among `harmless`, are
  // refused when a word of `refused` is part of their name, and are named on stderr otherwise.
  void finish(const std::string& harmless, const std::vector<const char*>& refused) const {
    for (const auto& [key, value] : object_.members()) {
      if (seen_.contains(key) || off(value) || harmless.find(" " + key + " ") != std::string::npos) continue;
      for (const char* part : refused)
        if (key.find(part) != key.npos)
          input_error(where_, ": ", key, " is ", shown(value), "; nothing like it is built");
      std::fprintf(stderr, "note: %s: %s is not known here and has no effect\n", where_.c_str(), key.c_str());
    }
  }

  static bool off(const Json& v) {
    if (v.is_array() || v.is_object()) return v.size() == 0;
    if (v.is_number()) return v.as_double() == 0;
    return v.is_null() || (v.is_boolean() && !v.as_bool()) || (v.is_string() && v.as_string().empty());
  }
  static std::string shown(const Json& v) {
    const std::string text = v.dump();
    return text.size() <= 60 ? text : text.substr(0, 60) + "...";
  }

 private:
  template <class T, class F>
  T read(const char* key, const std::optional<T>& missing, F&& as) {
    seen_.insert(key);
    const Json* v = object_.find(key);
    if (!v && missing) return *missing;
    if (!v) input_error(where_, ": ", key, " is missing");
    try {
      return as(*v);
    } catch (const Error& e) { input_error(where_, ": ", key, ": ", e.what()); }
  }

  const Json& object_;
  const std::string where_;
  std::set<std::string> seen_;
};

}  // namespace ov
