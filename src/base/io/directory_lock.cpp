#include "base/io/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace ov {
namespace {

// Whether `path` still names the file that is open: its holder may have removed it between open and flock.
bool still_there(int fd, const std::string& path) {
  struct stat open {
  }, named{};
  return ::fstat(fd, &open) == 0 && ::stat(path.c_str(), &named) == 0 && open.st_ino == named.st_ino &&
         open.st_dev == named.st_dev;
}

}  // namespace

DirectoryLock::DirectoryLock(const std::string& directory, Hold hold, const std::string& file) {
  const std::string path = directory + "/" + file;
  do {
    if (fd_ >= 0) ::close(fd_);
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd_ < 0) machine_error(path, ": cannot open: ", std::strerror(errno));
    const int how = hold == Hold::turn ? LOCK_EX : hold == Hold::alone ? LOCK_EX | LOCK_NB : LOCK_SH | LOCK_NB;
    int error = 0;
    do error = ::flock(fd_, how) == 0 ? 0 : errno;
    while (error == EINTR);
    if (error) {
      char holder[24] = {};
      const ssize_t n = ::pread(fd_, holder, sizeof holder - 1, 0);
      ::close(fd_);
      if (error != EWOULDBLOCK) machine_error(path, ": cannot lock: ", std::strerror(error));
      input_error(directory, ": in use by process ",
                  n > 0 ? std::string(holder, std::strcspn(holder, "\n")) : "unknown",
                  "; wait for its end, or name another directory");
    }
  } while (!still_there(fd_, path));
  // The number is for the message alone; a disk that has no room for it is found out by what follows.
  const std::string id = cat(::getpid(), "\n");
  if (::ftruncate(fd_, 0) != 0 || ::pwrite(fd_, id.data(), id.size(), 0) < 0) return;
}

DirectoryLock::~DirectoryLock() { ::close(fd_); }

}  // namespace ov
