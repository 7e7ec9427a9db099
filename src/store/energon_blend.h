// Mixtures of data sets as Megatron-Energon describes them, in a .yaml file: Metadataset and MetadatasetV2.
//
//   __module__: megatron.energon
//   __class__: Metadataset                    # or MetadatasetV2; without it Metadataset
//   splits:
//     train:
//       datasets:                             # V2: blend, blend_epochized, or one data set itself: path
//         - {weight: 3, path: ../a, subflavors: {kind: caption}}
//         - {weight: 1, path: other.yaml, split_part: val}
//
// A path starts at the file's directory. It may lead to another such file, whose shares are multiplied by the entry's:
// weights after they were divided by their sum, repetitions (blend_epochized) as they are; the two do not mix.
// split_part takes another split of the entry in place of the one that is asked for. Subflavors of an outer file win.
//
// Read by name and refused, since it would change what is trained on: join, subset, aux, dataset_config, split_config,
// shuffle_over_epochs_multiplier other than 1, and paths in a store (s3://, msc://).
#pragma once
#include <string>
#include <vector>

#include "base/json.h"

namespace ov {

struct EnergonSet {
  std::string path, split;  // a directory, shard or file of records
  double share = 1;         // weight, all of them 1 together; or how often each sample comes in an epoch
  Json subflavors = Json::object();
};

struct EnergonBlend {
  bool epochized = false;  // shares are repetitions
  std::vector<EnergonSet> sets;
};

// The name alone decides, as energon does it.
bool is_energon_blend(const std::string& path);  // ends in .yaml or .yml

// Throws input_error that names file and line: a split or path that is not there, a key that is not read or unknown, a
// weight below 0 or all of them 0, a file that leads to itself, more than 4096 data sets.
EnergonBlend read_energon_blend(const std::string& path, const std::string& split = "train");

}  // namespace ov
