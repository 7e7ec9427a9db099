#include "kernels/sim/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "base/sanitizer.h"

#if OV_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if OV_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
#endif

#ifndef OV_SIM_USES_UCONTEXT
// swap_stacks(void** save, void* load): pushes the callee-saved registers, exchanges stack pointers, pops the other's.
extern "C" void ov_sim_swap_stacks(void** save, void* load);
asm(R"(
  .text
  .globl ov_sim_swap_stacks
  .type ov_sim_swap_stacks, @function
ov_sim_swap_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size ov_sim_swap_stacks, .-ov_sim_swap_stacks
)");
#endif

namespace ov::sim {
namespace {

#if OV_ADDRESS_SANITIZER
constexpr std::size_t stack_bytes = 256 << 10;  // redzones around every local make frames large
#else
constexpr std::size_t stack_bytes = 64 << 10;
#endif

thread_local Fiber* running = nullptr;

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

Fiber::Fiber() {
  const std::size_t guard = page_bytes();
  mapping_ =
      mmap(nullptr, guard + stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED)
    machine_error("kernels/sim: no memory for the stack of a fiber (", stack_bytes, " bytes)");
  mprotect(mapping_, guard, PROT_NONE);
  char* stack = static_cast<char*>(mapping_) + guard;
  self_.stack = stack;
  self_.bytes = stack_bytes;
#if OV_ADDRESS_SANITIZER
  ASAN_UNPOISON_MEMORY_REGION(stack, stack_bytes);  // an earlier mapping at this address may have left poison
#endif
#if OV_THREAD_SANITIZER
  self_.tsan_fiber = __tsan_create_fiber(0);
#endif

#ifdef OV_SIM_USES_UCONTEXT
  getcontext(&self_.registers);
  self_.registers.uc_stack.ss_sp = stack;
  self_.registers.uc_stack.ss_size = stack_bytes;
  self_.registers.uc_link = nullptr;
  makecontext(&self_.registers, &Fiber::entry, 0);
#else
  // What the first switch pops: six registers, then entry as the return address. On entry the stack pointer must be
  // 8 below a multiple of 16, as after a call. Stacks are offset by a few lines so that they do not share cache sets.
  static thread_local unsigned created = 0;
  auto** top = reinterpret_cast<void**>(stack + stack_bytes - 64 - created++ % 32 * 128);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&Fiber::entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  self_.stack_pointer = top;
#endif
}

Fiber::~Fiber() {
#if OV_THREAD_SANITIZER
  __tsan_destroy_fiber(self_.tsan_fiber);
#endif
  munmap(mapping_, page_bytes() + stack_bytes);
}

void Fiber::swap(Context& from, Context& to) {
#if OV_ADDRESS_SANITIZER
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack, to.bytes);
#endif
#if OV_THREAD_SANITIZER
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
#ifdef OV_SIM_USES_UCONTEXT
  swapcontext(&from.registers, &to.registers);
#else
  ov_sim_swap_stacks(&from.stack_pointer, to.stack_pointer);
#endif
#if OV_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

void Fiber::entry() {
#if OV_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(nullptr, &running->caller_.stack, &running->caller_.bytes);
#endif
  for (Fiber* self = running;;) {
    (*self->body_)();
    self->body_ = nullptr;
    suspend();
  }
}

void Fiber::start(const std::function<void()>& body) { body_ = &body; }

void Fiber::resume() {
  running = this;
#if OV_THREAD_SANITIZER
  caller_.tsan_fiber = __tsan_get_current_fiber();
#endif
  swap(caller_, self_);
  running = nullptr;
}

void Fiber::suspend() { swap(running->self_, running->caller_); }

}  // namespace ov::sim
