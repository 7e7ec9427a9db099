// What the server counts, as Prometheus reads it.
#pragma once
#include <array>
#include <map>
#include <mutex>
#include <string>

#include "serve/reply.h"

namespace ov::serve {

class Metrics {
 public:
  void done(const Reply& reply, double seconds);
  void failed(int status);
  std::string text(const EngineStats& engine) const;

 private:
  struct Histogram {
    static constexpr std::array<double, 12> bounds = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
    std::array<std::int64_t, bounds.size()> up_to = {};  // values that are at most the bound
    std::int64_t n = 0;
    double sum = 0;
    void add(double seconds);
    std::string text(const std::string& name) const;
  };
  mutable std::mutex lock_;
  std::map<std::string, std::int64_t> finished_;
  std::map<int, std::int64_t> failed_;
  std::int64_t image_tokens_ = 0;
  Histogram first_, token_, vision_, request_;
};

}  // namespace ov::serve
