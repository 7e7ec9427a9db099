#include "data/synth/shards.h"

#include "data/synth/output.h"

namespace ov::synth {

void ShardWriter::add(const std::string& key, const std::vector<std::pair<std::string, std::string>>& parts) {
  if (starts_.size() == limit_) end_shard();
  if (!tar_) {
    meta_.train.push_back(numbered(stem_ + "-", static_cast<std::int64_t>(meta_.train.size()), 6) + ".tar");
    tar_.emplace(directory_ + "/" + meta_.train.back());
  }
  starts_.push_back(tar_->offset());
  for (const auto& [name, bytes] : parts) tar_->add(key + "." + name, bytes);
  ++meta_.shard_samples[meta_.train.back()];
}

void ShardWriter::end_shard() {
  if (!tar_) return;
  starts_.push_back(tar_->offset());
  tar_->finish();
  tar_.reset();
  write_tar_index(directory_ + "/" + meta_.train.back(), starts_);
  starts_.clear();
}

void ShardWriter::finish() {
  end_shard();
  write_energon_meta(directory_, meta_, "aiak_training_llm.data.multimodal", loader_);
}

}  // namespace ov::synth
