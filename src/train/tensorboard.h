// Scalars for TensorBoard: <out>/events.out.tfevents.0.onevision, beside run.jsonl.
//
// A file is a sequence of records, numbers little-endian:
//
//   u64 length, u32 masked CRC32C of those 8 bytes, `length` bytes of an Event, u32 masked CRC32C of the Event
//
//   Event   {1 wall_time: double, 2 step: varint, 3 file_version: text, 5 summary: Summary}        as protocol buffers
//   Summary {1 value: Value, repeated}          Value {1 tag: text, 2 simple_value: float}
//
// The first event is file_version "brain.Event:2". A reader stops without a word at the first record that is not whole,
// so every record is written in one piece, and a resumed run cuts the file after the step that it resumes from.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/io/file.h"

namespace ov::tensorboard {

std::uint32_t crc32c(std::string_view data);   // Castagnoli, reflected polynomial 0x82f63b78
std::uint32_t masked(std::uint32_t checksum);  // rotated right by 15, plus 0xa282ead8

using Scalars = std::vector<std::pair<std::string, double>>;  // tag, value
std::string event(double wall_time, std::int64_t step, const Scalars& scalars);
std::string first_event(double wall_time);
std::string record(std::string_view event);  // with length and checksums

// Length of the record at `at`, frame included; 0 when there is no whole, undamaged one.
std::size_t record_size(std::string_view file, std::size_t at);
std::int64_t step_of(std::string_view event);  // 0 when the event has none

class Writer {
 public:
  // Starts the file, or cuts it after the last event of at most `resume_after` steps.
  Writer(const std::string& directory, std::int64_t resume_after);
  void write(std::int64_t step, const Scalars& scalars);
  void sync() { sync_path(path_, false, path_); }  // to the disk

 private:
  std::string path_;
  AppendFile file_;
};

}  // namespace ov::tensorboard
