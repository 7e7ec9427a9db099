// SHA-256 (FIPS 180-4), for naming files and models by their content.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ov {

class Sha256 {
 public:
  void update(const void* data, std::size_t bytes);
  // 64 lower-case hex digits of everything so far; more may follow with update().
  std::string hex() const;

 private:
  void compress(const std::uint8_t* block);

  std::uint32_t state_[8] = {0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
                             0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};
  std::uint8_t pending_[64] = {};  // the first bytes_ % 64 are in use
  std::uint64_t bytes_ = 0;
};

std::string sha256(std::string_view data);
// input_error when the file cannot be opened, machine_error when reading it fails; both name it.
std::string sha256_file(const std::string& path);

}  // namespace ov
