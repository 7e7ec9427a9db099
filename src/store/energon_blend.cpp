#include "store/energon_blend.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/io/file.h"
#include "base/text.h"
#include "store/yaml.h"

namespace ov {
namespace {

// More than any mixture has. Files that each name the next twice would come to 2^31 sets at the depth that is read.
constexpr std::size_t most_sets = 1 << 12;

enum class Mode { one, weights, repetitions };
struct Sets {
  Mode mode = Mode::one;
  std::vector<EnergonSet> sets;
};

const std::vector<std::string> known_keys = {
    "path", "weight", "repetitions", "subflavors", "subflavor", "split_part", "shuffle_over_epochs_multiplier"};
const std::vector<std::string> refused_keys = {"join", "joiner",         "nonmatch",    "subset",
                                               "aux",  "dataset_config", "split_config"};

void check_keys(const Yaml& entry, const std::string& share) {
  for (const auto& [key, value] : entry.members()) {
    const bool other_share = (key == "weight" || key == "repetitions") && key != share;
    if (std::find(refused_keys.begin(), refused_keys.end(), key) != refused_keys.end() && value)
      input_error(value.where(), ": '", key, "' is not supported: what it selects would be another data set");
    if (key == "shuffle_over_epochs_multiplier" && value.json().dump() != "1")
      input_error(value.where(), ": shuffle_over_epochs_multiplier ", value ? value.word() : std::string("null"),
                  " is not supported: every epoch is shuffled for itself; expected 1");
    if (other_share || (std::find(known_keys.begin(), known_keys.end(), key) == known_keys.end() &&
                        std::find(refused_keys.begin(), refused_keys.end(), key) == refused_keys.end()))
      input_error(value.where(), ": unknown key '", shown(key), "' of a data set in a mixture",
                  did_you_mean(key, known_keys));
  }
}

Sets read_file_of_sets(const std::string& path, const std::string& split, std::vector<std::string> above);

Sets read_entry(const Yaml& entry, const std::string& share, const std::string& file, std::string split,
                const std::vector<std::string>& above) {
  check_keys(entry, share);
  const std::string given = entry["path"].word();
  if (given.empty()) input_error(entry.where(), ": expected a path: of a data set or of another mixture");
  if (given.find("://") != given.npos)
    input_error(entry.where(), ": '", shown(given), "': only paths of this machine are read");
  const std::string path = given[0] == '/' ? given : parent_directory(file) + "/" + given;
  if (!path_exists(path)) input_error(entry.where(), ": ", path, ": no such file or directory");
  if (const Yaml part = entry["split_part"]) split = part.word();
  Sets sets;
  if (is_energon_blend(path)) sets = read_file_of_sets(path, split, above);
  else sets.sets.push_back({path, split, 1, Json::object()});
  Json own = Json::object();
  if (const Yaml one = entry["subflavor"]) own.set("__subflavor__", one.json());
  if (const Yaml map = entry["subflavors"])
    for (const auto& [key, value] : map.members()) own.set(key, value.json());
  for (EnergonSet& set : sets.sets)
    for (const auto& [key, value] : own.members()) set.subflavors.set(key, value);
  return sets;
}

Sets blend(const Yaml& list, Mode mode, const std::string& file, const std::string& split,
           const std::vector<std::string>& above) {
  const std::string share = mode == Mode::weights ? "weight" : "repetitions";
  double sum = 0;
  for (const Yaml& entry : list.items()) {
    const double s = entry[share].number(1);
    if (!(s >= 0) || !std::isfinite(s)) input_error(entry[share].where(), ": ", share, " ", s, ", expected 0 or more");
    sum += s;
  }
  if (!(sum > 0)) input_error(list.where(), ": no data set has a ", share, " above 0");
  Sets out{mode, {}};
  for (const Yaml& entry : list.items()) {
    Sets inner = read_entry(entry, share, file, split, above);
    if (inner.mode != Mode::one && inner.mode != mode)
      input_error(entry.where(), ": a blend by weights and a blend_epochized do not mix");
    for (EnergonSet& set : inner.sets) {
      set.share *= entry[share].number(1) / (mode == Mode::weights ? sum : 1);
      out.sets.push_back(std::move(set));
      if (out.sets.size() > most_sets)
        input_error(entry.where(), ": with this entry the mixture has more than ", most_sets, " data sets");
    }
  }
  return out;
}

Sets read_file_of_sets(const std::string& path, const std::string& split, std::vector<std::string> above) {
  if (std::find(above.begin(), above.end(), path) != above.end() || above.size() >= 32)
    input_error(path, ": this mixture leads to itself");
  above.push_back(path);
  const Yaml file = Yaml::read(path);
  const std::string name = file["__class__"] ? file["__class__"].word() : "Metadataset";
  if (name != "Metadataset" && name != "MetadatasetV2")
    input_error(file["__class__"].where(), ": class '", shown(name), "': expected Metadataset or MetadatasetV2");
  for (const auto& [key, value] : file.members())
    if (key != "__module__" && key != "__class__" && key != "splits")
      input_error(value.where(), ": unknown key '", shown(key), "' of a mixture; expected splits");
  const Yaml one = file["splits"][split];
  if (!one) {
    std::string known;
    for (const auto& [key, value] : file["splits"].members()) known += (known.empty() ? "" : ", ") + key;
    input_error(path, ": has no split '", split, "'; it has ", known.empty() ? std::string("none") : shown(known));
  }
  const auto only = [&](const char* key) {
    for (const auto& [other, value] : one.members())
      if (other != key) input_error(value.where(), ": '", shown(other), "' beside ", key, " is not supported");
    return one[key];
  };
  if (name == "Metadataset") return blend(only("datasets"), Mode::weights, path, split, above);
  if (one["blend"]) return blend(only("blend"), Mode::weights, path, split, above);
  if (one["blend_epochized"]) return blend(only("blend_epochized"), Mode::repetitions, path, split, above);
  return read_entry(one, "", path, split, above);
}

}  // namespace

bool is_energon_blend(const std::string& path) { return path.ends_with(".yaml") || path.ends_with(".yml"); }

EnergonBlend read_energon_blend(const std::string& path, const std::string& split) {
  Sets sets = read_file_of_sets(path, split, {});
  return {sets.mode == Mode::repetitions, std::move(sets.sets)};
}

}  // namespace ov
