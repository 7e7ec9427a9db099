// A stand-in for libcublasLt on the simulated device: the same functions, stricter than the library. What it does not
// know is not supported. It refuses, and complaint() says why:
//   attributes of another size than the header's, layouts that do not fit m, n and k, an ld shorter than a column
//   pointers less aligned than was promised, a workspace too small or not at a multiple of 256
//   an algorithm used for another product than it was asked for, or none
//   a bias without the epilogue, the epilogue without a bias, a bias of another type than D or not at a multiple of 16
//   D over A, B or the bias, the workspace over any of them, C other than D, no address
//   a workspace that another stream had before: on a GPU both write to it at once
//   descriptors that were destroyed, or are of another kind; bytes that are not of one allocation (logic_error)
// A product runs in its stream's turn, in the memory that kernels see. Sums have the order of the CPU's product, so f32
// has its bits.
#pragma once
#include <string>

#include "kernels/gpu/cublaslt_api.h"

namespace ov::sim {

const gpu::lt::Api& cublaslt_stand_in();

struct CublasLtModes {
  bool order_depends_on_rows = false;  // as the real one's may: K is cut in 1 + n mod 3 pieces
  bool offers_tensor_cores = false;    // for f32 too, whatever was asked for
};
CublasLtModes& cublaslt_modes();
std::string cublaslt_complaint();  // why the last call was refused
int cublaslt_objects();            // descriptors and handles that live

}  // namespace ov::sim
