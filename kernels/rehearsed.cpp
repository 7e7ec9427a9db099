#include "kernels/rehearsed.h"

#include "kernels/gpu/scratch.h"

namespace ov::kernels {
namespace {

template <class Args>
void rehearsed(const Args& a) {
  if constexpr (requires { scratch_of(a); }) static_cast<void>(scratch_of(a));
}

const Table table = {
#define OV_ENTRY(name, Args) .name = rehearsed<Args>,
    OV_KERNELS(OV_ENTRY)
#undef OV_ENTRY
};

}  // namespace

const Table& rehearsed_table() { return table; }

}  // namespace ov::kernels
