// What ranks write of a training checkpoint (train/checkpoint.h): one alone the files of one model, several a part each
// (store/parts.h), of the elements that they have anyway (parallel/shares.h). And its moments, read back from either.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "comm/together.h"
#include "store/parts.h"
#include "train/engine.h"

namespace ov {

Together ranks_of(const TrainingState& run);

// model.safetensors and optimizer.safetensors. `trained`: names, one a line.
void write_whole(const std::string& directory, const TrainingState& run, const std::string& trained);
// This rank's part, durable when it returns.
SavedParts::Part write_part(const std::string& directory, const TrainingState& run, const Together& all);
// Those of all ranks, by rank.
std::vector<SavedParts::Part> gathered(const SavedParts::Part& part, const Together& all);
// Returns the digests of the parts by file. input_error when a part is not there as its rank wrote it.
std::map<std::string, std::string> write_index(const std::string& directory, const TrainingState& run,
                                               const std::string& trained, const std::vector<SavedParts::Part>& parts);

class SavedMoments {
 public:
  static SavedMoments open(const std::string& directory);
  const std::string& path() const;
  const std::string& trained() const;  // names of the parameters, one a line
  std::string steps() const;           // that the optimiser has made, in digits
  // input_error unless they have this type, and as many elements each.
  void check(Dtype dtype, std::int64_t elements) const;
  // The first (0) or the second (1) of a parameter, flat. `place`: where it begins among all that are trained.
  Tensor tensor(int which, const std::string& name, std::int64_t place, std::int64_t count) const;

 private:
  std::optional<Safetensors> one_;
  std::optional<SavedParts> parts_;
};

}  // namespace ov
