#include "kernels/nearest.h"

#include "base/error.h"
#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void nearest(const Nearest& n) {
  check("nearest", {{"a", n.a, "N C"}, {"b", n.b, "M C"}, {"ids", n.ids, "N K:i32!"}, {"scores", n.scores, "N K!"}});
  if (n.a.dtype() != Dtype::f32) input_error("nearest: expected f32 tensors, got ", name_of(n.a.dtype()));
  const std::int64_t k = n.ids.dims<2>()[1], rows = n.b.dims<2>()[0];
  if (k < 1 || k > rows || rows > INT32_MAX)
    input_error("nearest: ", k, " of ", rows, " rows are asked for; expected between 1 and all, of fewer than 2^31");
  OV_RUN(n.a, nearest, n);
}

}  // namespace ov::kernels
