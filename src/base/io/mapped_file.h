// Files, read: mapped or copied whole, and directories listed.
//
// A file is what a regular file or a pipe without a name (/dev/stdin, `<(zcat a.gz)`) gives; a pipe is read to its end.
// A pipe with a name, a device and a socket are refused: a data set that names one would stop the run for ever.
//
// A mapped file that another process cuts short, or whose disk fails, cannot be read to its end, and the system tells
// so by SIGBUS. Then the process writes one line that names the file and ends with exit code 3.
//
// Errors: machine_error for what the machine refuses (EACCES, EIO ...), input_error where the path itself is wrong: no
// such file, a directory where a file is meant, a zero byte in it.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ov {

// A whole file, read-only. It stays readable after the name is replaced or removed. A small one is read into memory:
// to end a mapping costs more, for the system must tell all cores of it.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  // The same for bytes that are in memory already; `path` stands in messages.
  static std::shared_ptr<const MappedFile> of(std::string_view bytes, const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }  // bytes
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::string& path() const { return path_; }

 private:
  explicit MappedFile(const std::string& path) : path_(path) {}
  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::unique_ptr<std::byte[]> copy_;  // of exactly size_ bytes; null when the file is mapped
  void* guard_ = nullptr;              // what the handler of SIGBUS knows of this mapping
};

std::string read_file(const std::string& path);
std::vector<std::string> list_directory(const std::string& path);  // names without "." and "..", sorted by bytes
bool path_exists(const std::string& path);                         // links followed

// Throws input_error for a path with a zero byte: the system would stop reading it there and open another file.
void check_path(const std::string& path);

// The error of a system call that has just failed on this path, by errno.
[[noreturn]] void path_error(const std::string& path, const char* what);

}  // namespace ov
