#include "base/sha256.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "base/error.h"

namespace ov {
namespace {

// K_i: the first 32 bits after the point of the cube root of the i-th prime. r = floor(2^32 p^⅓) by bisection on r³
// <= 2^96 p.
constexpr std::array<std::uint32_t, 64> round_constants() {
  std::array<std::uint32_t, 64> k{};
  int found = 0;
  for (unsigned p = 2; found < 64; ++p) {
    bool prime = true;
    for (unsigned d = 2; d * d <= p; ++d) prime = prime && p % d != 0;
    if (!prime) continue;
    unsigned __int128 low = 0, high = static_cast<unsigned __int128>(7) << 32;  // 7³ > 311, the 64th prime
    while (high - low > 1) {
      const unsigned __int128 r = (low + high) / 2;
      (r * r * r <= static_cast<unsigned __int128>(p) << 96 ? low : high) = r;
    }
    k[found++] = static_cast<std::uint32_t>(low);
  }
  return k;
}

constexpr std::array<std::uint32_t, 64> K = round_constants();

}  // namespace

void Sha256::compress(const std::uint8_t* block) {
  using std::rotr;
  std::uint32_t w[64];
  for (int i = 0; i < 16; ++i) {
    const std::uint8_t* p = block + 4 * i;
    w[i] = static_cast<std::uint32_t>(p[0]) << 24 | static_cast<std::uint32_t>(p[1]) << 16 |
           static_cast<std::uint32_t>(p[2]) << 8 | p[3];
  }
  for (int i = 16; i < 64; ++i) {
    const std::uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
    const std::uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (int i = 0; i < 64; ++i) {
    const std::uint32_t choose = (e & f) ^ (~e & g), majority = (a & b) ^ (a & c) ^ (b & c);
    const std::uint32_t t1 = h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + choose + K[i] + w[i];
    const std::uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + majority;
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  const std::uint32_t out[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; ++i) state_[i] += out[i];
}

void Sha256::update(const void* data, std::size_t bytes) {
  const auto* p = static_cast<const std::uint8_t*>(data);
  while (bytes > 0) {
    const std::size_t used = bytes_ % 64, take = std::min(bytes, 64 - used);
    if (take == 64) {
      compress(p);
    } else {
      std::memcpy(pending_ + used, p, take);
      if (used + take == 64) compress(pending_);
    }
    bytes_ += take;
    p += take;
    bytes -= take;
  }
}

// Padding: one 1 bit, zeros up to 56 mod 64 bytes, the length in bits as 64-bit big-endian.
std::string Sha256::hex() const {
  Sha256 padded = *this;
  std::uint8_t tail[72] = {0x80};
  const std::size_t zeros_to = 1 + (119 - bytes_ % 64) % 64;
  for (int i = 0; i < 8; ++i) tail[zeros_to + i] = static_cast<std::uint8_t>(bytes_ * 8 >> (56 - 8 * i));
  padded.update(tail, zeros_to + 8);
  std::string digits;
  for (const std::uint32_t word : padded.state_)
    for (int shift = 28; shift >= 0; shift -= 4) digits += "0123456789abcdef"[word >> shift & 15];
  return digits;
}

std::string sha256(std::string_view data) {
  Sha256 hash;
  hash.update(data.data(), data.size());
  return hash.hex();
}

std::string sha256_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) input_error(path, ": cannot be opened: ", std::strerror(errno));
  std::vector<char> buffer(1 << 16);
  Sha256 hash;
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), file.get()))
    hash.update(buffer.data(), got);
  if (std::ferror(file.get())) {
    if (errno == EISDIR) input_error(path, ": expected a file, found a directory");
    machine_error(path, ": reading failed: ", std::strerror(errno));
  }
  return hash.hex();
}

}  // namespace ov
