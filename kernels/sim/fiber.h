// A fiber: a stack of its own and a place to continue from. One fiber runs one CUDA thread of kernels/sim.
//
// resume() runs the fiber until it calls suspend() or its body returns; it is called from outside any fiber.
// On x86-64 a switch saves six registers (5-10 ns); elsewhere, or with OV_SIM_UCONTEXT defined, it is swapcontext.
// Address and thread sanitizer are told of every switch. A guard page below the stack turns an overflow into a fault.
#pragma once
#include <cstddef>
#include <functional>

#if !defined(__x86_64__) || defined(OV_SIM_UCONTEXT)
#define OV_SIM_USES_UCONTEXT 1
#include <ucontext.h>
#endif

namespace ov::sim {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Gives the fiber its next body, which must outlive the run and must not throw. Only when finished().
  void start(const std::function<void()>& body);
  void resume();
  static void suspend();  // of the fiber that is running on this OS thread
  bool finished() const { return body_ == nullptr; }

 private:
  struct Context {
    void* stack_pointer = nullptr;
    const void* stack = nullptr;
    std::size_t bytes = 0;
    void* fake_stack = nullptr;  // address sanitizer's own stack of this context
    void* tsan_fiber = nullptr;
#ifdef OV_SIM_USES_UCONTEXT
    ucontext_t registers{};
#endif
  };

  static void entry();
  static void swap(Context& from, Context& to);

  Context self_, caller_;
  void* mapping_ = nullptr;
  const std::function<void()>* body_ = nullptr;
};

}  // namespace ov::sim
