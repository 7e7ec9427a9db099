// One process at a time in a directory: flock on <directory>/.lock, held while the object lives. The system lets go of
// it however the process ends, so what a killed run left does not block the next one. A lock file may be removed while
// it is held, as by one that removes the directory when its work is done.
#pragma once
#include <string>

namespace ov {

class DirectoryLock {
 public:
  // alone: nobody else. together: any number of those who ask for that, and nobody alone. turn: alone, and whoever else
  // holds it is waited for, since it holds it for a moment only.
  enum class Hold { alone, together, turn };
  // The directory must exist. `file`: of a lock for a part of it. input_error "<directory>: in use by process N" while
  // another process holds it.
  explicit DirectoryLock(const std::string& directory, Hold hold = Hold::alone, const std::string& file = ".lock");
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace ov
