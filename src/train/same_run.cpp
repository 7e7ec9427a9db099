#include "train/same_run.h"

#include <algorithm>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/hash.h"
#include "base/io/mapped_file.h"
#include "base/revision.h"
#include "train/run_log.h"

namespace ov {
namespace {

// Values under their whole names: {"train": {"steps": 4}} is train.steps.
void flatten(const Json& object, const std::string& prefix, std::map<std::string, Json>& values) {
  for (const auto& [name, value] : object.members())
    if (value.is_object()) flatten(value, prefix + name + ".", values);
    else values.insert_or_assign(prefix + name, value);
}

std::map<std::string, Json> values_of(const Json& about, const char* member) {
  std::map<std::string, Json> values;
  const Json* object = about.is_object() ? about.find(member) : nullptr;
  if (object && object->is_object()) flatten(*object, "", values);
  return values;
}

using Difference = std::function<void(const std::string& name, const Json& old_value, const Json& new_value)>;

void differences(const Json& stored, const Json& now, const char* member, const Difference& differs) {
  auto before = values_of(stored, member), after = values_of(now, member);
  for (const auto& [name, value] : before) after.try_emplace(name);
  for (const auto& [name, value] : after)
    if (before[name].dump() != value.dump()) differs(name, before[name], value);
}

}  // namespace

Json check_same_run(const std::string& checkpoint, const Json& stored, const Json& now,
                    const std::vector<std::string>& may_change, const std::vector<std::string>& defaults) {
  const auto has = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  Json changed = Json::object();
  std::string wrong;
  const auto list = [&](const std::string& name, const Json& old_value, const Json& new_value) {
    wrong += cat(wrong.empty() ? "" : "; ", name, " was ", old_value.shown(), " and is ", new_value.shown());
  };
  differences(stored, now, "config", [&](const std::string& name, const Json& old_value, const Json& new_value) {
    if (old_value.is_null() && has(defaults, name)) return;
    if (!has(may_change, name)) list(name, old_value, new_value);
    else changed.set(name, std::vector<Json>{old_value, new_value});
  });
  const std::string keys = wrong;
  differences(stored, now, "sources", list);
  if (wrong != keys)  // a source is a hash: which key names another file shows what to give back
    for (const auto& [name, values] : changed.members())
      wrong += cat("; beside it ", name, " was ", values[0].shown(), " and is ", values[1].shown());
  if (!wrong.empty())
    input_error(checkpoint, ": is of another run: ", wrong,
                ". Give the old values to go on with that run, or another train.out");
  return changed;
}

void check_same_on_ranks(Communicator& ranks, Json given, bool program) {
  if (ranks.ranks() == 1) return;
  if (program) {
    const auto file = MappedFile::open("/proc/self/exe");
    const std::string_view bytes = file->text();
    given.set("program",
              Json::object({{"revision", revision()},
                            {"checksum", hex16(checksum(bytes.data(), static_cast<std::int64_t>(bytes.size())))}}));
  }
  const Json first = Json::parse(broadcast_text(ranks, given.dump(), 0), "rank 0");
  std::string wrong;
  bool files = false;
  for (const char* member : {"program", "config", "sources", "data"})
    differences(first, given, member, [&](const std::string& name, const Json& there, const Json& here) {
      wrong += cat(wrong.empty() ? "" : "; ", member, ": ", name, " is ", here.shown(), ", on rank 0 ", there.shown());
      files = files || std::string_view(member) == "sources" || std::string_view(member) == "data";
    });
  if (!wrong.empty())
    input_error("rank ", ranks.rank(), " was given another run than rank 0: ", wrong,
                files ? "; model and data, as this rank read them, hold other bytes than rank 0's" : "");
  ranks.barrier();
}

}  // namespace ov
