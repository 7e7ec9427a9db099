#include "data/load/loader_state.h"

#include <algorithm>

#include "base/error.h"

namespace ov {
namespace {

struct Field {
  const char* name;
  std::int64_t LoaderState::*member;
};

constexpr Field fields[] = {
    {"seed", &LoaderState::seed},
    {"records", &LoaderState::records},
    {"samples_of_step", &LoaderState::samples_of_step},
    {"step", &LoaderState::step},
    {"samples", &LoaderState::samples},
    {"empty", &LoaderState::empty},
    {"tokens", &LoaderState::tokens},
    {"labelled_tokens", &LoaderState::labelled_tokens},
    {"padding", &LoaderState::padding},
};

const Json& member(const Json& json, const char* name, const std::string& where) {
  if (!json.is_object()) input_error(where, ": expected an object, found ", kind_name(json.kind()));
  const Json* found = json.find(name);
  if (!found) input_error(where, ": ", name, ": missing");
  return *found;
}

std::int64_t count(const Json& v, const char* name, const std::string& where) {
  if (!v.is_integer() || v.as_int() < 0)
    input_error(where, ": ", name, ": expected an integer of at least 0, found ", v.dump());
  return v.as_int();
}

}  // namespace

Json LoaderState::json() const {
  Json out = Json::object({{"data", data}});
  for (const Field& f : fields) out.set(f.name, this->*f.member);
  out.set("rejected", rejected);
  out.set("rejects", rejects.json());
  return out;
}

LoaderState LoaderState::from_json(const Json& json, const std::string& where) {
  LoaderState s;
  const Json& data = member(json, "data", where);
  if (!data.is_string()) input_error(where, ": data: expected a fingerprint, found ", data.dump());
  s.data = data.as_string();
  for (const Field& f : fields) s.*f.member = count(member(json, f.name, where), f.name, where);
  const Json& list = member(json, "rejected", where);
  if (!list.is_array()) input_error(where, ": rejected: expected a list of records, found ", list.dump());
  for (const Json& r : list.items()) s.rejected.push_back(count(r, "rejected", where));
  std::sort(s.rejected.begin(), s.rejected.end());
  s.rejects = RejectCounts::from_json(member(json, "rejects", where), cat(where, ": rejects"));
  if (s.rejects.total() != static_cast<std::int64_t>(s.rejected.size()))
    input_error(where, ": rejects: counts ", s.rejects.total(), " records, but ", s.rejected.size(), " are named");
  return s;
}

LoaderState first_state(const SlotOrder& order, const std::string& data) {
  LoaderState s;
  s.data = data;
  s.seed = order.seed();
  s.records = order.records();
  s.samples_of_step = order.per_step();
  return s;
}

void check_same_data(const LoaderState& own, const LoaderState& given, const std::string& path) {
  if (given.records != own.records)
    input_error(path, ": holds ", own.records, " records, but the state to resume from is of ", given.records);
  if (given.data != own.data)
    input_error(path, ": is not the data of the state to resume from: its content has changed (fingerprint ", own.data,
                ", then ", given.data, ")");
  if (given.seed != own.seed)
    input_error("data.seed is ", own.seed, ", but in the state to resume from it is ", given.seed);
  if (given.samples_of_step != own.samples_of_step)
    input_error("train.micro_batches: a step has ", own.samples_of_step,
                " samples or packs, but in the state to resume from it has ", given.samples_of_step);
}

}  // namespace ov
