#include "data/synth/shards.h"

#include <cstring>

#include "base/error.h"
#include "data/synth/output.h"

namespace ov::synth {

namespace {

constexpr std::size_t kBlock = 512;

// POSIX.1-1988 ustar: text fields, numbers in octal, and a checksum over the header in which its own field is blank.
std::string tar_header(const std::string& name, std::size_t size) {
  if (name.size() > 100) input_error("tar member '", name, "': expected at most 100 characters");
  std::string h(kBlock, '\0');
  const auto put = [&](std::size_t at, const std::string& text) { h.replace(at, text.size(), text); };
  const auto octal = [](std::size_t value, std::size_t digits) {
    std::string s(digits, '0');
    for (std::size_t i = digits; i-- > 0; value /= 8) s[i] = static_cast<char>('0' + value % 8);
    return s;
  };
  put(0, name);
  put(100, "0000644");
  put(108, "0000000");
  put(116, "0000000");
  put(124, octal(size, 11));
  put(136, octal(0, 11));
  put(148, "        ");
  put(156, "0");
  put(257, std::string("ustar\0"
                       "00",
                       8));
  std::size_t sum = 0;
  for (char c : h) sum += static_cast<unsigned char>(c);
  put(148, octal(sum, 6) + std::string("\0 ", 2));
  return h;
}

}  // namespace

ShardWriter::ShardWriter(std::string directory, std::string stem, std::size_t samples_per_shard, std::string loader)
    : directory_(std::move(directory)), stem_(std::move(stem)), loader_(std::move(loader)), limit_(samples_per_shard) {}

void ShardWriter::add(const std::string& key, const std::vector<std::pair<std::string, std::string>>& parts) {
  if (starts_.size() == limit_) end_shard();
  if (!tar_) {
    shards_.emplace_back(numbered(stem_ + "-", static_cast<std::int64_t>(shards_.size()), 6) + ".tar", 0);
    tar_ = std::make_unique<DurableWriter>(directory_ + "/" + shards_.back().first);
  }
  starts_.push_back(offset_);
  for (const auto& [name, bytes] : parts) {
    std::string member = tar_header(key + "." + name, bytes.size()) + bytes;
    member.resize((member.size() + kBlock - 1) / kBlock * kBlock, '\0');
    tar_->write(member);
    offset_ += member.size();
  }
  ++shards_.back().second;
}

void ShardWriter::end_shard() {
  if (!tar_) return;
  tar_->write(std::string(2 * kBlock, '\0'));
  tar_->commit();
  tar_.reset();

  starts_.push_back(offset_);
  std::string index;
  for (std::uint64_t start : starts_)
    for (int byte = 0; byte < 8; ++byte) index += static_cast<char>(start >> (8 * byte) & 255);
  write_durably(directory_ + "/" + shards_.back().first + ".idx", index);
  starts_.clear();
  offset_ = 0;
}

void ShardWriter::finish() {
  end_shard();
  std::string names, counts;
  for (const auto& [name, samples] : shards_) {
    names += "  - " + name + "\n";
    counts += cat("  ", name, ": ", samples, "\n");
  }
  const std::string meta = directory_ + "/.nv-meta";
  make_directories(meta);
  write_durably(meta + "/sample_loader.py", loader_);
  write_durably(meta + "/split.yaml", "exclude: []\nsplit_parts:\n  test: []\n  train:" +
                                          (names.empty() ? " []\n" : "\n" + names) + "  val: []\n");
  write_durably(meta + "/.info.yaml", "shard_counts:" + (counts.empty() ? " {}\n" : "\n" + counts));
  write_durably(meta + "/dataset.yaml",
                "sample_type:\n"
                "  __module__: aiak_training_llm.data.multimodal\n"
                "  __class__: MultiMixQASample\n"
                "part_filter: sample_loader.py:part_filter\n"
                "sample_loader: sample_loader.py:sample_loader\n");
}

}  // namespace ov::synth
