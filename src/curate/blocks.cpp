#include "curate/blocks.h"

#include <unistd.h>

#include <charconv>
#include <cstdio>

#include "base/error.h"
#include "base/io/file.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "base/text.h"
#include "data/made_again.h"
#include "data/raw/record_index.h"

namespace ov {
namespace {

constexpr std::int64_t most_shards = 1000000;
constexpr const char* digest_ending = ".sha256";

}  // namespace

Shard Shard::parse(const std::string& text) {
  if (text.empty()) return {};
  if (text == "merge") return {.makes = false};
  Shard s{.joins = false};
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, s.index);
  if (first.ec == std::errc() && first.ptr != end && *first.ptr == '/') {
    const auto second = std::from_chars(first.ptr + 1, end, s.count);
    if (second.ec == std::errc() && second.ptr == end && 1 <= s.index && s.index <= s.count && s.count <= most_shards)
      return --s.index, s;
  }
  input_error("shard: expected i/n with 1 <= i <= n <= ", most_shards, ", as 3/8, or merge; found ", shown(text));
}

Blocks::Blocks(const std::string& out, const std::string& made_from, std::int64_t count, std::int64_t written,
               const std::vector<std::string>& beside)
    : directory_(without_slash(out) + ".blocks"),
      prefix_(directory_ + "/" + sha256(made_from).substr(0, 16) + "-"),
      count_(count),
      written_(written),
      endings_({"", ".lock", digest_ending}),
      lock_(std::make_shared<std::unique_ptr<DirectoryLock>>()) {
  endings_.insert(endings_.end(), beside.begin(), beside.end());
}

Blocks::Blocks(const Blocks& run, const std::string& made_from, std::int64_t count)
    : directory_(run.directory_),
      prefix_(directory_ + "/" + sha256(made_from).substr(0, 16) + "-"),
      count_(count),
      written_(run.written_),
      endings_({"", ".lock", digest_ending}),
      lock_(run.lock_) {}

std::string Blocks::path(std::int64_t block) const {
  char number[24];
  std::snprintf(number, sizeof number, "%08lld", static_cast<long long>(block));
  return prefix_ + number;
}

Safetensors Blocks::open(std::int64_t block) const {
  return or_make_again(remedy(block), [&] { return Safetensors::open(path(block)); });
}

std::string Blocks::remedy(std::int64_t block) const {
  return cat("remove ", path(block), ", and the same command makes it again");
}

void Blocks::lock(const Shard& shard) const {
  using Hold = DirectoryLock::Hold;
  if (shard.makes) make_directories(directory_);
  if (!*lock_ && path_exists(directory_))
    *lock_ = std::make_unique<DirectoryLock>(directory_, shard.joins ? Hold::alone : Hold::together);
}

std::string Blocks::digest(std::int64_t block) const {
  if (!path_exists(path(block))) return "";
  std::string all = path(block).substr(directory_.size());  // the block that it is
  for (const std::string& end : endings_)
    if (end != ".lock" && end != digest_ending && path_exists(path(block) + end))
      all += cat(" ", end, " ", sha256_file(path(block) + end));
  return sha256(all);
}

bool Blocks::sound(std::int64_t block) const {
  const std::string said = path(block) + digest_ending;
  return path_exists(said) && read_file(said) == digest(block);
}

void Blocks::check(std::int64_t block) const {
  if (!sound(block)) input_error(path(block), ": its bytes are not those that were written; ", remedy(block));
}

bool Blocks::any_stands() const {
  if (!path_exists(directory_)) return false;
  for (std::int64_t b = 0; b < count_; ++b)
    if (path_exists(path(b))) return true;
  return false;
}

void Blocks::remove_left(const Shard& shard) const {
  if (!path_exists(directory_)) return;
  lock(shard);
  remove();
}

bool Blocks::make(const Shard& shard, const std::string& what, const std::function<void(std::int64_t)>& make,
                  const std::function<void(std::int64_t)>& stands) const {
  std::int64_t missing = 0, first = -1;
  const auto is_missing = [&](std::int64_t b) {
    return !path_exists(path(b)) || !path_exists(path(b) + digest_ending);
  };
  const auto is_to_make = [&](std::int64_t b) { return !sound(b) || written_before(path(b), written_); };
  lock(shard);
  if (shard.makes) {
    Progress bar(what, (count_ - shard.index + shard.count - 1) / shard.count, "block");
    for (std::int64_t b = shard.index, done = 0; b < count_; b += shard.count) {
      if (is_to_make(b)) {
        std::unique_ptr<DirectoryLock> own;
        if (!shard.joins)
          own = std::make_unique<DirectoryLock>(directory_, DirectoryLock::Hold::alone,
                                                path(b).substr(directory_.size() + 1) + ".lock");
        if (is_to_make(b)) {
          make(b);
          write_durably(path(b) + digest_ending, digest(b));
        }
        if (own) ::unlink((path(b) + ".lock").c_str());
      }
      if (stands) stands(b);
      bar.update(++done);
    }
  }
  if (shard.makes && shard.joins) return true;
  for (std::int64_t b = 0; b < count_; ++b)
    if (is_missing(b)) first = missing++ ? first : b;
  if (shard.joins && missing)
    input_error("shard: ", missing, " of ", count_, " blocks are missing, the first is ", path(first),
                "; run the shards that make them, with the same options and inputs");
  if (shard.joins)
    for (std::int64_t b = 0; b < count_; ++b) check(b);
  if (!shard.joins) lock_->reset();
  if (!shard.joins) tell(cat(what, ": ", missing, " of ", count_, " blocks are still to be made; --shard merge joins"));
  return shard.joins;
}

void Blocks::remove_blocks() const noexcept {
  for (std::int64_t b = 0; b < count_; ++b)
    for (const std::string& end : endings_)
      for (const char* also : {"", ".partial"}) ::unlink((path(b) + end + also).c_str());
}

void Blocks::remove() const noexcept {
  remove_blocks();
  if (*lock_) ::unlink((directory_ + "/.lock").c_str());
  lock_->reset();
  ::rmdir(directory_.c_str());  // unless others lie there
}

}  // namespace ov
