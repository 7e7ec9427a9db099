#include "base/error.h"
#include "data/pack/packed_loader.h"

namespace ov {
namespace {

// The integers of a state under their names, in one place for writing and reading.
struct Field {
  const char* name;
  std::int64_t PackedState::*member;
};
constexpr Field fields[] = {
    {"seed", &PackedState::seed},
    {"epoch", &PackedState::epoch},
    {"position", &PackedState::position},
    {"packs", &PackedState::packs},
    {"samples", &PackedState::samples},
    {"tokens", &PackedState::tokens},
    {"labelled_tokens", &PackedState::labelled_tokens},
    {"padding", &PackedState::padding},
};

}  // namespace

Json PackedState::json() const {
  Json out = Json::object({{"index", index}});
  for (const Field& f : fields) out.set(f.name, this->*f.member);
  out.set("rejects", rejects.json());
  out.set("epoch_rejects", epoch_rejects.json());
  return out;
}

PackedState PackedState::from_json(const Json& json, const std::string& where) {
  if (!json.is_object()) input_error(where, ": expected an object, found ", kind_name(json.kind()));
  const auto value = [&](const char* name) -> const Json& {
    const Json* found = json.find(name);
    if (!found) input_error(where, ": ", name, ": missing");
    return *found;
  };
  PackedState s;
  if (!value("index").is_string()) input_error(where, ": index: expected a checksum, found ", value("index").dump());
  s.index = value("index").as_string();
  for (const Field& f : fields) {
    const Json& v = value(f.name);
    if (!v.is_integer() || v.as_int() < 0)
      input_error(where, ": ", f.name, ": expected an integer of at least 0, found ", v.dump());
    s.*f.member = v.as_int();
  }
  s.rejects = RejectCounts::from_json(value("rejects"), cat(where, ": rejects"));
  s.epoch_rejects = RejectCounts::from_json(value("epoch_rejects"), cat(where, ": epoch_rejects"));
  return s;
}

}  // namespace ov
