// Reads tests/golden/rl: safetensors with masks of type BOOL, which Safetensors has no Dtype for.
#pragma once
#include <cmath>
#include <cstring>

#include "base/io/file.h"
#include "base/json.h"
#include "store/safetensors.h"

namespace ov::test {

class GoldenTensors {
 public:
  explicit GoldenTensors(const std::string& name)
      : file_(MappedFile::open("tests/golden/rl/" + name + ".safetensors")), tensors_(Safetensors::open(file_)) {}

  bool has(const std::string& name) const { return tensors_.find(name) != nullptr; }
  const Shape& shape(const std::string& name) const { return tensors_.find(name)->shape; }
  // Any number type, and BOOL as 0 and 1.
  template <class T>
  std::vector<T> numbers(const std::string& name) const {
    const SafetensorsEntry* e = tensors_.find(name);
    if (!e) input_error("golden tensor ", name, " is missing");
    std::vector<T> out;
    if (e->dtype == "BOOL") {
      std::uint64_t header;
      std::memcpy(&header, file_->data(), 8);
      for (auto at = e->begin; at < e->end; ++at)
        out.push_back(static_cast<T>(static_cast<int>(file_->data()[8 + header + at])));
      return out;
    }
    const Tensor t = tensors_.tensor(name);
    if (t.dtype() == Dtype::i64) {
      for (const auto x : t.to_vector<std::int64_t>()) out.push_back(static_cast<T>(x));
      return out;
    }
    by_dtype(t.dtype(), [&](auto v) {
      for (const auto x : t.to_vector<decltype(v)>()) out.push_back(static_cast<T>(static_cast<double>(x)));
    });
    return out;
  }
  std::vector<std::int64_t> integers(const std::string& name) const {
    return tensors_.tensor(name).to_vector<std::int64_t>();
  }
  std::vector<bool> mask(const std::string& name) const {
    std::vector<bool> out;
    for (const int m : numbers<int>(name)) out.push_back(m != 0);
    return out;
  }

 private:
  std::shared_ptr<const MappedFile> file_;
  Safetensors tensors_;
};

// The largest |a - b| / max(|b|, 1).
template <class A, class B>
double apart(const A& a, const B& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    worst = std::max(worst, std::isfinite(x) ? std::abs(x - y) / std::max(std::abs(y), 1.0) : INFINITY);
  }
  return worst;
}

}  // namespace ov::test
