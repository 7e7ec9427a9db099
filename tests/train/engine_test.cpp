// What the engine does with the leaves of a step, on an objective that only notes it.
#include "train/engine.h"

#include <algorithm>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/parallel.h"
#include "nn/init.h"
#include "tests/check.h"
#include "train/leaf_order.h"

using namespace ov;

namespace {

class Noted : public Objective {
 public:
  explicit Noted(std::vector<std::int64_t> sizes) : sizes_(std::move(sizes)) {
    w_ = set_.declare("w", {4, 4}, Role::matrix);
    set_.allocate(Dtype::f32, cpu());
    initialize(set_, {.matrix = "uniform_fan_in"}, 1);
    set_.train([](const Parameter&) { return true; });
  }
  Parameters& parameters() const override { return set_; }
  Loaded prepare(std::int64_t) override { return {.leaves = 4, .denominators = {1}, .sizes = sizes_}; }
  void normalise(const std::vector<std::int64_t>&) override {}
  std::int64_t scalars() const override { return 1; }
  // The first two begin side by side, and then one after the other.
  void run(std::int64_t leaf, Tape&, const Tensor&) override {
    {
      const std::lock_guard lock(mutex_);
      begun.push_back(leaf);
    }
    for (const double late = monotonic_seconds() + 20; count() < 2 && monotonic_seconds() < late;)
      std::this_thread::yield();
    if (leaf == slow) {
      for (const double late = monotonic_seconds() + 20; count() < 4 && monotonic_seconds() < late;)
        std::this_thread::yield();
    }
  }
  Losses losses(std::span<const double>) override { return {}; }
  std::uint64_t batch_checksum() const override { return 0; }
  Json state() const override { return {}; }
  void restore(const Json&) override {}

  std::vector<std::int64_t> begun;
  std::int64_t slow = -1;  // it ends when all have begun

 private:
  std::size_t count() {
    const std::lock_guard lock(mutex_);
    return begun.size();
  }
  mutable Parameters set_;
  Parameter* w_;
  std::vector<std::int64_t> sizes_;
  std::mutex mutex_;
};

}  // namespace

TEST_CASE("leaf order: with leaves of other ranks between them, and of unknown sizes") {
  using Order = std::vector<std::int64_t>;
  CHECK(longest_first({1, 9, 2, 8, 3, 7}, 0, 3, 2) == Order{2, 1, 0});
  CHECK(longest_first({1, 9, 2, 8, 3, 7}, 1, 3, 2) == Order{0, 1, 2});
  CHECK(longest_first({0, 5}, 0, 4, 1) == Order{1, 0, 2, 3});
  CHECK(longest_first({}, 0, 0, 1).empty());
}

TEST_CASE("engine: of leaves side by side the longest begin first, equal ones in their order") {
  const test::Threads two(2);
  StepOptions options;
  options.steps = 1;
  const auto order = [&](std::vector<std::int64_t> sizes, std::int64_t slow) {
    Noted objective(std::move(sizes));
    objective.slow = slow;
    StepEngine engine(objective, options);
    engine.step();
    std::sort(objective.begun.begin(), objective.begun.begin() + 2);
    return objective.begun;
  };
  CHECK(order({1, 4, 2, 3}, 1) == std::vector<std::int64_t>{1, 3, 2, 0});
  CHECK(order({7, 0, 7, 9}, 3) == std::vector<std::int64_t>{0, 3, 2, 1});
  CHECK(order({}, 0) == std::vector<std::int64_t>{0, 1, 2, 3});
}
