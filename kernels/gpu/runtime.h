// The door to a GPU's runtime: the calls that the program makes, and no others (`make arch-check` finds vendor names
// outside of kernels/gpu). A CudaDevice (cuda_device.h) is given one of two:
//
//   cuda_runtime()      NVIDIA's, linked statically; null with a reason where the program was built without it
//   sim::SimRuntime     a machine without a GPU, stricter than one (kernels/sim/runtime.h); tests only
//
// A call that fails throws machine_error: the call, its arguments, the code's name, and the line that made it. Two
// classes: after most errors the device goes on (an argument, no memory left); after the others (an address that is not
// there, an instruction that failed) everything on it is lost, every later call fails too, and only a new process
// helps. Errors of a kernel come out of whatever call is next. Nothing that gives back throws, so that the first
// error is the one that is seen.
//
// Streams do not wait for the one that CUDA has by default, nor it for them; copies to and from the host go through
// pinned memory alone, since only for it does CUDA say when the host's side is read or written.
#pragma once
#include <cstddef>
#include <string>

#include "tensor/device.h"

namespace ov::gpu {

struct StreamHandle;  // the runtime's own
struct EventHandle;
using Stream = StreamHandle*;
using Event = EventHandle*;
// Where a call stands, for its errors: std::source_location, which clang 14 lacks.
class Place {
 public:
  static constexpr Place current(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    return Place(file, line);
  }
  constexpr const char* file_name() const { return file_; }
  constexpr unsigned line() const { return line_; }

 private:
  constexpr Place(const char* file, unsigned line) : file_(file), line_(line) {}
  const char* file_;
  unsigned line_;
};

enum class Copy { to_device, to_host };
enum class Attribute { multiprocessors, major, minor, shared_bytes_opt_in, l2_bytes };

class Runtime {
 public:
  virtual ~Runtime() = default;

  virtual int device_count(std::string& reason) = 0;                 // 0, and why, when none can be used
  virtual void set_device(int index, Place = Place::current()) = 0;  // of this thread
  virtual int attribute(Attribute, int index, Place = Place::current()) = 0;
  virtual std::string device_name(int index, Place = Place::current()) = 0;
  struct Memory {
    std::size_t free, total;
  };
  virtual Memory memory_info(Place = Place::current()) = 0;
  struct Versions {
    int driver, runtime;  // version_text()
  };
  virtual Versions versions(Place = Place::current()) = 0;

  virtual void* allocate(std::size_t bytes, Place = Place::current()) = 0;  // null: no memory left. At multiples of 256
  virtual void release(void* data) noexcept = 0;
  virtual void* pinned_allocate(std::size_t bytes, Place = Place::current()) = 0;
  virtual void pinned_release(void* data) noexcept = 0;

  // In the stream's turn. The host's side is pinned, and belongs to the copy until the stream has come past it.
  virtual void copy(void* to, const void* from, std::size_t bytes, Copy, Stream, Place = Place::current()) = 0;
  virtual void fill(void* to, int byte, std::size_t bytes, Stream, Place = Place::current()) = 0;

  virtual Stream stream_create(bool urgent, Place = Place::current()) = 0;
  virtual void stream_destroy(Stream) noexcept = 0;
  virtual void stream_synchronize(Stream, Place = Place::current()) = 0;
  virtual void stream_wait(Stream, Event, Place = Place::current()) = 0;  // for what the event holds at this call

  virtual Event event_create(bool timed, Place = Place::current()) = 0;
  virtual void event_destroy(Event) noexcept = 0;
  virtual void event_record(Event, Stream, Place = Place::current()) = 0;  // all that is queued in the stream so far
  virtual bool event_done(Event, Place = Place::current()) = 0;
  // The same for a thread that watches: while others are in calls that do not return, too.
  virtual bool event_past(Event e, Place at = Place::current()) { return event_done(e, at); }
  virtual void event_synchronize(Event, Place = Place::current()) = 0;
  virtual float event_elapsed(Event from, Event to, Place = Place::current()) = 0;  // ms

  // How a block that was cut from allocated memory lies in it. On a GPU it begins where the arena says.
  struct Layout {
    std::size_t alignment, bytes, shift;  // what the arena must give, and where in it the block begins
  };
  virtual Layout layout(std::size_t bytes) { return {256, bytes, 0}; }
  // What a GPU need not know and the simulated one checks: that a block is in use from here on in the stream's order
  // (null: from now on), that it is not any more, and that the host's `to` will be written later.
  virtual void handed_out(void*, std::size_t, Segment, Stream) {}
  virtual void retired(void*, Stream) noexcept {}
  virtual void unwritten(void*, std::size_t) {}
  // That the host goes to wait for others, who may wait for what is queued in the stream: a GPU works meanwhile.
  virtual void host_away(Stream) {}
};

// 13000 is 13.0
inline std::string version_text(int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }
Runtime* cuda_runtime(std::string& reason);

// What launch() of kernels/cuda/language.h calls when it was compiled for a GPU.
struct Launch {
  const void* kernel;
  unsigned grid[3], block[3];
  std::size_t shared_bytes;
  Stream stream;
};
void launch(const Launch&, void** arguments, Place);

}  // namespace ov::gpu
