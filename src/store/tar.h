// tar archives, POSIX ustar and pax (IEEE Std 1003.1-2017, "pax Interchange Format"): 512-byte blocks, a header block
// for each member, its content padded to whole blocks, two blocks of zeros at the end.
//
// Reading maps the file and takes members as they come: regular files with their names, also those in the ustar prefix
// field, in a pax header ("path", "size") or in a GNU long-name entry, and sizes in GNU's base 256. Directories, links
// and devices are passed over. Every header's checksum is verified. What decides is what Python's tarfile does, which
// webdataset and energon read with: the first block of zeros, or the end of the file after a whole member, is the end.
//
// Errors, each naming the file and the byte: TruncatedTar where the file ends inside a member, input_error for a block
// that is no header and for a sparse file.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/io/file.h"

namespace ov {

constexpr std::uint64_t tar_block = 512;  // bytes

class TruncatedTar : public Error {
 public:
  using Error::Error;
};

struct TarMember {
  std::string name;         // as it is, "./" in front too
  std::string_view data;    // in the mapping
  std::uint64_t begin = 0;  // byte of its first header block, extended headers included
  std::uint64_t end = 0;    // byte behind its last data block
};

// The file as it is, or what a gzip file (.tar.gz, .tgz) unpacks to, whole in memory. Throws input_error where it is
// damaged.
std::shared_ptr<const MappedFile> unpacked_tar(std::shared_ptr<const MappedFile> file);

class TarReader {
 public:
  // Reads from byte `begin`, a member's first block, up to byte `end`; by default up to the closing blocks.
  static constexpr std::uint64_t to_closing_blocks = ~std::uint64_t{0};
  explicit TarReader(std::shared_ptr<const MappedFile> file, std::uint64_t begin = 0,
                     std::uint64_t end = to_closing_blocks);

  // False at the end. After an error the reader stays where it was.
  bool next(TarMember* member);
  std::uint64_t offset() const { return at_; }  // byte of the next member's first block; at the end, of what closes

 private:
  std::string_view block(std::uint64_t at, const char* what) const;

  std::shared_ptr<const MappedFile> file_;
  std::uint64_t at_, end_;
};

// Regular files with mode 644, owner 0 and time 0: the same members give the same bytes. Durable: nothing stands under
// `path` before finish().
class TarWriter {
 public:
  explicit TarWriter(const std::string& path) : file_(path) {}

  // A name that ustar cannot hold (over 100 bytes) goes into a pax header before the member. Throws input_error for an
  // empty name or one with a zero byte in it.
  void add(const std::string& name, std::string_view data);
  std::uint64_t offset() const { return offset_; }  // where the next member starts
  void finish();

 private:
  void entry(const std::string& name, char type, std::string_view data);

  DurableWriter file_;
  std::uint64_t offset_ = 0;
};

}  // namespace ov
