#include "data/load/loader_state.h"

#include "data/load/state_json.h"

namespace ov {
namespace {

constexpr StateField<LoaderState> fields[] = {
    {"seed", &LoaderState::seed},
    {"records", &LoaderState::records},
    {"epoch", &LoaderState::epoch},
    {"position", &LoaderState::position},
    {"samples", &LoaderState::samples},
    {"tokens", &LoaderState::tokens},
    {"labelled_tokens", &LoaderState::labelled_tokens},
    {"padding", &LoaderState::padding},
};

}  // namespace

Json LoaderState::json() const {
  Json out = Json::object();
  write_state<LoaderState>(out, *this, fields);
  return out;
}

LoaderState LoaderState::from_json(const Json& json, const std::string& where) {
  LoaderState s;
  read_state<LoaderState>(json, s, fields, where);
  return s;
}

}  // namespace ov
