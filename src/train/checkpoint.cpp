#include "train/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/durable_directory.h"
#include "base/file.h"
#include "model/hf_io.h"

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

}  // namespace

void save_checkpoint(const std::string& out, const Trainer& trainer, const Json& about) {
  for (const std::string& folder : {out, checkpoint_folder(out)})
    if (!exists(folder)) make_directory(folder, folder);
  DurableDirectory save(checkpoint_folder(out) + "/" + step_name(trainer.steps_done()));
  std::vector<NamedTensor> tensors;
  for (const auto& e : trainer.model().parameters().entries()) tensors.push_back({e.parameter.name, e.parameter.value});
  write_checkpoint(save.path(), tensors);
  write_safetensors(save.file("optimizer.safetensors"),
                    {{"m", trainer.optimizer().first_moment()}, {"v", trainer.optimizer().second_moment()}},
                    {{"steps", std::to_string(trainer.optimizer().steps())}});
  Json state = Json::object({{"step", trainer.steps_done()}, {"data", trainer.data().state()}});
  for (const auto& [key, value] : about.members()) state.set(key, value);
  write_durably(save.file("state.json"), state.dump(1) + "\n");
  save.commit();
}

std::optional<std::string> newest_checkpoint(const std::string& out) {
  const auto all = all_checkpoints(out);
  if (all.empty()) return std::nullopt;
  return all.back();
}

void load_checkpoint(const std::string& directory, Trainer& trainer) {
  load_weights(trainer.model(), CheckpointReader::open(directory));
  const Safetensors optimizer = Safetensors::open(directory + "/optimizer.safetensors");
  for (const auto& [name, to] : {std::pair<std::string, Tensor>{"m", trainer.optimizer().first_moment()},
                                 {"v", trainer.optimizer().second_moment()}}) {
    const Tensor from = optimizer.tensor(name);
    if (from.shape() != to.shape() || from.dtype() != to.dtype())
      input_error(directory, "/optimizer.safetensors: ", name, " holds ", name_of(from.dtype()), " ",
                  from.shape().str(), ", this run trains ", name_of(to.dtype()), " ", to.shape().str(),
                  "; the model or train.modules is another");
    to.copy_from(from);
  }
  const std::string path = directory + "/state.json";
  const Json state = Json::read(path);
  const auto steps = optimizer.metadata().find("steps");
  if (steps == optimizer.metadata().end()) input_error(directory, "/optimizer.safetensors: the step count is missing");
  trainer.optimizer().set_steps(std::stoll(steps->second));
  trainer.data().restore(state.at("data"));
  trainer.resumed_at(state.at("step").as_int());
}

void prune_checkpoints(const std::string& out, std::int64_t keep) {
  const auto all = all_checkpoints(out);
  const auto surplus = static_cast<std::int64_t>(all.size()) - std::max<std::int64_t>(1, keep);
  for (std::int64_t i = 0; i < surplus; ++i) remove_tree(all[static_cast<std::size_t>(i)]);
}

}  // namespace ov
