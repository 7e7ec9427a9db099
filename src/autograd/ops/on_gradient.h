// x itself, with something to do in backward: `come` is called when the gradient of x has come, before what made x goes
// backward. It changes no number.
#pragma once
#include "autograd/tape.h"

namespace ov {

Var on_gradient(const Var& x, std::function<void()> come);

}  // namespace ov
