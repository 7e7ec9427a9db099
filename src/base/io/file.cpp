#include "base/io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "base/error.h"

namespace ov {
namespace {

FileStepHook step_hook = nullptr;

// The system call between its two hooks, repeated when a signal interrupted it.
template <class Call>
auto step(const char* what, const std::string& path, Call&& call) {
  file_step(what, path, false);
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  const int error = errno;
  file_step(what, path, true);
  errno = error;
  return result;
}

// A write past RLIMIT_FSIZE raises SIGXFSZ, which ends a process by default. Held back and taken off this thread's
// list, it leaves EFBIG: an error like any other.
class HoldSigxfsz {
 public:
  HoldSigxfsz() {
    sigemptyset(&signal_);
    sigaddset(&signal_, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &signal_, &old_);
  }
  ~HoldSigxfsz() {
    const int error = errno;
    const timespec at_once{};
    while (sigtimedwait(&signal_, nullptr, &at_once) < 0 && errno == EINTR) {}
    pthread_sigmask(SIG_SETMASK, &old_, nullptr);
    errno = error;
  }
  HoldSigxfsz(const HoldSigxfsz&) = delete;

 private:
  sigset_t signal_, old_;
};

// False with errno set when the machine takes less than all of it.
bool write_all(int fd, const std::string& path, const void* data, std::size_t bytes) {
  constexpr std::size_t most = std::size_t{64} << 20;
  const HoldSigxfsz hold;
  const auto* p = static_cast<const char*>(data);
  while (bytes) {
    const ssize_t n = step("write", path, [&] { return ::write(fd, p, std::min(bytes, most)); });
    if (n < 0) return false;
    p += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace

DurableWriter::DurableWriter(const std::string& path) : path_(path), target_(follow_link(path)) {
  check_path(path);
  struct stat s;
  const bool exists = ::stat(target_.c_str(), &s) == 0;
  if (exists && S_ISDIR(s.st_mode)) {
    errno = EISDIR;
    path_error(path_, "write");
  }
  direct_ = exists && !S_ISREG(s.st_mode);
  partial_ = direct_ ? target_ : target_ + ".partial";
  const int flags = O_WRONLY | O_CLOEXEC | (direct_ ? 0 : O_CREAT | O_TRUNC);
  fd_ = step("open", partial_, [&] { return ::open(partial_.c_str(), flags, 0666); });
  if (fd_ < 0) path_error(path_, "open for writing");
  pending_ = !direct_;
}

DurableWriter::~DurableWriter() {
  if (fd_ >= 0) ::close(fd_);
  if (pending_) step("unlink", partial_, [&] { return ::unlink(partial_.c_str()); });
}

void DurableWriter::write(const void* data, std::size_t bytes) {
  if (!write_all(fd_, partial_, data, bytes)) path_error(path_, "write");
}

void DurableWriter::commit() {
  if (!direct_ && step("fsync", partial_, [&] { return ::fsync(fd_); }) != 0) path_error(path_, "fsync");
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0) path_error(path_, "close");
  if (direct_) return;
  rename_path(partial_, target_, path_);
  pending_ = false;
  sync_path(parent_directory(target_), true, path_);
}

void write_durably(const std::string& path, std::string_view content) {
  DurableWriter writer(path);
  writer.write(content);
  writer.commit();
}

AppendFile::AppendFile(const std::string& path, std::size_t keep) : path_(path), size_(keep) {
  check_path(path_);
  fd_ = step("open", path_, [&] { return ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666); });
  if (fd_ < 0) path_error(path_, "open for writing");
  struct stat s;
  const bool regular = ::fstat(fd_, &s) == 0 && S_ISREG(s.st_mode);
  const std::size_t size = regular ? static_cast<std::size_t>(s.st_size) : keep;
  if (size > keep && step("truncate", path_, [&] { return ::ftruncate(fd_, static_cast<off_t>(keep)); }) == 0) return;
  if (size == keep) return;
  const int error = errno;
  ::close(fd_);
  errno = error;
  if (size < keep) input_error(path_, ": ends at byte ", size, ", expected at least ", keep);
  path_error(path_, "truncate");
}

AppendFile::~AppendFile() {
  if (fd_ >= 0) ::close(fd_);
}

void AppendFile::append(std::string_view text) {
  if (!write_all(fd_, path_, text.data(), text.size())) {
    const int error = errno;
    step("truncate", path_, [&] { return ::ftruncate(fd_, static_cast<off_t>(size_)); });
    errno = error;
    path_error(path_, "write");
  }
  size_ += text.size();
}

void set_file_step_hook(FileStepHook hook) { step_hook = hook; }

void file_step(const char* what, const std::string& path, bool after) {
  if (step_hook) step_hook(what, path, after);
}

void rename_path(const std::string& from, const std::string& to, const std::string& shown) {
  if (step("rename", from, [&] { return ::rename(from.c_str(), to.c_str()); }) != 0)
    path_error(shown, "rename into place");
}

void sync_path(const std::string& path, bool directory, const std::string& shown) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | (directory ? O_DIRECTORY : 0));
  if (fd < 0) path_error(shown, "open for fsync");
  const int result = step(directory ? "fsync directory" : "fsync", path, [&] { return ::fsync(fd); });
  const int error = errno;
  ::close(fd);
  errno = error;
  // Some file systems have no fsync for a directory and say EINVAL; they order a rename by themselves.
  if (result != 0 && !(directory && error == EINVAL)) path_error(shown, "fsync");
}

void make_directory(const std::string& path, const std::string& shown) {
  if (step("mkdir", path, [&] { return ::mkdir(path.c_str(), 0777); }) != 0) path_error(shown, "make the directory");
}

void make_directories(const std::string& path) {
  for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    // Another thread may make it at the same time.
    if (!path_exists(part) && step("mkdir", part, [&] { return ::mkdir(part.c_str(), 0777); }) != 0 && errno != EEXIST)
      path_error(part, "make the directory");
    if (at != path.npos) continue;
    if (std::error_code error; !std::filesystem::is_directory(path, error))
      input_error(path, ": is a file, expected a directory or nothing");
    return;
  }
}

void remove_tree(const std::string& path) noexcept {
  struct stat s;
  if (::lstat(path.c_str(), &s) != 0) return;
  if (!S_ISDIR(s.st_mode)) {
    step("unlink", path, [&] { return ::unlink(path.c_str()); });
    return;
  }
  try {
    for (const std::string& name : list_directory(path)) remove_tree(path + "/" + name);
  } catch (const Error&) {  // a directory that cannot be read stays: rmdir says no
  }
  step("rmdir", path, [&] { return ::rmdir(path.c_str()); });
}

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string parent_directory(const std::string& path) {
  const auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string follow_link(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_symlink(path, error)) return path;
  const auto target = std::filesystem::canonical(path, error);
  return error ? path : target.string();
}

}  // namespace ov
