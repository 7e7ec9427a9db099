#include "curate/prints.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/io/file.h"
#include "base/math.h"
#include "base/sha256.h"
#include "data/reject.h"
#include "image/decode.h"
#include "image/resize.h"

namespace ov {

std::uint64_t perceptual_hash(const Image& image) {
  constexpr int n = 32, low = 8;
  const Image small = resize_bicubic(image, n, n);
  double wave[low][n], rows[n][low], frequency[low * low];
  for (int k = 0; k < low; ++k)
    for (int x = 0; x < n; ++x) wave[k][x] = math::cos(static_cast<float>(k * (2 * x + 1)) * (3.14159265f / (2 * n)));
  for (int y = 0; y < n; ++y)
    for (int k = 0; k < low; ++k) {
      rows[y][k] = 0;
      for (int x = 0; x < n; ++x) {
        const std::uint8_t* p = small.row(y) + 3 * x;
        rows[y][k] += wave[k][x] * (299 * p[0] + 587 * p[1] + 114 * p[2]);  // luma of BT.601, times 1000
      }
    }
  for (int j = 0; j < low; ++j)
    for (int k = 0; k < low; ++k) {
      frequency[j * low + k] = 0;
      for (int y = 0; y < n; ++y) frequency[j * low + k] += wave[j][y] * rows[y][k];
    }
  std::vector<double> sorted(frequency + 1, frequency + low * low);
  std::nth_element(sorted.begin(), sorted.begin() + 31, sorted.end());
  std::uint64_t bits = 0;
  for (int i = 1; i < low * low; ++i) bits |= std::uint64_t{frequency[i] > sorted[31]} << i;
  return bits;
}

PicturePrint print_of(const Conversation& c, bool of_bytes) {
  PicturePrint print;
  print.pictures = static_cast<std::int64_t>(c.images.size());
  Sha256 digest;
  for (std::size_t i = 0; i < c.images.size(); ++i) {
    RejectReason reason = RejectReason::image_missing;
    try {
      const auto file = c.image_bytes.empty() ? MappedFile::open(c.images[i]) : nullptr;
      const std::string_view bytes = file ? file->text() : c.image_bytes[i];
      reason = RejectReason::image_unusable;
      const Image image = decode_image(bytes, c.images[i]);
      print.pixels += image.width * image.height;
      if (print.pictures == 1) print.hash = perceptual_hash(image);
      if (of_bytes) {
        const std::uint64_t size = bytes.size();
        digest.update(&size, sizeof size), digest.update(bytes.data(), bytes.size());
      } else {
        const std::int64_t size[] = {image.width, image.height};
        digest.update(size, sizeof size), digest.update(image.rgb.data(), image.rgb.size());
      }
    } catch (const Error& e) {
      if (e.exit() != Exit::wrong_input) throw;
      throw Rejected(reason, cat(c.where, ": ", e.what()));
    }
  }
  const std::string hex = digest.hex();
  for (std::size_t i = 0; i < print.digest.size(); ++i)
    print.digest[i] = static_cast<std::uint8_t>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  return print;
}

void near_hashes(const std::vector<std::uint64_t>& hash, const std::vector<std::int64_t>& which, int distance,
                 const std::function<void(std::int64_t, std::int64_t)>& join) {
  const auto of = [&](std::int64_t i) { return hash[static_cast<std::size_t>(i)]; };
  std::vector<std::int64_t> order(which);
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return std::pair(of(a), a) < std::pair(of(b), b); });
  std::vector<std::int64_t> different;  // one of each hash
  for (const std::int64_t i : order) {
    if (!different.empty() && of(different.back()) == of(i)) join(different.back(), i);
    else different.push_back(i);
  }
  for (int band = 0; band < 4 && distance > 0; ++band) {
    const auto bits = [&](std::int64_t i) { return of(i) >> (16 * band) & 0xffffu; };
    std::stable_sort(different.begin(), different.end(), [&](auto a, auto b) { return bits(a) < bits(b); });
    for (std::size_t begin = 0, end; begin < different.size(); begin = end) {
      for (end = begin + 1; end < different.size() && bits(different[end]) == bits(different[begin]);) ++end;
      for (std::size_t i = begin; i < end; ++i)
        for (std::size_t j = i + 1; j < end; ++j)
          if (std::popcount(of(different[i]) ^ of(different[j])) <= distance) join(different[i], different[j]);
    }
  }
}

Groups::Groups(std::int64_t n) : above_(static_cast<std::size_t>(n)) { std::iota(above_.begin(), above_.end(), 0); }

std::int64_t Groups::find(std::int64_t i) const {
  auto at = [&](std::int64_t k) -> std::int64_t& { return above_[static_cast<std::size_t>(k)]; };
  while (at(i) != i) i = at(i) = at(at(i));
  return i;
}

bool Groups::join(std::int64_t i, std::int64_t j) {
  i = find(i), j = find(j);
  above_[static_cast<std::size_t>(std::max(i, j))] = std::min(i, j);
  return i != j;
}

}  // namespace ov
