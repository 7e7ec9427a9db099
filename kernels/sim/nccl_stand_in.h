// A stand-in for libnccl on the simulated device: the same functions, stricter than the library. Ranks are processes
// of one machine, each with a simulated device of its own (kernels/sim/nccl_transport.h); a call runs in its stream's
// turn, in the memory that kernels see, and waits there for the others. It refuses, and says why (ncclGetLastError):
//   a configuration that blocks, or that is not initialised; two ranks with one number; more than 8
//   a call while the one before is in progress: every call has to be asked after, and is queued only then
//   calls of one group in two streams or communicators; calls from another thread than the communicator's
//   send and receive to oneself; a type that it does not know; no elements; a communicator that has ended
//   addresses that are not of an allocation, with all their bytes; buffers that overlap other than in place
//   the end of a communicator whose calls have not run
// An asynchronous error, naming both sides: ranks whose calls differ in kind, count, type or root. Ranks that wait for
// each other wait until somebody aborts, as on a GPU.
#pragma once
#include <string>

#include "kernels/gpu/nccl_api.h"

namespace ov::sim {

const gpu::nccl::Api& nccl_stand_in();

struct NcclModes {
  bool reorder = false;  // each sum in an order of its own, as a switch's may be
  bool groups = true;    // false: as if a program had none, each call is queued by itself
  int version = 22809;
  int dies_at = 0;   // the process is killed in this group of calls, counted from 1
  int fails_at = 0;  // and this one has an asynchronous error
};
NcclModes& nccl_modes();
std::string nccl_complaint();  // why the last call was refused
int nccl_communicators();      // that live

}  // namespace ov::sim
