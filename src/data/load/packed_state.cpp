#include "data/load/packed_loader.h"
#include "data/load/state_json.h"

namespace ov {
namespace {

constexpr StateField<PackedState> fields[] = {
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
  write_state<PackedState>(out, *this, fields);
  return out;
}

PackedState PackedState::from_json(const Json& json, const std::string& where) {
  PackedState s;
  const Json& index = state_member(json, "index", where);
  if (!index.is_string()) input_error(where, ": index: expected a checksum, found ", index.dump());
  s.index = index.as_string();
  read_state<PackedState>(json, s, fields, where);
  return s;
}

}  // namespace ov
