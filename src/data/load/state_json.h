// A loader's state as JSON: its integers under their names, in one table for writing and reading, and its reject
// counts.
#pragma once
#include <span>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "data/reject.h"

namespace ov {

template <class State>
struct StateField {
  const char* name;
  std::int64_t State::*member;
};

template <class State>
void write_state(Json& out, const State& s, std::span<const StateField<State>> fields) {
  for (const auto& f : fields) out.set(f.name, s.*f.member);
  out.set("rejects", s.rejects.json());
  out.set("epoch_rejects", s.epoch_rejects.json());
}

// Throws input_error that starts with `where` and names the key.
inline const Json& state_member(const Json& json, const char* name, const std::string& where) {
  if (!json.is_object()) input_error(where, ": expected an object, found ", kind_name(json.kind()));
  const Json* found = json.find(name);
  if (!found) input_error(where, ": ", name, ": missing");
  return *found;
}

template <class State>
void read_state(const Json& json, State& s, std::span<const StateField<State>> fields, const std::string& where) {
  for (const auto& f : fields) {
    const Json& v = state_member(json, f.name, where);
    if (!v.is_integer() || v.as_int() < 0)
      input_error(where, ": ", f.name, ": expected an integer of at least 0, found ", v.dump());
    s.*f.member = v.as_int();
  }
  s.rejects = RejectCounts::from_json(state_member(json, "rejects", where), cat(where, ": rejects"));
  s.epoch_rejects = RejectCounts::from_json(state_member(json, "epoch_rejects", where), cat(where, ": epoch_rejects"));
}

}  // namespace ov
