#include "store/parquet/thrift.h"

namespace ov {
namespace {
constexpr int deepest = 64;  // structs and lists in each other; Parquet's own go 8 deep
}

std::uint8_t ThriftReader::byte() {
  if (at_ == bytes_.size()) input_error("the metadata ends in the middle of a value");
  return static_cast<std::uint8_t>(bytes_[at_++]);
}

std::uint64_t ThriftReader::varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const std::uint8_t b = byte();
    value |= std::uint64_t{b & 127u} << shift;
    if (b < 128) return value;
  }
  input_error("byte ", at_, " of the metadata: a number of more than 10 bytes");
}

void ThriftReader::expect(bool is, const char* what) {
  if (!is) input_error("byte ", at_, " of the metadata: expected ", what, ", found a value of type ", int{value_});
}

void ThriftReader::begin(std::uint8_t type, const char* what) {
  expect(value_ == type || (type == 9 && value_ == 10), what);  // a set is written as a list
  value_ = 0;
  if (++depth_ > deepest) input_error("byte ", at_, " of the metadata: more than ", deepest, " values in each other");
}

// The type of the next field, 0 at the struct's end.
std::uint8_t ThriftReader::field(std::int64_t* id) {
  const std::uint8_t head = byte();
  if (head == 0) return 0;
  if (head >> 4) {
    *id += head >> 4;
  } else {
    const std::uint64_t z = varint();
    *id = static_cast<std::int64_t>(z >> 1) ^ -static_cast<std::int64_t>(z & 1);
  }
  return (head & 15) ? head & 15 : 15;  // type 0 is none; skip() refuses it
}

std::uint64_t ThriftReader::list_head(std::uint8_t* type) {
  const std::uint8_t head = byte();
  *type = head & 15;
  const std::uint64_t n = head >> 4 == 15 ? varint() : head >> 4;
  if (n > bytes_.size() - at_)
    input_error("byte ", at_, " of the metadata: a list of ", n, " elements, but ", bytes_.size() - at_,
                " bytes are left");
  return n;
}

std::int64_t ThriftReader::integer() {
  expect(value_ >= 3 && value_ <= 6, "an integer");
  const bool one_byte = value_ == 3;
  value_ = 0;
  if (one_byte) return static_cast<std::int8_t>(byte());
  const std::uint64_t z = varint();
  return static_cast<std::int64_t>(z >> 1) ^ -static_cast<std::int64_t>(z & 1);
}

bool ThriftReader::boolean() {  // the value stands in the type
  expect(value_ == 1 || value_ == 2, "a boolean");
  const bool value = value_ == 1;
  value_ = 0;
  return value;
}

std::string_view ThriftReader::binary() {
  expect(value_ == 8, "a string");
  value_ = 0;
  const std::uint64_t n = varint();
  if (n > bytes_.size() - at_)
    input_error("byte ", at_, " of the metadata: a string of ", n, " bytes, but ", bytes_.size() - at_, " are left");
  at_ += n;
  return bytes_.substr(at_ - n, n);
}

void ThriftReader::skip() {
  const std::uint8_t type = value_;
  const auto advance = [&](std::size_t n) {
    for (; n > 0; --n) byte();
  };
  switch (type) {
    case 1:
    case 2: value_ = 0; return;
    case 3:
    case 4:
    case 5:
    case 6: integer(); return;
    case 7: advance(8); break;
    case 8: binary(); return;
    case 9:
    case 10:
      list([&] {
        if (value_ == 1 || value_ == 2) advance(1), value_ = 0;  // a boolean takes a byte here
      });
      return;
    case 11: {
      value_ = 9;
      begin(9, "a map");
      const std::uint64_t n = varint();
      const std::uint8_t types = n ? byte() : 0;
      if (n > bytes_.size() - at_) input_error("byte ", at_, " of the metadata: a map of ", n, " entries");
      for (std::uint64_t i = 0; i < 2 * n; ++i) {
        value_ = i % 2 ? types & 15 : types >> 4;
        if (value_ == 1 || value_ == 2) advance(1);
        else skip();
      }
      --depth_;
      break;
    }
    case 12: fields([](std::int64_t) {}); return;
    default: input_error("byte ", at_, " of the metadata: unknown type ", int{type});
  }
  value_ = 0;
}

void ThriftWriter::varint(std::uint64_t value) {
  for (; value > 127; value >>= 7) bytes_ += static_cast<char>(value | 128);
  bytes_ += static_cast<char>(value);
}

void ThriftWriter::head(int field, int type) {
  bytes_ += static_cast<char>((field - last_.back()) << 4 | type);  // Parquet's numbers are close to each other
  last_.back() = static_cast<char>(field);
}

ThriftWriter& ThriftWriter::number(int field, int type, std::int64_t value) {
  head(field, type);
  return element_i32(value);
}

ThriftWriter& ThriftWriter::element_i32(std::int64_t value) {
  varint(static_cast<std::uint64_t>(value) << 1 ^ static_cast<std::uint64_t>(value >> 63));
  return *this;
}

ThriftWriter& ThriftWriter::i8(int field, std::int8_t value) {
  head(field, 3);
  bytes_ += static_cast<char>(value);
  return *this;
}

ThriftWriter& ThriftWriter::boolean(int field, bool value) {
  head(field, value ? 1 : 2);
  return *this;
}

ThriftWriter& ThriftWriter::element_binary(std::string_view value) {
  varint(value.size());
  bytes_ += value;
  return *this;
}

ThriftWriter& ThriftWriter::binary(int field, std::string_view value) {
  head(field, type_binary);
  return element_binary(value);
}

ThriftWriter& ThriftWriter::list(int field, int type, std::size_t n) {
  head(field, 9);
  bytes_ += static_cast<char>((n < 15 ? n : 15) << 4 | static_cast<unsigned>(type));
  if (n >= 15) varint(n);
  return *this;
}

ThriftWriter& ThriftWriter::open(int field) {
  head(field, type_struct);
  return open_element();
}

ThriftWriter& ThriftWriter::open_element() {
  last_ += '\0';
  return *this;
}

ThriftWriter& ThriftWriter::close() {
  bytes_ += '\0';
  last_.pop_back();
  return *this;
}

}  // namespace ov
