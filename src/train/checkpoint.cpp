#include "train/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <functional>

#include "base/error.h"
#include "base/io/durable_directory.h"
#include "base/io/file.h"
#include "base/revision.h"
#include "model/files/hf_directory.h"

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

namespace {

// What a rank has of elements [begin, end) that `own` of its flat buffer covers.
Range overlap(std::int64_t begin, std::int64_t end, Range own) {
  return {std::max(begin, own.begin), std::min(end, own.end)};
}

// What tensor-parallel ranks hold of a parameter, or of a moment of it, put together by the first; the others get null.
Tensor joined_of(const Parameters& parameters, const Parameters::Entry& e, const Tensor& own) {
  Communicator& ranks = parameters.tensor();
  if (ranks.ranks() == 1 || e.cut == Cut::none) return ranks.rank() == 0 ? own : Tensor();
  if (ranks.rank() != 0) {
    ranks.send(own.to(cpu()), 0);
    return {};
  }
  const Tensor whole(e.whole, own.dtype(), cpu(), Segment::workspace),
      part(e.shape, own.dtype(), cpu(), Segment::workspace);
  e.part_of(whole, 0).copy_from(e.blocks_of(own));
  for (int r = 1; r < ranks.ranks(); ++r) {
    ranks.recv(part, r);
    e.part_of(whole, r).copy_from(e.blocks_of(part));
  }
  return whole;
}

// As one rank would hold it: at the first rank of a pipeline, of those that share experts; the others get null.
Tensor whole_of(const Parameters& parameters, const Parameters::Entry& e, const Tensor& own) {
  const bool expert = e.expert_holder > 0;
  Communicator& ranks = expert ? parameters.experts() : parameters.pipe();
  const int holder = expert ? e.expert_holder : e.holder;
  if (!expert && parameters.experts().rank() != 0) return {};  // the first has it too
  const Tensor joined = parameters.holds(e) ? joined_of(parameters, e, own) : Tensor();
  if (holder == 0 || parameters.tensor().rank() != 0) return joined;
  if (parameters.holds(e)) ranks.send(joined.to(cpu()), 0);
  if (ranks.rank() != 0) return {};
  const Tensor whole(e.whole, own.dtype(), cpu(), Segment::workspace);
  ranks.recv(whole, holder);
  return whole;
}

// A trained parameter's part of a moment, of which every data-parallel rank holds some: rank 0 puts it together; the
// others get null.
Tensor moment_of(const TrainingState& run, const Parameters::Entry& e, const Tensor& moment) {
  const std::int64_t begin = e.parameter.gradient, end = begin + e.shape.numel(), trained = run.parameters.trained();
  const Range all = run.optimizer.own();
  // Where all is one chunk, a rank that has all of it cannot tell by that whether the others have it too.
  const bool one_has_all =
      run.ranks.ranks() > 1 && shard_of(trained, run.ranks.ranks() - 1, run.ranks.ranks()).size() == trained;
  if (all.size() == trained && !one_has_all) return moment.slice(0, begin, end).view(e.shape);
  const Tensor together = run.ranks.rank() == 0 ? Tensor(e.shape, moment.dtype(), cpu(), Segment::workspace) : Tensor();
  for (int r = 0; r < run.ranks.ranks(); ++r) {
    const Range part = overlap(begin, end, shard_of(trained, r, run.ranks.ranks()));
    if (part.size() <= 0 || (run.ranks.rank() != 0 && run.ranks.rank() != r)) continue;
    const auto own = [&] { return moment.slice(0, part.begin - all.begin, part.end - all.begin); };
    if (run.ranks.rank() != 0) run.ranks.send(own().to(cpu()), 0);
    else if (const Tensor to = together.flat().slice(0, part.begin - begin, part.end - begin); r == 0)
      to.copy_from(own());
    else run.ranks.recv(to, r);
  }
  return together;
}

// The first rank of all writes the files that one rank would write, parameter by parameter, from what the others send:
// neither the model nor its moments ever lie in one place.
void write_weights(const std::string& directory, const TrainingState& run, bool writes) {
  std::vector<TensorInfo> tensors;
  std::vector<const Parameters::Entry*> entries;
  for (const auto& e : run.parameters.entries()) {
    const bool master = e.parameter.trainable && run.parameters.masters();
    tensors.push_back({e.parameter.name, (master ? run.parameters.masters() : e.parameter.value).dtype(), e.whole});
    entries.push_back(&e);
  }
  const bool divided = run.parallel && run.parallel->divides_values();
  const auto tensor = [&](std::size_t i) {
    const Tensor own = divided ? run.parallel->precise(*entries[i]) : run.parameters.precise(entries[i]->parameter);
    return run.ranks.rank() == 0 ? whole_of(run.parameters, *entries[i], own) : Tensor();
  };
  if (writes) write_checkpoint(directory, tensors, tensor);
  else if (run.ranks.rank() == 0 || divided)
    for (std::size_t i = 0; i < entries.size(); ++i) tensor(i);
}

// The next rows of a file, small ones together in pieces.
class Pieces {
 public:
  explicit Pieces(SafetensorsWriter& file) : file_(file) {}
  void add(const Tensor& rows) {
    rows_.push_back(rows), count_ += rows.numel();
    if (count_ >= 1 << 20) flush();
  }
  void flush() {
    if (count_ == 0) return;
    const Tensor all({count_}, rows_[0].dtype(), cpu(), Segment::workspace);
    std::int64_t at = 0;
    for (const Tensor& r : rows_) all.slice(0, at, at + r.numel()).copy_from(r), at += r.numel();
    file_.write_rows(all);
    rows_.clear(), count_ = 0;
  }

