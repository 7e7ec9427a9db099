#include "base/io/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace ov {

DirectoryLock::DirectoryLock(const std::string& directory) {
  const std::string path = directory + "/.lock";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0) machine_error(path, ": cannot open: ", std::strerror(errno));
  char holder[24] = {};
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    const ssize_t n = ::pread(fd_, holder, sizeof holder - 1, 0);
    ::close(fd_);
    if (error != EWOULDBLOCK) machine_error(path, ": cannot lock: ", std::strerror(error));
    input_error(directory, ": in use by process ", n > 0 ? std::string(holder, std::strcspn(holder, "\n")) : "unknown",
                "; wait for its end, or name another directory");
  }
  // The number is for the message alone; a disk that has no room for it is found out by what follows.
  const std::string id = cat(::getpid(), "\n");
  if (::ftruncate(fd_, 0) != 0 || ::pwrite(fd_, id.data(), id.size(), 0) < 0) return;
}

DirectoryLock::~DirectoryLock() { ::close(fd_); }

}  // namespace ov
