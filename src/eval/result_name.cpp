#include "eval/result_name.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <thread>

#include "base/error.h"

namespace ov {

ResultName::ResultName(const std::string& directory) {
  for (;; std::this_thread::sleep_for(std::chrono::milliseconds(50))) {
    const std::time_t now = std::time(nullptr);
    char text[32];
    std::tm local{};
    std::strftime(text, sizeof text, "%Y%m%d_%H%M%S", ::localtime_r(&now, &local));
    head_ = directory + "/" + text;
    const int fd = ::open(claim().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST) continue;  // somebody is about to write
    if (fd < 0) machine_error(results(), ": cannot write: ", std::strerror(errno));
    ::close(fd);
    if (::access(results().c_str(), F_OK) != 0) return;
    ::unlink(claim().c_str());  // somebody has written
  }
}

ResultName::~ResultName() {
  if (::access(results().c_str(), F_OK) != 0) ::unlink(claim().c_str());
}

}  // namespace ov
