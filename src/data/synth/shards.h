// A webdataset: samples in tar shards of limited length, with the metadata of Megatron-Energon 5.
//
//   <stem>-000000.tar, ...          one member per part, "<key>.<part name>"; the parts of a sample follow each other
//   <stem>-000000.tar.idx           u64 little endian: where every sample starts, then where the last one ends
//   .nv-meta/dataset.yaml           the sample class and the functions that build it, sample_loader.py
//   .nv-meta/split.yaml             all shards are training
//   .nv-meta/.info.yaml             samples per shard
//
// Members are ustar with owner 0 and time 0, so the same samples give the same bytes.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/io/file.h"

namespace ov::synth {

class ShardWriter {
 public:
  // `loader`: the text of sample_loader.py. The directory must exist.
  ShardWriter(std::string directory, std::string stem, std::size_t samples_per_shard, std::string loader);

  // `key` has no dot and parts of one sample differ in name. Throws input_error for a member name over 100 characters.
  void add(const std::string& key, const std::vector<std::pair<std::string, std::string>>& parts);
  // Ends the last shard and writes the metadata. Nothing is complete without it.
  void finish();

 private:
  void end_shard();

  std::string directory_, stem_, loader_;
  std::size_t limit_;
  std::unique_ptr<DurableWriter> tar_;
  std::vector<std::uint64_t> starts_;
  std::uint64_t offset_ = 0;
  std::vector<std::pair<std::string, std::size_t>> shards_;  // name and samples
};

}  // namespace ov::synth