 private:
  SafetensorsWriter& file_;
  std::vector<Tensor> rows_;
  std::int64_t count_ = 0;
};

void write_moments(const std::string& path, const TrainingState& run, bool writes) {
  const Optimizer& o = run.optimizer;
  const Shape shape{run.parameters.whole_count().trained};
  std::optional<SafetensorsWriter> file;
  if (writes)
    file.emplace(
        path, std::vector<TensorInfo>{{"m", o.first_moment().dtype(), shape}, {"v", o.second_moment().dtype(), shape}},
        std::map<std::string, std::string>{{"steps", std::to_string(o.steps())},
                                           {"trained", trained_names(run.parameters)}});
  for (const Tensor& moment : {o.first_moment(), o.second_moment()}) {
    std::optional<Pieces> pieces;
    if (file) pieces.emplace(*file);
    for (const auto& e : run.parameters.entries()) {
      if (!e.parameter.trainable) continue;
      const Tensor own = moment_of(run, e, moment);
      const Tensor whole = own ? whole_of(run.parameters, e, own) : own;
      if (pieces) pieces->add(whole.flat());
    }
    if (pieces) pieces->flush();
  }
  if (file) file->commit();
}

}  // namespace

void save_checkpoint(const std::string& out, const TrainingState& run, const Json& about) {
  const Parameters& parameters = run.parameters;
  if (run.context.rank() != 0) return;
  if (run.ranks.rank() != 0 || parameters.tensor().rank() != 0 || parameters.pipe().rank() != 0 ||
      parameters.experts().rank() != 0) {
    write_weights("", run, false);
    return write_moments("", run, false);
  }
  make_directories(checkpoint_folder(out));
  DurableDirectory save(checkpoint_folder(out) + "/" + step_name(run.step), writer);
  write_weights(save.path(), run, true);
  write_moments(save.file("optimizer.safetensors"), run, true);
  Json state =
      Json::object({{"version", state_version}, {"revision", revision()}, {"step", run.step}, {"data", run.data}});
  for (const auto& [key, value] : about.members()) state.set(key, value);
  write_durably(save.file("state.json"), state.dump(1) + "\n");
  save.commit();
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
  const Safetensors moments = Safetensors::open(directory + "/optimizer.safetensors");
  const std::string& steps = metadata(moments, "steps");
  if (step_in(directory.substr(directory.rfind('/') + 1)) != step || whole_number(steps) != step)
    input_error(path, ": step is ", step, ", but the directory is ", directory.substr(directory.rfind('/') + 1),
                " and the optimiser has made ", steps, " steps");
  if (!state.find("data")) input_error(path, ": data: missing");
  return state;
}

void load_checkpoint(const std::string& directory, const Json& checked, TrainingState& run) {
  const CheckpointReader weights = CheckpointReader::open(directory);
  weights.check_names(expected_names(run.parameters, true));
  const Safetensors moments = Safetensors::open(directory + "/optimizer.safetensors");
  check_trained(moments, run.parameters);
  for (const auto& [name, to] :
       {std::pair<std::string, Tensor>{"m", run.optimizer.first_moment()}, {"v", run.optimizer.second_moment()}}) {
    const Tensor from = moments.tensor(name);
    const Shape whole{run.parameters.whole_count().trained};
    if (from.shape() != whole || from.dtype() != to.dtype())
      input_error(moments.path(), ": ", name, " holds ", name_of(from.dtype()), " ", from.shape().str(),
                  ", this run has ", name_of(to.dtype()), " ", whole.str(),
                  from.dtype() != to.dtype() ? "; dtype or optimizer.moments is another" : "");
    const Range own = run.optimizer.own();
    std::int64_t at = 0;
    for (const auto& e : run.parameters.entries()) {
      if (!e.parameter.trainable) continue;
      const std::int64_t first = e.parameter.gradient;
      const Range part = overlap(first, first + e.shape.numel(), own);
      const Tensor all = from.slice(0, at, at + e.whole.numel());
      at += e.whole.numel();
      if (part.size() <= 0) continue;
      const Tensor mine = e.part_of(all, run.parameters.tensor().rank()).contiguous_copy(Segment::workspace).flat();
      to.slice(0, part.begin - own.begin, part.end - own.begin)
          .copy_from(mine.slice(0, part.begin - first, part.end - first));
    }
  }
  const auto load = [&] { load_weights(run.parameters, weights); };
  if (run.parallel) run.parallel->change_values(load);
  else load();
  run.step = checked.at("step").as_int();
  run.optimizer.set_steps(run.step);
  run.data = checked.at("data");
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
