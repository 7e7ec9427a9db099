// The least time a micro-batch could take on this machine, from the costs of its operations (autograd/cost.h).
//
//   products          of the forward and backward pass, at the rate that products of their own shape reach here
//                     alone, on one thread; attention as products of one 64 x 64 tile
//   e^x and erf x     values at the rate of a loop over them
//   everything else   bytes over bandwidth, or the values where they take longer
//   update            gradients zeroed and added, AdamW's four arrays read and three written: bytes over bandwidth
//
// Rates are measured when a shape is first met, about a millisecond each, and kept a while: a machine that is shared
// is not equally fast all the time, and a step is compared with what was possible around it. Memory varies most and is
// measured again every 20 seconds, products every 60: they have hundreds of shapes. Sides above 32 are rounded up to a
// multiple of 32 for the measurement, products of more than 2^28 multiply-adds are halved along their longest sides
// until they are not, and the time is taken in proportion.
//
// `plain` is the floor without e^x and erf x, which is what was printed before they were counted.
#pragma once
#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <span>

#include "autograd/op_times.h"

namespace ov {

// What one thread of the machine does.
struct Machine {
  // Seconds of one product c [m,n] = a [m,k] b [k,n].
  std::function<double(std::array<std::int64_t, 3> mnk, bool trans_a, bool trans_b)> product_seconds;
  std::function<double()> bandwidth;           // bytes a second, read and written
  std::function<double()> exp_rate, erf_rate;  // values a second
};
Machine measured_machine();

// Bytes that an update moves: `leaves` gradient buffers of `trained` f32 elements zeroed and added, and the optimiser's
// pass over gradients, weights and two moments of `moment_bytes` an element.
double update_bytes(std::int64_t trained, std::int64_t leaves, std::size_t moment_bytes = sizeof(float));

class Floor {
 public:
  explicit Floor(Machine machine = measured_machine()) : machine_(std::move(machine)) {}
  struct Leaf {
    OpTimes::Seconds floor{}, plain{};
  };
  // Seconds on one thread of what a tape did, by operation.
  Leaf leaf(std::span<const OpTimes::Done> done);
  double update(std::int64_t trained, std::int64_t leaves,
                std::size_t moment_bytes = sizeof(float));  // seconds on all threads

 private:
  static constexpr std::chrono::seconds rate_age{20}, product_age{60};
  using Shape3 = std::array<std::int64_t, 3>;
  struct Rate {
    double value = 0;
    std::chrono::steady_clock::time_point measured{};
    bool older_than(std::chrono::seconds age, std::chrono::steady_clock::time_point now) const;
  };
  double product_seconds(const Product& p);
  double fresh(Rate& rate, const std::function<double()>& measure);
  double bandwidth() { return fresh(bandwidth_, machine_.bandwidth); }  // bytes a second, one thread

  const Machine machine_;
  std::mutex mutex_;
  std::map<std::pair<Shape3, int>, Rate> known_;  // seconds
  Rate bandwidth_, exp_, erf_;
  // Rates are as old as they were at the beginning of the leaf: a leaf asks for hundreds.
  std::chrono::steady_clock::time_point now_{};
};

}  // namespace ov
