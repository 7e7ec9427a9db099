// A webdataset: samples in tar shards of limited length, with the metadata of Megatron-Energon 5 (store/energon.h).
//
//   <stem>-000000.tar, ...     one member per part, "<key>.<part name>"; the parts of a sample follow each other
//   <stem>-000000.tar.idx      where every sample starts, then where the last one ends
//   .nv-meta/                  class MultiMixQASample; all shards are training
//
// The same samples give the same bytes (store/tar.h).
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "store/energon.h"
#include "store/tar.h"

namespace ov::synth {

class ShardWriter {
 public:
  // `loader`: the text of sample_loader.py. The directory must exist.
  ShardWriter(std::string directory, std::string stem, std::size_t samples_per_shard, std::string loader)
      : directory_(std::move(directory)),
        stem_(std::move(stem)),
        loader_(std::move(loader)),
        limit_(samples_per_shard) {}

  // `key` has no dot and parts of one sample differ in name.
  void add(const std::string& key, const std::vector<std::pair<std::string, std::string>>& parts);
  // Ends the last shard and writes the metadata. Nothing is complete without it.
  void finish();

 private:
  void end_shard();

  std::string directory_, stem_, loader_;
  std::size_t limit_;
  std::optional<TarWriter> tar_;
  std::vector<std::uint64_t> starts_;  // of the samples in it
  EnergonMeta meta_{.sample_class = "MultiMixQASample", .train = {}, .shard_samples = {}};
};

}  // namespace ov::synth
