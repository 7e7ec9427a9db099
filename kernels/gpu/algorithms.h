// The algorithms that cuBLASLt chose, a product each, as a file: a run that goes on computes with those it began with,
// and who repeats a run can compare. JSON:
//
//   {"about": {"compute_capability": "9.0", "multiprocessors": "132", "cublaslt": "130101", ...},
//    "algorithms": {"column-major 4096 x 8192 x 4096 TN, ld ..., bf16 to bf16, ...": "128 hexadecimal digits"}}
//
// The digits are the library's own 64 bytes, which mean something to the same version of it alone, on GPUs of the same
// compute capability and number of multiprocessors (cuBLAS guide 2.1.4, "Results reproducibility").
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kernels/gpu/cublaslt_api.h"

namespace ov::gpu {

using Algorithms = std::map<std::string, lt::Algo>;              // by the product's shape, in words
using About = std::vector<std::pair<std::string, std::string>>;  // of a GPU: name and value

std::string algorithms_text(const About& about, const Algorithms& algorithms);

struct KeptAlgorithms {
  Algorithms algorithms;
  std::string differs;  // where they are of another GPU or library: how; then there are none
};
// input_error names `from` and what is wrong with the text.
KeptAlgorithms kept_algorithms(const std::string& text, const std::string& from, const About& about);

}  // namespace ov::gpu
