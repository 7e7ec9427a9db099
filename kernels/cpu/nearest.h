#pragma once
#include "kernels/nearest.h"

namespace ov::kernels::cpu {

void nearest(const Nearest&);

}  // namespace ov::kernels::cpu
