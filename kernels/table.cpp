#include "kernels/table.h"

namespace ov::kernels {

namespace {

template <class Args>
void nothing(const Args&) {}

const Table cpu_table = {
#define OV_ENTRY(name, Args) .name = cpu::name,
    OV_KERNELS(OV_ENTRY)
#undef OV_ENTRY
};

const Table nothing_table = {
#define OV_ENTRY(name, Args) .name = nothing<Args>,
    OV_KERNELS(OV_ENTRY)
#undef OV_ENTRY
};

[[maybe_unused]] const bool registered = (ov::cpu().table = &cpu_table, true);

}  // namespace

const Table& meta_table() { return nothing_table; }

}  // namespace ov::kernels
