// Event files as TensorBoard, torch and tensorboardX write them, read and written again (tests/golden/tensorboard).
#include "train/tensorboard.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <filesystem>

#include "base/json.h"
#include "tests/base/scratch.h"

using namespace ov;
using namespace ov::tensorboard;

namespace {

const std::string golden = "tests/golden/tensorboard/";

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes)
    for (const int shift : {4, 0}) out += "0123456789abcdef"[static_cast<unsigned char>(c) >> shift & 15];
  return out;
}

// The events of a file, up to the first record that is not whole.
std::vector<std::string> events_of(const std::string& text) {
  std::vector<std::string> events;
  std::size_t at = 0;
  for (std::size_t size; (size = record_size(text, at)) > 0; at += size)
    events.push_back(text.substr(at + 12, size - 16));
  return events;
}

std::vector<std::int64_t> steps_of(const std::string& path) {
  std::vector<std::int64_t> steps;
  for (const std::string& event : events_of(read_file(path))) steps.push_back(step_of(event));
  return steps;
}

}  // namespace

TEST_CASE("tensorboard: checksums of the reference") {
  const Json expected = Json::read(golden + "expected.json");
  for (const auto& [text, values] : expected.at("crc32c").members()) {
    const std::string data = text == "32 zero bytes"           ? std::string(32, '\0')
                             : text == "u64 24, little endian" ? std::string("\x18\0\0\0\0\0\0\0", 8)
                                                               : text;
    INFO(text);
    CHECK(crc32c(data) == static_cast<std::uint32_t>(values[0].as_int()));
    CHECK(masked(crc32c(data)) == static_cast<std::uint32_t>(values[1].as_int()));
  }
}

TEST_CASE("tensorboard: every listed file is walked record by record, and each record is made again byte for byte") {
  const Json expected = Json::read(golden + "expected.json");
  int files = 0;
  for (const auto& [name, file] : expected.members()) {
    if (!file.is_object() || !file.find("records")) continue;
    INFO(name);
    ++files;
    const std::string text = read_file(golden + name + ".tfevents");
    const auto& records = file.at("records").items();
    std::size_t at = 0;
    for (const Json& r : records) {
      CHECK(at == static_cast<std::size_t>(r.at("offset").as_int()));
      const auto length = static_cast<std::size_t>(r.at("length").as_int());
      REQUIRE(record_size(text, at) == length + 16);
      CHECK(record(text.substr(at + 12, length)) == text.substr(at, length + 16));
      at += length + 16;
    }
    CHECK(at == text.size());
    CHECK(record_size(text, at) == 0);
    // A flipped bit in any record ends the reading there, and only there.
    const auto second = static_cast<std::size_t>(records[1].at("offset").as_int());
    for (std::size_t byte = second; byte < second + record_size(text, second); ++byte) {
      std::string flipped = text;
      flipped[byte] = static_cast<char>(flipped[byte] ^ 1 << byte % 8);
      CHECK(events_of(flipped).size() == 1);
    }
    for (std::size_t cut = second; cut < second + record_size(text, second); ++cut)
      CHECK(events_of(text.substr(0, cut)).size() == 1);
    // Steps: those that the real reader found, in order, under any tag.
    std::size_t scalars = 0;
    for (const auto& [tag, points] : file.at("scalars").members())
      for (const Json& point : points.items()) {
        ++scalars;
        bool found = false;
        for (const std::string& event : events_of(text))
          found = found || (step_of(event) == point[0].as_int() && event.find(tag) != event.npos);
        CHECK_MESSAGE(found, tag, " ", point.dump());
      }
    CHECK(scalars >= 6);
  }
  CHECK(files > 0);
}

TEST_CASE("tensorboard: scalar events are those that the reference wrote byte by byte (R-37)") {
  const Json expected = Json::read(golden + "expected.json");
  const auto& events = expected.at("minimal").at("events_hex").items();
  // Wall times of the reference: 1.7e9 and something, read back from the events themselves.
  const std::string text = read_file(golden + "minimal.tfevents");
  const std::vector<std::string> raw = events_of(text);
  REQUIRE(raw.size() == events.size());
  const auto wall = [&](std::size_t i) {
    std::uint64_t bits = 0;
    for (std::size_t b = 0; b < 8; ++b) bits |= std::uint64_t{static_cast<unsigned char>(raw[i][1 + b])} << (8 * b);
    return std::bit_cast<double>(bits);
  };
  CHECK(hex(first_event(wall(0))) == events[0].as_string());
  const double loss[] = {1.0, 0.5, 0.25, 0.125};
  for (std::size_t i = 0; i < 4; ++i)
    CHECK(hex(event(wall(1 + i), static_cast<std::int64_t>(i), {{"loss", loss[i]}})) == events[1 + i].as_string());
  CHECK(hex(event(wall(6), 5, {{"a", 1}, {"b", 2}})) == events[6].as_string());
}

TEST_CASE("tensorboard: a resumed file has every step once; what is damaged or later is cut off") {
  const ScratchDirectory dir;
  const std::string path = dir / "events.out.tfevents.0.onevision";
  {
    Writer writer(dir.path(), 0);
    for (std::int64_t step = 1; step <= 300; ++step) writer.write(step, {{"loss", 1.0 / static_cast<double>(step)}});
  }
  CHECK(steps_of(path).size() == 301);
  { Writer(dir.path(), 140).write(141, {{"loss", NAN}}); }
  std::vector<std::int64_t> steps = steps_of(path);
  REQUIRE(steps.size() == 142);
  for (std::size_t i = 0; i < steps.size(); ++i) CHECK(steps[i] == static_cast<std::int64_t>(i));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 3);
  { Writer(dir.path(), 141).write(142, {}); }
  CHECK(steps_of(path).size() == 142);
  CHECK(steps_of(path).back() == 142);
  { Writer(dir.path(), 0).write(1, {}); }  // a new run
  CHECK(steps_of(path) == std::vector<std::int64_t>{0, 1});
  std::filesystem::remove(path);
  { Writer(dir.path(), 7).write(8, {}); }
  CHECK(steps_of(path) == std::vector<std::int64_t>{0, 8});
}
