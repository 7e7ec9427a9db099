// For tests that write files: a directory that goes away with the test. In memory where the system has /dev/shm: a test
// that saves hundreds of times would otherwise wait for the disk at every fsync.
#pragma once
#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>

namespace ov {

class ScratchDirectory {
 public:
  ScratchDirectory() {
    for (const std::string& parent : {std::string("/dev/shm"), std::filesystem::temp_directory_path().string()}) {
      std::string name = parent + "/onevision-test-XXXXXX";
      if (!::mkdtemp(name.data())) continue;
      path_ = name;
      return;
    }
    throw std::runtime_error("no directory for temporary files");
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace ov
