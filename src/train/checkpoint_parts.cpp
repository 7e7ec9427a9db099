#include "train/checkpoint_parts.h"

#include <algorithm>
#include <filesystem>

#include "base/hash.h"
#include "base/sha256.h"
#include "parallel/shares.h"
#include "store/hf_names.h"
#include "store/hf_weights.h"

namespace ov {
namespace {

constexpr const char* same_files = "; give all ranks the same file system for train.out";

const std::string& metadata(const Safetensors& file, const char* key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) input_error(file.path(), ": __metadata__ lacks '", key, "'");
  return found->second;
}

// Elements of a parameter with all digits, flat, which this rank has.
Tensor weights_of(const TrainingState& run, const Parameters::Entry& e, Range part) {
  const Parameters& parameters = run.parameters;
  const Parameters::Stretch master = parameters.master_of(e.parameter);
  if (master.values) return master.values.slice(0, part.begin - master.begin, part.end - master.begin);
  if (run.parallel) return run.parallel->kept(e, part);
  return parameters.values().slice(0, e.offset + part.begin, e.offset + part.end);
}

Tensor moments_of(const TrainingState& run, const Tensor& moment, const Parameters::Entry& e, Range part) {
  const std::int64_t first = e.parameter.gradient - run.optimizer.own().begin;
  return moment.slice(0, first + part.begin, first + part.end);
}

}  // namespace

Together ranks_of(const TrainingState& run) {
  const Parameters& p = run.parameters;
  return Together({&p.tensor(), &run.context, &p.pipe(), &p.experts(), &run.ranks});
}

void write_whole(const std::string& directory, const TrainingState& run, const std::string& trained) {
  const Parameters& parameters = run.parameters;
  std::vector<TensorInfo> infos;
  std::vector<Tensor> tensors;
  for (const auto& e : parameters.entries()) {
    tensors.push_back(parameters.precise(e.parameter));
    infos.push_back({e.parameter.name, tensors.back().dtype(), e.shape});
  }
  write_checkpoint(directory, infos, [&](std::size_t i) { return tensors[i]; });
  const Tensor moments[] = {run.optimizer.first_moment(), run.optimizer.second_moment()};
  SafetensorsWriter file(directory + "/optimizer.safetensors",
                         {{"m", moments[0].dtype(), moments[0].shape()}, {"v", moments[1].dtype(), moments[1].shape()}},
                         {{"steps", std::to_string(run.optimizer.steps())}, {"trained", trained}});
  constexpr std::int64_t most = 1 << 20;  // elements that are on the host at a time
  for (const Tensor& moment : moments)
    for (std::int64_t at = 0; at < moment.numel(); at += most)
      file.write_rows(moment.slice(0, at, std::min(moment.numel(), at + most)));
  file.commit();
}

SavedParts::Part write_part(const std::string& directory, const TrainingState& run, const Together& all) {
  if (!path_exists(directory)) input_error(directory, ": rank 0 has made it, and it is not here", same_files);
  Shares shares(run.parameters, run.ranks.ranks(), run.context.ranks());
  std::vector<TensorInfo> infos;
  std::vector<Tensor> tensors;
  for (const Shares::Share& share : shares.of(all.rank())) {
    const Parameters::Entry& e = run.parameters.entries()[share.entry];
    const std::string name = name_on_disk(e.parameter.name);
    const auto add = [&](const std::string& as, const Tensor& t) {
      infos.push_back({as, t.dtype(), t.shape()}), tensors.push_back(t);
    };
    add(name, weights_of(run, e, share.part));
    if (!e.parameter.trainable) continue;
    add(SavedParts::moments[0] + name, moments_of(run, run.optimizer.first_moment(), e, share.part));
    add(SavedParts::moments[1] + name, moments_of(run, run.optimizer.second_moment(), e, share.part));
  }
  const std::string file = SavedParts::file_of(all.rank(), all.ranks()), path = directory + "/" + file;
  SafetensorsWriter writer(path, infos, {{"step", std::to_string(run.optimizer.steps())}});
  for (const Tensor& t : tensors) writer.write(t);
  writer.commit();
  std::error_code missing;  // which rank 0 finds out
  return {file, static_cast<std::int64_t>(std::filesystem::file_size(path, missing)), sha256_file(path)};
}

