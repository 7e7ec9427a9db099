// What tests of every room ask.
#pragma once
#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "base/error.h"
#include "base/parallel.h"
#include "tensor/tensor.h"

namespace ov::test {

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

// The one line of the error that f() throws; "" when it throws none.
template <class F>
std::string thrown(F&& f, Exit exit = Exit::wrong_input) {
  try {
    f();
  } catch (const Error& e) {
    CHECK(e.exit() == exit);
    CHECK_FALSE(contains(e.what(), "\n"));
    return e.what();
  }
  return "";
}

// Bits, not values: 0 and -0 differ, NaN equals itself. Two null tensors are the same.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (!a || !b) return !a && !b;
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) return false;
  const auto here = [](const Tensor& t) { return (t.contiguous() ? t : t.contiguous_copy()).to(cpu()); };
  const Tensor x = here(a), y = here(b);
  return x.nbytes() == 0 || std::memcmp(x.bytes(), y.bytes(), x.nbytes()) == 0;
}

// A number of threads for one scope.
struct Threads {
  int before = threads();
  explicit Threads(int n) { set_threads(n); }
  ~Threads() { set_threads(before); }
};

}  // namespace ov::test
