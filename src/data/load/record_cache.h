// Decoded records, kept while they fit. A full cache keeps what it has: every record comes once an epoch, so whatever
// is thrown out for another would be missed as much. Safe from several threads.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace ov {

template <class T>  // with bytes()
class RecordCache {
 public:
  explicit RecordCache(std::int64_t bytes) : room_(bytes) {}

  template <class Make>  // () -> T; called when `record` is not here
  std::shared_ptr<const T> get(std::int64_t record, Make&& make) {
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = kept_.find(record); found != kept_.end()) return found->second;
    }
    const auto made = std::make_shared<const T>(make());
    const std::lock_guard lock(mutex_);
    if (made->bytes() <= room_ && kept_.emplace(record, made).second) room_ -= made->bytes();
    return made;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::int64_t, std::shared_ptr<const T>> kept_;
  std::int64_t room_;
};

}  // namespace ov
