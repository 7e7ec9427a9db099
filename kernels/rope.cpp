#include "kernels/rope.h"

#include <cmath>

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void check_rope_table(const char* op, const Tensor& x, const Tensor& cos) {
  if (x.dim(-1) != 2 * cos.dim(-1))
    input_error(op, ": x is ", x.shape().str(), ", so cos needs ", x.dim(-1) / 2, " columns, got ", cos.shape().str());
}

void rope_forward(const RopeForward& a) {
  check("rope_forward",
        {{"x", a.x, "T H D"}, {"y", a.y, "T H D"}, {"cos", a.cos, "T R:acc"}, {"sin", a.sin, "T R:acc"}});
  check_rope_table("rope_forward", a.x, a.cos);
  OV_RUN(a.x, rope_forward, a);
}

void rope_backward(const RopeBackward& a) {
  check("rope_backward", {{"x", a.x, "T H D"},
                          {"dy", a.dy, "T H D"},
                          {"dx", a.dx, "T H D?"},
                          {"cos", a.cos, "T R:acc"},
                          {"sin", a.sin, "T R:acc"},
                          {"dcos", a.dcos, "T R:acc?"},
                          {"dsin", a.dsin, "T R:acc?"}});
  check_rope_table("rope_backward", a.x, a.cos);
  OV_RUN(a.x, rope_backward, a);
}

void rope_table_1d(const RopeTable1d& a) {
  check("rope_table_1d", {{"cos", a.cos, "T R"},
                          {"sin", a.sin, "T R"},
                          {"positions", a.positions, "T:i64"},
                          {"inv_freq", a.inv_freq, "R:f32"}});
  OV_RUN(a.cos, rope_table_1d, a);
}

void rope_table_2d_forward(const RopeTable2dForward& a) {
  check("rope_table_2d_forward", {{"class_angles", a.class_angles, "R"},
                                  {"cos", a.cos, "T R:acc"},
                                  {"sin", a.sin, "T R:acc"},
                                  {"positions", a.positions, "T 2:i64"},
                                  {"inv_freq", a.inv_freq, "F:f32"}});
  if (a.cos.dim(1) != 2 * a.inv_freq.dim(0))
    input_error("rope_table_2d_forward: the table needs two columns a frequency");
  OV_RUN(a.cos, rope_table_2d_forward, a);
}

void rope_table_2d_backward(const RopeTable2dBackward& a) {
  check("rope_table_2d_backward", {{"cos", a.cos, "T R"},
                                   {"sin", a.sin, "T R"},
                                   {"dcos", a.dcos, "T R"},
                                   {"dsin", a.dsin, "T R"},
                                   {"positions", a.positions, "T 2:i64"},
                                   {"dclass_angles", a.dclass_angles, "R:acc"}});
  OV_RUN(a.cos, rope_table_2d_backward, a);
}

std::vector<float> inverse_frequencies(std::int64_t dim, double theta) {
  std::vector<float> w(static_cast<std::size_t>(dim / 2));
  for (std::int64_t k = 0; k < dim / 2; ++k) {
    const float exponent = static_cast<float>(2 * k) / static_cast<float>(dim);
    const auto power = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    w[static_cast<std::size_t>(k)] = 1.0f / power;
  }
  return w;
}

}  // namespace ov::kernels
