#include "base/sum.h"
#include "kernels/cross_entropy.h"
#include "kernels/table.h"

namespace ov::kernels::cpu {

void weighted_mean(const WeightedMean& a) {
  by_dtype(a.values.dtype(), [&](auto t) {
    using A = Accum<decltype(t)>;
    const A *weights = a.weights.device_data<A>(), *values = a.values.device_data<A>();
    a.mean.device_data<A>()[0] =
        a.denominator == 0 ? A(0) : dot<A>(a.values.numel(), weights, values) / A(a.denominator);
  });
}

}  // namespace ov::kernels::cpu
