#include "base/io/mapped_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <system_error>

#include "base/error.h"

namespace ov {
namespace {

// One for each mapping. They are never freed, only used again, so that a signal handler may walk the list.
struct Guard {
  std::atomic<const char*> begin{nullptr};  // null: free
  std::atomic<const char*> end{nullptr}, path{nullptr};
  Guard* next = nullptr;
};
std::atomic<Guard*> guards{nullptr};
struct sigaction action_before;

void on_sigbus(int, siginfo_t* info, void*) {
  const auto* at = static_cast<const char*>(info->si_addr);
  for (const Guard* g = guards.load(); g; g = g->next) {
    const char* begin = g->begin.load();
    if (!begin || at < begin || at >= g->end.load()) continue;
    const char* path = g->path.load();
    for (const char* part : {"onevision: ", path, ": was cut short, or its disk failed, while it was read\n"})
      if (::write(STDERR_FILENO, part, std::strlen(part)) < 0) break;
    ::_exit(static_cast<int>(Exit::machine_failed));
  }
  ::sigaction(SIGBUS, &action_before, nullptr);  // not ours: the access is tried again under the handler before
}

Guard* guard(const char* begin, std::size_t size, const char* path) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (!guards.load()) {
    struct sigaction action {};
    action.sa_sigaction = on_sigbus;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGBUS, &action, &action_before);
  }
  Guard* g = guards.load();
  while (g && g->begin.load()) g = g->next;
  if (!g) {
    g = new Guard{.next = guards.load()};
    guards = g;
  }
  g->path = path;
  g->end = begin + size;
  g->begin = begin;  // last: from here on the handler looks at the other two
  return g;
}

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : path_(path) {
    check_path(path);
    // Without O_NONBLOCK the open of a pipe with a name waits for somebody who writes.
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd_ < 0) path_error(path, "open");
    if (::fstat(fd_, &stat_) == 0 && !S_ISDIR(stat_.st_mode)) {
      constexpr long unnamed_pipes = 0x50495045;  // PIPEFS_MAGIC of linux/magic.h
      struct statfs system;
      const bool pipe = S_ISFIFO(stat_.st_mode);
      if (S_ISREG(stat_.st_mode)) return;
      if (pipe && ::fstatfs(fd_, &system) == 0 && system.f_type == unnamed_pipes) {
        ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) & ~O_NONBLOCK);
        return;
      }
      ::close(fd_);
      input_error(path, pipe ? ": is a named pipe, expected a file; give the data as /dev/stdin or <(command)"
                             : ": is a device or a socket, expected a file");
    }
    if (S_ISDIR(stat_.st_mode)) errno = EISDIR;
    fail("read");
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;

  [[noreturn]] void fail(const char* what) {
    const int error = errno;
    ::close(fd_);
    fd_ = -1;
    errno = error;
    path_error(path_, what);
  }
  int fd() const { return fd_; }
  std::size_t size() const { return static_cast<std::size_t>(stat_.st_size); }  // 0 for a pipe and in /proc

  std::string read_all() {
    std::string text;
    for (;;) {
      const std::size_t have = text.size();
      text.resize(have + std::max<std::size_t>({size() > have ? size() - have : 0, 65536}));
      ssize_t n = ::read(fd_, text.data() + have, text.size() - have);
      while (n < 0 && errno == EINTR) n = ::read(fd_, text.data() + have, text.size() - have);
      text.resize(have + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
      if (n < 0) fail("read");
      if (n == 0) return text;
    }
  }

 private:
  const std::string& path_;
  int fd_ = -1;
  struct stat stat_ {};
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  constexpr std::size_t small = 64 << 10;  // bytes
  Descriptor file(path);
  if (file.size() <= small) return of(file.read_all(), path);
  std::shared_ptr<MappedFile> mapped(new MappedFile(path));
  void* data = ::mmap(nullptr, file.size(), PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (data == MAP_FAILED) file.fail("map");
  mapped->data_ = static_cast<const std::byte*>(data);
  mapped->size_ = file.size();
  mapped->guard_ = guard(static_cast<const char*>(data), file.size(), mapped->path_.c_str());
  return mapped;
}

std::shared_ptr<const MappedFile> MappedFile::of(std::string_view bytes, const std::string& path) {
  std::shared_ptr<MappedFile> file(new MappedFile(path));
  file->size_ = bytes.size();
  file->copy_ = std::make_unique<std::byte[]>(bytes.size());
  if (!bytes.empty()) std::memcpy(file->copy_.get(), bytes.data(), bytes.size());
  file->data_ = file->copy_.get();
  return file;
}

MappedFile::~MappedFile() {
  if (!guard_) return;
  static_cast<Guard*>(guard_)->begin = nullptr;
  ::munmap(const_cast<std::byte*>(data_), size_);
}

std::string read_file(const std::string& path) { return Descriptor(path).read_all(); }

std::vector<std::string> list_directory(const std::string& path) {
  check_path(path);
  DIR* directory = ::opendir(path.c_str());
  if (!directory) path_error(path, "list");
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  const int error = errno;
  ::closedir(directory);
  errno = error;
  if (error) path_error(path, "list");
  std::sort(names.begin(), names.end());
  return names;
}

bool path_exists(const std::string& path) {
  check_path(path);
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

void check_path(const std::string& path) {
  if (path.find('\0') != std::string::npos) input_error(path, ": a path cannot hold a zero byte");
}

void path_error(const std::string& path, const char* what) {
  const int error = errno;
  const std::string text = std::generic_category().message(error);
  const bool wrong_path =
      error == ENOENT || error == ENOTDIR || error == EISDIR || error == ENAMETOOLONG || error == ELOOP;
  if (wrong_path) input_error(path, ": cannot ", what, ": ", text);
  machine_error(path, ": cannot ", what, ": ", text);
}

}  // namespace ov
