#include "train/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/io/durable_directory.h"
#include "base/io/file.h"
#include "base/revision.h"
#include "model/files/hf_directory.h"
#include "train/checkpoint_parts.h"

namespace ov {
namespace {

std::string checkpoint_folder(const std::string& out) { return out + "/checkpoints"; }

bool exists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

// -1 when the text is anything but decimal digits.
std::int64_t whole_number(const std::string& text) {
  std::int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : -1;
}

std::string step_name(std::int64_t step) {
  std::string digits = std::to_string(step);
  return "step-" + std::string(8 - std::min<std::size_t>(8, digits.size()), '0') + digits;
}

// The step in the name of a checkpoint's directory, -1 when it is none: what users put beside them is theirs.
std::int64_t step_in(const std::string& name) {
  constexpr std::string_view prefix = "step-";
  const std::int64_t step = name.starts_with(prefix) ? whole_number(name.substr(prefix.size())) : -1;
  return step >= 0 && name == step_name(step) ? step : -1;
}

constexpr const char* writer = "checkpoint";
constexpr std::int64_t state_version = 2;

// Names of the trained parameters, one a line: what the moments belong to.
std::string trained_names(const Parameters& parameters) {
  std::string names;
  for (const auto& e : parameters.entries())
    if (e.parameter.trainable) names += e.parameter.name + "\n";
  return names;
}

// The moments must belong to the parameters that this run trains.
void check_trained(const SavedMoments& moments, const Parameters& parameters) {
  const std::string &saved = moments.trained(), ours = trained_names(parameters);
  if (saved == ours) return;
  const auto [a, b] = std::mismatch(saved.begin(), saved.end(), ours.begin(), ours.end());
  const auto line = [](const std::string& text, std::string::const_iterator at) {
    const auto begin = text.rfind('\n', static_cast<std::size_t>(at - text.begin()) - (at != text.begin()));
    const std::size_t first = begin == text.npos || at == text.begin() ? 0 : begin + 1;
    return first < text.size() ? text.substr(first, text.find('\n', first) - first) : "nothing more";
  };
  input_error(moments.path(), ": holds the moments of ", line(saved, a), " where this run trains ", line(ours, b),
              "; train.modules or train.train_class_params is another");
}

Range overlap(std::int64_t begin, std::int64_t end, Range own) {
  return {std::max(begin, own.begin), std::min(end, own.end)};
}

void take_weights(const CheckpointReader& weights, TrainingState& run) {
  const auto load = [&] { load_weights(run.parameters, weights); };
  if (run.parallel) run.parallel->change_values(load);
  else load();
}

}  // namespace

void save_checkpoint(const std::string& out, const TrainingState& run, const Json& about) {
  const Together all = ranks_of(run);
  const std::string folder = checkpoint_folder(out), path = folder + "/" + step_name(run.step);
  std::optional<DurableDirectory> save;
  all.attempt([&] {
    if (all.rank() != 0) return;
    make_directories(folder);
    // What a cut save left there, a rank of which may have written on while it was cleared away.
    if (!DurableDirectory::complete(path + ".partial")) remove_tree(path + ".partial");
    save.emplace(path, writer);
  });
  const std::string directory = all.hear(save ? save->path() : "", 0);
  SavedParts::Part part;
  all.attempt([&] {
    if (all.ranks() == 1) write_whole(directory, run, trained_names(run.parameters));
    else part = write_part(directory, run, all);
  });
  const std::vector<SavedParts::Part> parts = gathered(part, all);
  all.attempt([&] {
    if (all.rank() != 0) return;
    std::map<std::string, std::string> digests;
    if (all.ranks() > 1) digests = write_index(directory, run, trained_names(run.parameters), parts);
    Json state =
        Json::object({{"version", state_version}, {"revision", revision()}, {"step", run.step}, {"data", run.data}});
    for (const auto& [key, value] : about.members()) state.set(key, value);
    write_durably(directory + "/state.json", state.dump(1) + "\n");
    save->commit(DurableDirectory::Flush::each_file, digests);
  });
}

std::vector<std::string> checkpoints(const std::string& out) {
  const std::string folder = checkpoint_folder(out);
  if (!exists(folder)) return {};
  for (const std::string& name : list_directory(folder))
    for (const std::string_view end : {".partial", ".old"})
      if (name.ends_with(end) && step_in(name.substr(0, name.size() - end.size())) >= 0)
        DurableDirectory::recover(folder + "/" + name.substr(0, name.size() - end.size()));
  std::vector<std::pair<std::int64_t, std::string>> found;
  for (const std::string& name : list_directory(folder))
    if (const std::int64_t step = step_in(name); step >= 0) found.emplace_back(step, folder + "/" + name);
  std::sort(found.begin(), found.end());
  const auto whole = std::find_if(found.begin(), found.end(),
                                  [](const auto& entry) { return DurableDirectory::complete(entry.second); });
  std::vector<std::string> paths;
  for (auto at = whole == found.end() ? found.begin() : whole; at != found.end(); ++at) paths.push_back(at->second);
  return paths;
}

Json checked_checkpoint(const std::string& directory) {
  DurableDirectory::verify(directory, writer);
  const std::string path = directory + "/state.json";
  const Json state = Json::read(path);
  const auto number = [&](const char* key) {
    const Json* value = state.is_object() ? state.find(key) : nullptr;
    if (!value || !value->is_integer() || value->as_int() < 0)
      input_error(path, ": ", key, ": expected a whole number of at least 0, found ",
                  value ? value->shown() : "nothing");
    return value->as_int();
  };
  if (const std::int64_t version = number("version"); version != state_version)
    input_error(path, ": is of version ", version, ", this program reads version ", state_version);
  const std::int64_t step = number("step");
  const std::string steps = SavedMoments::open(directory).steps();
  if (step_in(directory.substr(directory.rfind('/') + 1)) != step || whole_number(steps) != step)
    input_error(path, ": step is ", step, ", but the directory is ", directory.substr(directory.rfind('/') + 1),
                " and the optimiser has made ", steps, " steps");
  if (!state.find("data")) input_error(path, ": data: missing");
  return state;
}

void load_checkpoint(const std::string& directory, const Json& checked, TrainingState& run) {
  const CheckpointReader weights = CheckpointReader::open(directory);
  weights.check_names(expected_names(run.parameters, true));
  const SavedMoments moments = SavedMoments::open(directory);
  check_trained(moments, run.parameters);
  const Tensor to[] = {run.optimizer.first_moment(), run.optimizer.second_moment()};
  moments.check(to[0].dtype(), run.parameters.whole_count().trained);
  const Range own = run.optimizer.own();
  std::int64_t at = 0;
  for (const auto& e : run.parameters.entries()) {
    if (!e.parameter.trainable) continue;
    const std::int64_t first = e.parameter.gradient, place = std::exchange(at, at + e.whole.numel());
    const Range part = overlap(first, first + e.shape.numel(), own);
    for (int which = 0; which < 2 && part.size() > 0; ++which) {
      const Tensor all = moments.tensor(which, e.parameter.name, place, e.whole.numel());
      const Tensor mine = e.part_of(all, run.parameters.tensor().rank()).contiguous_copy(Segment::workspace).flat();
      to[which]
          .slice(0, part.begin - own.begin, part.end - own.begin)
          .copy_from(mine.slice(0, part.begin - first, part.end - first));
    }
  }
  take_weights(weights, run);
  run.step = checked.at("step").as_int();
  run.optimizer.set_steps(run.step);
  run.data = checked.at("data");
}

void load_checkpoint_weights(const std::string& directory, TrainingState& run) {
  const CheckpointReader weights = CheckpointReader::open(directory);
  weights.check_names(expected_names(run.parameters, true));
  take_weights(weights, run);
}

void set_aside(const std::string& directory) {
  remove_tree(directory + ".damaged");
  rename_path(directory, directory + ".damaged", directory);
}

void prune_checkpoints(const std::string& out, std::int64_t keep) {
  const auto all = checkpoints(out);
  const auto surplus = static_cast<std::int64_t>(all.size()) - std::max<std::int64_t>(1, keep);
  for (std::int64_t i = 0; i < surplus; ++i) {
    const std::string& path = all[static_cast<std::size_t>(i)];
    try {
      if (!DurableDirectory::foreign_files(path).empty()) continue;
    } catch (const Error&) {}  // a damaged marker lists nothing
    // The marker goes first: what is half removed must not look complete.
    remove_tree(path + "/" + DurableDirectory::marker);
  }
  // What has no marker was cut, now or in an earlier run: while saving, or here.
  const std::string folder = checkpoint_folder(out);
  if (!exists(folder)) return;
  for (const std::string& name : list_directory(folder)) {
    const std::string path = folder + "/" + name;
    const bool partial = name.ends_with(".partial") && step_in(name.substr(0, name.find('.'))) >= 0;
    if ((partial || step_in(name) >= 0) && !DurableDirectory::complete(path)) remove_tree(path);
  }
}

}  // namespace ov
