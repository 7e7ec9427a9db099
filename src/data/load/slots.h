// Which record stands where in a run, in integers alone: no file is opened to know it.
//
//   epoch e, position p     ->   record Permutation(n, seed, e)(p)              slot e · n + p
//   step t, micro-batch m   ->   slots (t · M + m) · B  up to  (t · M + m + 1) · B
//
// or, of a mixture, what data/mixture.h says stands at the place of that number.
//
// B slots make a micro-batch, M micro-batches a step; epochs follow one another without a seam. A slot belongs to its
// record for good: one that proves faulty leaves its slot empty, and no other moves up. So a micro-batch is a function
// of (t, m): whoever works on it makes it alone, and a run is resumed by the number of its next step.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

namespace ov {

struct Slot {
  std::int64_t epoch = 0, record = 0;
};

// The work of one micro-batch as far as it is known before anything is loaded.
struct MicroBatchPlan {
  std::vector<Slot> slots;  // their records are packs where packs are loaded
  std::int64_t samples = 0;
  std::int64_t tokens = 0, labels = 0;  // known of packs alone, else 0
};

class Mixture;

class SlotOrder {
 public:
  // Throws input_error: no record, a seed below 0, B or M below 1, more than 2^20 slots in a step.
  SlotOrder(std::int64_t records, std::int64_t seed, std::int64_t per_micro_batch, std::int64_t micro_batches,
            std::shared_ptr<const Mixture> mixture = nullptr);

  // 0 <= m < micro_batches(). Throws input_error beyond 2^62 slots.
  std::vector<Slot> slots(std::int64_t step, std::int64_t m) const;

  std::int64_t records() const { return records_; }
  std::int64_t seed() const { return seed_; }
  std::int64_t per_micro_batch() const { return per_micro_batch_; }
  std::int64_t micro_batches() const { return micro_batches_; }
  std::int64_t per_step() const { return per_micro_batch_ * micro_batches_; }

 private:
  std::int64_t records_, seed_, per_micro_batch_, micro_batches_;
  std::shared_ptr<const Mixture> mixture_;
};

}  // namespace ov
