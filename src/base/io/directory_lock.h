// One process at a time in a directory: flock on <directory>/.lock, held while the object lives. The system lets go of
// it however the process ends, so what a killed run left does not block the next one.
#pragma once
#include <string>

namespace ov {

class DirectoryLock {
 public:
  // The directory must exist. input_error "<directory>: in use by process N" while another process holds it.
  explicit DirectoryLock(const std::string& directory);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace ov
