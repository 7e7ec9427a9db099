// A raw data set read from front to back, so that its size does not show in memory.
//
// JSON lines and JSON arrays are split into records by a scan that keeps a place for every 1024 of them; what else
// src/data/raw reads (Parquet, tar shards) is read through it, record by record. A record of more than 4 MB of text is
// refused unread.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "data/raw/records.h"

namespace ov::instruct {

inline constexpr std::int64_t block_records = 1024;
inline constexpr std::size_t longest_record = 4 << 20;  // bytes of JSON

struct RawRecord {
  std::int64_t index = 0;
  std::size_t bytes = 0;               // about what reading it will hold
  std::function<Conversation()> read;  // throws Rejected; from any thread
};

class RawSource {
 public:
  // Throws input_error: no such file, not a form that is known, an array that does not close.
  static std::unique_ptr<RawSource> open(const std::string& path, const std::string& image_dir);
  virtual ~RawSource() = default;
  virtual std::int64_t size() const = 0;
  virtual std::string fingerprint() const = 0;
  virtual std::int64_t written() const { return 0; }  // as data/raw/records.h
  // Calls f for records of block b (from b · block_records) in order, until it returns false.
  virtual void block(std::int64_t b, const std::function<bool(RawRecord)>& f) const = 0;
};

}  // namespace ov::instruct
