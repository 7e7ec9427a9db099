// What tells pictures apart: a digest of all of a record's pictures; for a record of one picture also 63 bits that
// hardly change when it is stored again, scaled or brightened.
//
//   exact        SHA-256 of the decoded pixels with their sizes, or of the files' bytes
//   perceptual   the picture in grey at 32 x 32, its discrete cosine transform (type II), of the 8 x 8 lowest
//                frequencies without the constant one a bit each: above their median or not
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "data/raw/conversations.h"
#include "image/image.h"

namespace ov {

struct PicturePrint {
  std::array<std::uint8_t, 32> digest = {};
  std::uint64_t hash = 0;   // of one picture alone
  std::int64_t pixels = 0;  // of all
  std::int64_t pictures = 0;
};

std::uint64_t perceptual_hash(const Image& image);

// Throws Rejected: image_missing, image_unusable.
PicturePrint print_of(const Conversation& record, bool of_bytes);

// Calls join(i, j) for pairs whose hashes differ in at most `distance` bits, 0 to 3; enough of them that all such pairs
// are connected. Two hashes of that distance agree in one of four 16-bit bands, so each band's equals are compared.
void near_hashes(const std::vector<std::uint64_t>& hash, const std::vector<std::int64_t>& which, int distance,
                 const std::function<void(std::int64_t, std::int64_t)>& join);

// Disjoint sets of 0 .. n - 1.
class Groups {
 public:
  explicit Groups(std::int64_t n);
  std::int64_t find(std::int64_t i) const;    // the smallest of its group
  bool join(std::int64_t i, std::int64_t j);  // false: they were one already

 private:
  mutable std::vector<std::int64_t> above_;
};

}  // namespace ov
