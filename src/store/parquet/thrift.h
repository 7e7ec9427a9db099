// Thrift's compact protocol (thrift-compact-protocol.md of Apache Thrift), in which Parquet writes footer and headers.
//
// A struct is a list of (field number, type, value) that a zero byte ends. Reading is told what a field's value is
// meant to be; a field that nobody reads is passed over, as the protocol asks. Every length is checked against the
// bytes that are left before anything is made of it. Errors: input_error without the file's name, which the caller
// knows.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace ov {

class ThriftReader {
 public:
  explicit ThriftReader(std::string_view bytes) : bytes_(bytes) {}
  std::size_t offset() const { return at_; }  // bytes read

  // The struct that comes next: f(field number) reads the value or leaves it.
  template <class F>
  void fields(F&& f) {
    begin(12, "a struct");
    std::int64_t id = 0;
    for (std::uint8_t type; (type = field(&id)) != 0;) {
      value_ = type;
      f(id);
      if (value_) skip();
    }
    --depth_;
  }
  // f() for every element of a list, and reads it or leaves it.
  template <class F>
  void list(F&& f) {
    begin(9, "a list");
    std::uint8_t type = 0;
    for (std::uint64_t n = list_head(&type); n > 0; --n) {
      value_ = type;
      f();
      if (value_) skip();
    }
    --depth_;
  }
  std::int64_t integer();  // of 8 to 64 bits
  bool boolean();
  std::int64_t integer_or_boolean() { return value_ == 1 || value_ == 2 ? boolean() : integer(); }
  std::string_view binary();

 private:
  void begin(std::uint8_t type, const char* what);
  void expect(bool is, const char* what);
  std::uint8_t field(std::int64_t* id);
  std::uint64_t list_head(std::uint8_t* type);
  std::uint8_t byte();
  std::uint64_t varint();
  void skip();

  std::string_view bytes_;
  std::size_t at_ = 0;
  int depth_ = 0;
  std::uint8_t value_ = 12;  // the type of the value that comes next; 0: it is read
};

class ThriftWriter {
 public:
  // A struct within a struct: open(field), its fields, close().
  ThriftWriter& open(int field);
  ThriftWriter& close();
  ThriftWriter& i32(int field, std::int64_t value) { return number(field, 5, value); }
  ThriftWriter& i64(int field, std::int64_t value) { return number(field, 6, value); }
  ThriftWriter& i8(int field, std::int8_t value);
  ThriftWriter& boolean(int field, bool value);
  ThriftWriter& binary(int field, std::string_view value);
  // A list's head; then element_...() for each, or open_element(), fields, close().
  ThriftWriter& list(int field, int type, std::size_t n);
  ThriftWriter& element_i32(std::int64_t value);
  ThriftWriter& element_binary(std::string_view value);
  ThriftWriter& open_element();
  const std::string& bytes() { return bytes_; }  // after the last field; the outermost struct is closed by close()

  static constexpr int type_i32 = 5, type_binary = 8, type_struct = 12;

 private:
  void head(int field, int type);
  ThriftWriter& number(int field, int type, std::int64_t value);
  void varint(std::uint64_t value);

  std::string bytes_, last_ = std::string(1, '\0');  // last_: the field number that came last, of each open struct
};

}  // namespace ov
