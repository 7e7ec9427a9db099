// A device is a memory and a table of kernels (kernels/table.h).
//
//   cpu   the host
//   meta  no memory and no arithmetic: shapes only. It counts what would be allocated, so `plan` runs the real model
//   sim   host memory, the .cu kernels run by kernels/sim; tests only
//
// Every allocation carries a segment tag; current bytes and high-water marks are kept per segment.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

namespace ov {

namespace kernels {
struct Table;
}

enum class Segment : std::uint8_t { weights, gradients, optimizer, activations, workspace, data };
constexpr int segment_count = 6;
const char* name_of(Segment segment);

struct MemoryUse {
  std::array<std::int64_t, segment_count> bytes{}, peak{};  // now, and the highest so far, by segment
  std::int64_t total = 0, total_peak = 0;
};

class Device {
 public:
  enum class Kind { cpu, meta, sim };
  Device(Kind kind, std::string name, const kernels::Table* table) : kind(kind), name(std::move(name)), table(table) {}
  virtual ~Device() = default;
  Device(const Device&) = delete;

  void* allocate(std::size_t bytes, Segment segment);
  void release(void* data, std::size_t bytes, Segment segment) noexcept;
  bool has_data() const { return kind != Kind::meta; }
  MemoryUse memory() const;
  void reset_peaks();

  const Kind kind;
  const std::string name;
  const kernels::Table* table;  // set when the kernels register, at program start

 protected:
  virtual void* obtain(std::size_t bytes) = 0;
  virtual void give_back(void* data, std::size_t bytes) noexcept = 0;

 private:
  mutable std::mutex mutex_;
  MemoryUse use_;
};

// Host memory, 64-byte aligned, with freed blocks kept for the next allocation of their size class: first for one by
// the same thread, whose caches may still hold the block, then for any.
class HostDevice : public Device {
 public:
  using Device::Device;
  ~HostDevice() override;

 protected:
  void* obtain(std::size_t bytes) override;
  void give_back(void* data, std::size_t bytes) noexcept override;

 private:
  struct Free {
    Free* next;
  };
  static constexpr std::size_t classes = 256, shelves = 16;  // threads beyond that share
  struct Shelf {
    std::mutex mutex;
    std::array<Free*, classes> free{};
    Free* take(std::size_t size_class);
  };
  static std::size_t own_shelf();
  std::array<Shelf, shelves> shelves_;
};

class MetaDevice : public Device {
 public:
  MetaDevice();

 protected:
  void* obtain(std::size_t) override { return nullptr; }
  void give_back(void*, std::size_t) noexcept override {}
};

Device& cpu();

}  // namespace ov
