// The metadata that Megatron-Energon 5 keeps beside tar shards.
//
//   <dir>/.nv-meta/dataset.yaml   sample_type: {__module__, __class__}, and the Python that builds samples
//   <dir>/.nv-meta/split.yaml     split_parts: {train: [shards], val: [], test: []}; exclude: [shard, shard/key of a
//                                 sample]; names with braces stand for several, a-{0..7}.tar; or split.json
//   <dir>/.nv-meta/.info.yaml     shard_counts: {shard: samples}; newer versions write .info.json in its place
//   <dir>/<shard>.idx             u64 little endian: where every sample starts, then where the last one ends
//
// The Python is never run: the sample class says how to read (data/raw/webdataset.h).
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace ov {

struct EnergonMeta {
  std::string sample_class;        // "MultiMixQASample"; "" where dataset.yaml is missing
  std::vector<std::string> train;  // shards of the part, relative to the directory; excluded ones left out
  std::map<std::string, std::int64_t> shard_samples;                   // empty where neither .info file is there
  std::map<std::string, std::set<std::string>> excluded_samples = {};  // of the shards in `train`: their keys
};

// Nothing when the directory has no .nv-meta. Throws input_error that names the file for what cannot be read, for an
// excluded name that no shard has, and for a count that the shard's size cannot hold.
std::optional<EnergonMeta> read_energon_meta(const std::string& directory, const std::string& part = "train");

// `exclude` stays empty. sample_loader.py is the text of what energon itself runs to build a sample. The directory must
// exist.
void write_energon_meta(const std::string& directory, const EnergonMeta& meta, const std::string& sample_module,
                        const std::string& sample_loader);

// Sample starts and the end of the last; nothing when `<shard>.idx` does not exist. Throws input_error when it is no
// list of ascending block borders that starts at 0.
std::optional<std::vector<std::uint64_t>> read_tar_index(const std::string& shard);
void write_tar_index(const std::string& shard, const std::vector<std::uint64_t>& starts_and_end);

}  // namespace ov
