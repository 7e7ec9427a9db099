// The innermost sums of the bicubic resize: bytes times weights of 2^-22, rounded to a byte. Plain loops, and AVX2
// with the same bytes.
//
// A vector instruction multiplies 16-bit numbers in pairs, a b + c d in 32 bits, so a weight is cut in two:
// w = 4096 high + low, 0 <= low < 4096. Sums of integers have no order to keep.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX2__) && !defined(OV_PORTABLE)
#define OV_RESIZE_AVX2 1
#include <immintrin.h>
#else
#define OV_RESIZE_AVX2 0
#endif

namespace ov::resize_sums {

constexpr int weight_bits = 22;
constexpr std::int32_t half = 1 << (weight_bits - 1);

inline std::uint8_t to_pixel(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> weight_bits, 0, 255));
}

// One pixel: to[c] = Σ_j from[3 j + c] weights[j], c < 3.
inline void pixel_portable(const std::uint8_t* from, const std::vector<std::int32_t>& weights, std::uint8_t* to) {
  std::int32_t r = half, g = half, b = half;
  for (const std::int32_t w : weights) {
    r += from[0] * w, g += from[1] * w, b += from[2] * w;
    from += 3;
  }
  to[0] = to_pixel(r), to[1] = to_pixel(g), to[2] = to_pixel(b);
}

// Bytes [begin, end) of one row: to[i] = Σ_j (rows + j stride)[i] weights[j].
inline void row_portable(const std::uint8_t* rows, std::int64_t stride, const std::vector<std::int32_t>& weights,
                         std::int64_t begin, std::int64_t end, std::uint8_t* to) {
  for (std::int64_t i = begin; i < end; ++i) {
    std::int32_t sum = half;
    for (std::size_t j = 0; j < weights.size(); ++j)
      sum += rows[static_cast<std::int64_t>(j) * stride + i] * weights[j];
    to[i] = to_pixel(sum);
  }
}

#if OV_RESIZE_AVX2

// Weights by fours, zeros at the end: the high parts of four, then their low parts.
inline std::vector<std::int16_t> in_fours(const std::vector<std::int32_t>& weights) {
  std::vector<std::int16_t> cut((weights.size() + 3) / 4 * 8);
  for (std::size_t j = 0; j < weights.size(); ++j) {
    cut[j / 4 * 8 + j % 4] = static_cast<std::int16_t>(weights[j] >> 12);
    cut[j / 4 * 8 + 4 + j % 4] = static_cast<std::int16_t>(weights[j] & 4095);
  }
  return cut;
}

// As pixel_portable with weights in_fours. Reads up to 16 bytes past the last pixel that counts and writes 4 bytes.
//   lanes of 16 bits   r0 r1 r2 r3 g0 g1 g2 g3 | b0 b1 b2 b3 0 0 0 0     times   w0 w1 w2 w3 w0 w1 w2 w3 | the same
inline void pixel_avx2(const std::uint8_t* from, const std::vector<std::int16_t>& fours, std::uint8_t* to) {
  const __m256i by_colour = _mm256_setr_epi8(0, -1, 3, -1, 6, -1, 9, -1, 1, -1, 4, -1, 7, -1, 10, -1,  //
                                             2, -1, 5, -1, 8, -1, 11, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const auto four = [](const std::int16_t* w) {
    long long bits;
    std::memcpy(&bits, w, sizeof bits);
    return _mm256_set1_epi64x(bits);
  };
  __m256i high = _mm256_setzero_si256(), low = high;
  for (std::size_t i = 0; i < fours.size(); i += 8, from += 12) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    const __m256i x = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), by_colour);
    high = _mm256_add_epi32(high, _mm256_madd_epi16(x, four(&fours[i])));
    low = _mm256_add_epi32(low, _mm256_madd_epi16(x, four(&fours[i + 4])));
  }
  const __m256i both = _mm256_add_epi32(_mm256_slli_epi32(high, 12), low);
  __m128i sum = _mm_hadd_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  sum = _mm_srai_epi32(_mm_add_epi32(sum, _mm_set1_epi32(half)), weight_bits);
  const __m128i bytes = _mm_packus_epi16(_mm_packs_epi32(sum, sum), sum);
  const int rgb = _mm_cvtsi128_si32(bytes);
  std::memcpy(to, &rgb, sizeof rgb);
}

// As row_portable, 32 bytes at once; the rest of the row, fewer than 32, is left to it. Returns where the rest begins.
inline std::int64_t row_avx2(const std::uint8_t* rows, std::int64_t stride, const std::vector<std::int32_t>& weights,
                             std::int64_t end, std::uint8_t* to) {
  const auto n = static_cast<std::int64_t>(weights.size());
  std::vector<std::int32_t> pairs(weights.size() + 1);  // of one high, of one low part: two taps in 32 bits
  for (std::int64_t j = 0; j < n; j += 2) {
    const std::int32_t a = weights[static_cast<std::size_t>(j)],
                       b = j + 1 < n ? weights[static_cast<std::size_t>(j + 1)] : 0;
    const auto pair = [](std::int32_t x, std::int32_t y) {
      return static_cast<std::int32_t>((static_cast<std::uint32_t>(x) & 0xffffu) | static_cast<std::uint32_t>(y) << 16);
    };
    pairs[static_cast<std::size_t>(j)] = pair(a >> 12, b >> 12);
    pairs[static_cast<std::size_t>(j + 1)] = pair(a & 4095, b & 4095);
  }
  const __m256i zero = _mm256_setzero_si256();
  std::int64_t i = 0;
  for (; i + 32 <= end; i += 32) {
    __m256i high[4] = {zero, zero, zero, zero}, low[4] = {zero, zero, zero, zero};
    for (std::int64_t j = 0; j < n; j += 2) {
      const auto* at = reinterpret_cast<const __m256i*>(rows + j * stride + i);
      const auto* next = reinterpret_cast<const __m256i*>(rows + (j + 1 < n ? j + 1 : j) * stride + i);
      const __m256i a = _mm256_loadu_si256(at), b = _mm256_loadu_si256(next);
      const __m256i ab = _mm256_unpacklo_epi8(a, b), cd = _mm256_unpackhi_epi8(a, b);
      const __m256i x[4] = {_mm256_unpacklo_epi8(ab, zero), _mm256_unpackhi_epi8(ab, zero),
                            _mm256_unpacklo_epi8(cd, zero), _mm256_unpackhi_epi8(cd, zero)};
      const __m256i wh = _mm256_set1_epi32(pairs[static_cast<std::size_t>(j)]),
                    wl = _mm256_set1_epi32(pairs[static_cast<std::size_t>(j + 1)]);
      for (int k = 0; k < 4; ++k) {
        high[k] = _mm256_add_epi32(high[k], _mm256_madd_epi16(x[k], wh));
        low[k] = _mm256_add_epi32(low[k], _mm256_madd_epi16(x[k], wl));
      }
    }
    __m256i sum[4];
    for (int k = 0; k < 4; ++k) {
      const __m256i both = _mm256_add_epi32(_mm256_slli_epi32(high[k], 12), low[k]);
      sum[k] = _mm256_srai_epi32(_mm256_add_epi32(both, _mm256_set1_epi32(half)), weight_bits);
    }
    const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(sum[0], sum[1]), _mm256_packs_epi32(sum[2], sum[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), bytes);
  }
  return i;
}

#endif

}  // namespace ov::resize_sums
