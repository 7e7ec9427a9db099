#include "train/tensorboard.h"

#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <filesystem>

namespace ov::tensorboard {
namespace {

constexpr std::size_t length_bytes = 8, checksum_bytes = 4, frame = length_bytes + 2 * checksum_bytes;

// The machine is little-endian, as the file is.
template <class T>
std::string bytes_of(T value) {
  const auto raw = std::bit_cast<std::array<char, sizeof(T)>>(value);
  return {raw.data(), raw.size()};
}

template <class T>
T read(std::string_view bytes, std::size_t at) {
  T value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

// Protocol buffers: a field is (number << 3 | type) and its value; types: 0 varint, 1 eight bytes, 2 length and bytes,
// 5 four bytes. A varint has seven bits a byte, the lowest first.
enum Type { varint_type = 0, double_type = 1, bytes_type = 2, float_type = 5 };

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}

std::string field(int number, Type type, const std::string& value) {
  return varint(static_cast<std::uint64_t>(number << 3 | type)) + (type == bytes_type ? varint(value.size()) : "") +
         value;
}

std::uint64_t read_varint(std::string_view bytes, std::size_t* at) {
  std::uint64_t value = 0;
  for (int shift = 0; *at < bytes.size() && shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes[(*at)++]);
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  return value;
}

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// How much of an earlier file stands before the first event of a later step than `last`, or that is damaged.
std::size_t kept_bytes(const std::string& path, std::int64_t last) {
  std::error_code missing;
  if (last == 0 || !std::filesystem::exists(path, missing)) return 0;
  const auto file = MappedFile::open(path);
  const std::string_view text = file->text();
  std::size_t at = 0;
  for (std::size_t size; (size = record_size(text, at)) > 0; at += size)
    if (step_of(text.substr(at + length_bytes + checksum_bytes, size - frame)) > last) break;
  return at;
}

}  // namespace

std::uint32_t crc32c(std::string_view data) {
  static const std::array<std::uint32_t, 256> table = [] {
    std::array<std::uint32_t, 256> t;
    for (std::uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int bit = 0; bit < 8; ++bit) t[i] = t[i] >> 1 ^ (t[i] & 1 ? 0x82f63b78u : 0);
    }
    return t;
  }();
  std::uint32_t c = 0xffffffffu;
  for (const char byte : data) c = c >> 8 ^ table[(c ^ static_cast<unsigned char>(byte)) & 0xff];
  return ~c;
}

std::uint32_t masked(std::uint32_t checksum) { return std::rotr(checksum, 15) + 0xa282ead8u; }

std::string record(std::string_view event) {
  const std::string length = bytes_of<std::uint64_t>(event.size());
  return length + bytes_of(masked(crc32c(length))) + std::string(event) + bytes_of(masked(crc32c(event)));
}

std::string first_event(double wall_time) {
  return field(1, double_type, bytes_of(wall_time)) + field(3, bytes_type, "brain.Event:2");
}

std::string event(double wall_time, std::int64_t step, const Scalars& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars)
    summary +=
        field(1, bytes_type, field(1, bytes_type, tag) + field(2, float_type, bytes_of(static_cast<float>(value))));
  return field(1, double_type, bytes_of(wall_time)) +
         (step == 0 ? "" : field(2, varint_type, varint(static_cast<std::uint64_t>(step)))) +
         field(5, bytes_type, summary);
}

std::size_t record_size(std::string_view file, std::size_t at) {
  if (file.size() - at < frame) return 0;
  const auto length = read<std::uint64_t>(file, at);
  const auto whole = [&](std::size_t begin, std::size_t n) {
    return read<std::uint32_t>(file, begin + n) == masked(crc32c(file.substr(begin, n)));
  };
  if (!whole(at, length_bytes) || length > file.size() - at - frame) return 0;
  return whole(at + length_bytes + checksum_bytes, length) ? length + frame : 0;
}

std::int64_t step_of(std::string_view event) {
  for (std::size_t at = 0; at < event.size();) {
    const std::uint64_t key = read_varint(event, &at);
    if (key == (2 << 3 | varint_type)) return static_cast<std::int64_t>(read_varint(event, &at));
    if ((key & 7) == varint_type) read_varint(event, &at);
    else if ((key & 7) == double_type) at += 8;
    else if ((key & 7) == float_type) at += 4;
    else if ((key & 7) == bytes_type) {
      const std::uint64_t n = read_varint(event, &at);
      if (n > event.size() - at) return 0;
      at += n;
    } else return 0;
  }
  return 0;
}

Writer::Writer(const std::string& directory, std::int64_t resume_after)
    : path_(directory + "/events.out.tfevents.0.onevision"), file_(path_, kept_bytes(path_, resume_after)) {
  if (file_.size() == 0) file_.append(record(first_event(wall_time())));
}

void Writer::write(std::int64_t step, const Scalars& scalars) {
  file_.append(record(event(wall_time(), step, scalars)));
}

}  // namespace ov::tensorboard