std::vector<SavedParts::Part> gathered(const SavedParts::Part& part, const Together& all) {
  constexpr std::size_t digits = 16, words = 4;  // of a word; of a digest
  std::vector<std::int64_t> own = {part.bytes};
  for (std::size_t i = 0; i < words; ++i)
    own.push_back(part.sha256.empty()
                      ? 0
                      : static_cast<std::int64_t>(std::stoull(part.sha256.substr(digits * i, digits), nullptr, 16)));
  const std::vector<std::int64_t> rows = all.gather(own);
  std::vector<SavedParts::Part> parts;
  for (int r = 0; r < all.ranks(); ++r) {
    const std::int64_t* row = rows.data() + r * static_cast<std::ptrdiff_t>(own.size());
    parts.push_back({SavedParts::file_of(r, all.ranks()), row[0], ""});
    for (std::size_t i = 0; i < words; ++i) parts.back().sha256 += hex16(static_cast<std::uint64_t>(row[1 + i]));
  }
  return parts;
}

std::map<std::string, std::string> write_index(const std::string& directory, const TrainingState& run,
                                               const std::string& trained, const std::vector<SavedParts::Part>& parts) {
  std::map<std::string, std::string> digests;
  for (const SavedParts::Part& p : parts) {
    std::error_code missing;
    const auto size = std::filesystem::file_size(directory + "/" + p.file, missing);
    if (missing || static_cast<std::int64_t>(size) != p.bytes)
      input_error(directory, "/", p.file, ": rank 0 does not find what another rank has written there", same_files);
    digests[p.file] = p.sha256;
  }
  const auto& entries = run.parameters.entries();
  SavedParts::Index index{run.optimizer.steps(), trained, parts, {}};
  for (const auto& e : entries)
    index.tensors.push_back({name_on_disk(e.parameter.name), e.whole, e.parameter.trainable, e.blocks(), {}});
  Shares shares(run.parameters, run.ranks.ranks(), run.context.ranks());
  for (int r = 0; r < shares.ranks(); ++r)
    for (const Shares::Share& s : shares.of(r)) {
      const std::int64_t width = entries[s.entry].part.numel() / entries[s.entry].blocks();
      index.tensors[s.entry].pieces.push_back({r, s.tensor * width, width, s.part.begin, s.part.end});
    }
  SavedParts::write_index(directory, index);
  return digests;
}

SavedMoments SavedMoments::open(const std::string& directory) {
  SavedMoments moments;
  if (path_exists(directory + "/" + SavedParts::index_file)) moments.parts_ = SavedParts::open(directory);
  else moments.one_ = Safetensors::open(directory + "/optimizer.safetensors");
  return moments;
}

const std::string& SavedMoments::path() const { return parts_ ? parts_->path() : one_->path(); }

const std::string& SavedMoments::trained() const {
  return parts_ ? parts_->index().trained : metadata(*one_, "trained");
}

std::string SavedMoments::steps() const {
  return parts_ ? std::to_string(parts_->index().step) : metadata(*one_, "steps");
}

void SavedMoments::check(Dtype dtype, std::int64_t elements) const {
  for (int which = 0; which < 2; ++which) {
    const char* name = which == 0 ? "m" : "v";
    std::int64_t count = 0;
    Dtype stored = dtype;
    if (one_) {
      const Tensor all = one_->tensor(name);
      count = all.shape() == Shape{all.numel()} ? all.numel() : -1, stored = all.dtype();
    } else {
      for (const SavedParts::Entry& e : parts_->index().tensors) {
        if (!e.trained) continue;
        count += e.shape.numel();
        if (const Dtype d = parts_->dtype(e, SavedParts::moments[which]); d != dtype) stored = d;
      }
    }
    if (count != elements || stored != dtype)
      input_error(path(), ": ", name, " holds ", name_of(stored), " [", count, "], this run has ", name_of(dtype), " [",
                  elements, "]", stored != dtype ? "; dtype or optimizer.moments is another" : "");
  }
}

Tensor SavedMoments::tensor(int which, const std::string& name, std::int64_t place, std::int64_t count) const {
  if (parts_) return parts_->tensor(name_on_disk(name), SavedParts::moments[which]).flat();
  return one_->tensor(which == 0 ? "m" : "v").slice(0, place, place + count);
}

}  // namespace ov
