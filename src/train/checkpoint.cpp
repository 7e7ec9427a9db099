#include "train/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/io/durable_directory.h"
#include "base/io/file.h"
#include "model/files/hf_directory.h"

namespace ov {
namespace {

std::string checkpoint_folder(const std::string& out) { return out + "/checkpoints"; }

bool exists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

std::string step_name(std::int64_t step) {
  std::string digits = std::to_string(step);
  return "step-" + std::string(8 - std::min<std::size_t>(8, digits.size()), '0') + digits;
}

// Complete checkpoints, oldest first.
std::vector<std::string> all_checkpoints(const std::string& out) {
  const std::string folder = checkpoint_folder(out);
  if (!exists(folder)) return {};
  for (const std::string& name : list_directory(folder))
    for (const char* end : {".partial", ".old"})
      if (name.ends_with(end))
        DurableDirectory::recover(folder + "/" + name.substr(0, name.size() - std::string(end).size()));
  std::vector<std::string> found;
  for (const std::string& name : list_directory(folder))
    if (name.starts_with("step-") && name.find('.') == name.npos && DurableDirectory::complete(folder + "/" + name))
      found.push_back(folder + "/" + name);
  return found;
}

// Names of the trained parameters, one a line: what the moments belong to.
std::string trained_names(const Parameters& parameters) {
  std::string names;
  for (const auto& e : parameters.entries())
    if (e.parameter.trainable) names += e.parameter.name + "\n";
  return names;
}

const std::string& metadata(const Safetensors& file, const char* key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) input_error(file.path(), ": __metadata__ lacks '", key, "'");
  return found->second;
}

// The moments must belong to the parameters that this run trains.
void check_trained(const Safetensors& moments, const Parameters& parameters) {
  const std::string &saved = metadata(moments, "trained"), ours = trained_names(parameters);
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

}  // namespace

void save_checkpoint(const std::string& out, const TrainingState& run, const Json& about) {
  for (const std::string& folder : {out, checkpoint_folder(out)})
    if (!exists(folder)) make_directory(folder, folder);
  DurableDirectory save(checkpoint_folder(out) + "/" + step_name(run.step));
  std::vector<NamedTensor> tensors;
  for (const auto& e : run.parameters.entries()) tensors.push_back({e.parameter.name, e.parameter.value});
  write_checkpoint(save.path(), tensors);
  write_safetensors(save.file("optimizer.safetensors"),
                    {{"m", run.optimizer.first_moment()}, {"v", run.optimizer.second_moment()}},
                    {{"steps", std::to_string(run.optimizer.steps())}, {"trained", trained_names(run.parameters)}});
  Json state = Json::object({{"step", run.step}, {"data", run.data}});
  for (const auto& [key, value] : about.members()) state.set(key, value);
  write_durably(save.file("state.json"), state.dump(1) + "\n");
  save.commit();
}

void save_checkpoint(const std::string& out, const Trainer& trainer, const Json& about) {
  save_checkpoint(
      out, {trainer.model().parameters(), trainer.optimizer(), trainer.steps_done(), trainer.data().state()}, about);
}

std::optional<std::string> newest_checkpoint(const std::string& out) {
  const auto all = all_checkpoints(out);
  if (all.empty()) return std::nullopt;
  return all.back();
}

void load_checkpoint(const std::string& directory, TrainingState& run) {
  const CheckpointReader weights = CheckpointReader::open(directory);
  weights.check_names(expected_names(run.parameters));
  const Safetensors moments = Safetensors::open(directory + "/optimizer.safetensors");
  check_trained(moments, run.parameters);
  for (const auto& [name, to] :
       {std::pair<std::string, Tensor>{"m", run.optimizer.first_moment()}, {"v", run.optimizer.second_moment()}}) {
    const Tensor from = moments.tensor(name);
    if (from.shape() != to.shape() || from.dtype() != to.dtype())
      input_error(moments.path(), ": ", name, " holds ", name_of(from.dtype()), " ", from.shape().str(),
                  ", this run has ", name_of(to.dtype()), " ", to.shape().str());
    to.copy_from(from);
  }
  load_weights(run.parameters, weights);
  const Json state = Json::read(directory + "/state.json");
  run.optimizer.set_steps(std::stoll(metadata(moments, "steps")));
  run.step = state.at("step").as_int();
  run.data = state.at("data");
}

void load_checkpoint(const std::string& directory, Trainer& trainer) {
  TrainingState state{trainer.model().parameters(), trainer.optimizer()};
  load_checkpoint(directory, state);
  trainer.data().restore(state.data);
  trainer.resumed_at(state.step);
}

void prune_checkpoints(const std::string& out, std::int64_t keep) {
  const auto all = all_checkpoints(out);
  const auto surplus = static_cast<std::int64_t>(all.size()) - std::max<std::int64_t>(1, keep);
  // The marker goes first: what is half removed must not look complete.
  for (std::int64_t i = 0; i < surplus; ++i)
    remove_tree(all[static_cast<std::size_t>(i)] + "/" + DurableDirectory::marker);
  // What has no marker was cut, now or in an earlier run: while saving, or here.
  const std::string folder = checkpoint_folder(out);
  if (!exists(folder)) return;
  for (const std::string& name : list_directory(folder))
    if (name.starts_with("step-") && !DurableDirectory::complete(folder + "/" + name)) remove_tree(folder + "/" + name);
}

}  // namespace ov
