// A device is a memory, queues of work on it, and a table of kernels (kernels/table.h).
//
//   cpu      the host
//   cuda     a GPU
//   meta     no memory and no arithmetic: shapes only. It counts what would be allocated, so `plan` runs the real model
//   sim      host memory, the .cu kernels run by kernels/sim; tests only
//   foreign  cpu kernels on memory that the host cannot touch, everything run late (tests/devices); tests only
//
// Work given to a device is queued: kernels in its compute stream, in the order of the calls. The host sees results
// after synchronize(). On cpu and sim everything has happened when the call returns.
//
// Every allocation carries a segment tag; current bytes and high-water marks are kept per segment.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

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

// The queues of a device. Each runs in order; between them the only order is what wait() asks for.
enum class Stream : std::uint8_t { compute, copy };

class Device {
 public:
  enum class Kind { cpu, cuda, meta, sim, foreign };
  Device(Kind kind, std::string name, const kernels::Table* table) : kind(kind), name(std::move(name)), table(table) {}
  virtual ~Device() = default;
  Device(const Device&) = delete;

  // machine_error when there is no memory left, even after freed blocks that were kept went back to the system. A block
  // that is handed out again may be written from any stream: the device orders that after the block's last use.
  void* allocate(std::size_t bytes, Segment segment);
  // May be called while queued work still uses the block.
  void release(void* data, std::size_t bytes, Segment segment) noexcept;

  // Between host and device; tensor/transfer.h calls them. copy_in has read `from` when it returns; copy_out has
  // written `to` when synchronize() returns.
  virtual void copy_in(void* to, const void* from, std::size_t bytes, Stream stream) = 0;
  virtual void copy_out(void* to, const void* from, std::size_t bytes, Stream stream) = 0;
  // What is queued in `waiting` after this call runs after all that is queued in `awaited` before it.
  virtual void wait([[maybe_unused]] Stream waiting, [[maybe_unused]] Stream awaited) {}
  virtual void synchronize() {}

  // What a run's log says of the device, since bits depend on it: names and values. Nothing of the host.
  virtual std::vector<std::pair<std::string, std::string>> about() { return {}; }
  // What was chosen on the device so far and decides bits, as a text to keep; empty: nothing. A run that goes on brings
  // it back with choose(), before its first kernel; `from` names the text in errors. Returns how the device that it was
  // chosen on differs; then nothing of it is used.
  virtual std::string chosen() { return ""; }
  virtual std::string choose(const std::string&, const std::string&) { return ""; }

  bool has_data() const { return kind != Kind::meta; }
  bool on_host() const { return kind == Kind::cpu || kind == Kind::sim; }  // the host may read and write its memory
  // Models run two ops in one pass over memory (nn/layers.h). It pays where bytes decide, on a GPU; the bits are the
  // same. On the host each op alone is as fast.
  virtual bool fuses() const { return has_data() && !on_host(); }
  MemoryUse memory() const;
  void reset_peaks();
  virtual void flush() {}  // freed blocks that were kept go back to the system

  // While one lives, what this thread allocates and releases on the device is counted in it, apart from the rest. How
  // far pieces of work that run at the same time overlap is chance; what each of them takes is not.
  class Share {
   public:
    explicit Share(Device& device);
    ~Share() { close(); }
    Share(const Share&) = delete;
    MemoryUse close();  // what it has not released counts as the device's from here on

   private:
    friend class Device;
    Device& device_;
    Share* outer_;
    MemoryUse use_;
    bool open_ = true;
  };
  // Raises the device's high-water marks to the most that these shares could have taken, at most `at_once` of them at
  // the same time: as if those that took most had been at their highest together.
  void overlapped(const std::vector<MemoryUse>& shares, std::size_t at_once);

  const Kind kind;
  const std::string name;
  const kernels::Table* table;  // set when the kernels register, at program start

 protected:
  virtual void* obtain(std::size_t bytes, Segment segment) = 0;  // null: no memory left
  virtual void give_back(void* data, std::size_t bytes) noexcept = 0;

 private:
  void tally(std::int64_t bytes, Segment segment) noexcept;

  mutable std::mutex mutex_;
  MemoryUse use_;
};

// Host memory, 64-byte aligned (tensor/arena.h).
class HostDevice : public Device {
 public:
  static constexpr std::size_t unlimited = ~std::size_t{0};
  HostDevice(Kind kind, std::string name, const kernels::Table* table, std::size_t limit = unlimited);
  ~HostDevice() override;
  void copy_in(void* to, const void* from, std::size_t bytes, Stream stream) override;
  void copy_out(void* to, const void* from, std::size_t bytes, Stream stream) override;

 protected:
  void* obtain(std::size_t bytes, Segment segment) override;
  void give_back(void* data, std::size_t bytes) noexcept override;
  void flush() override;

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

class MetaDevice : public Device {
 public:
  MetaDevice();
  void copy_in(void*, const void*, std::size_t, Stream) override {}
  void copy_out(void*, const void*, std::size_t, Stream) override {}

 protected:
  void* obtain(std::size_t, Segment) override { return nullptr; }
  void give_back(void*, std::size_t) noexcept override {}
};

Device& cpu();

}  // namespace ov
