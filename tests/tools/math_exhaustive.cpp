// The f32 functions of base/math.h against fp64 libm on all 2^32 inputs.
//
//   math_exhaustive [--quick]     --quick: every 997th bit pattern and its negative
//
// Prints a line per function: the largest error in ulps, where, and a checksum of all result bits, which must be the
// same for every compiler, optimisation level and instruction set. Exit 0 when every bound holds, 1 when one does
// not, 2 for a wrong argument.
#include <cstdio>
#include <cstring>
#include <thread>

#include "tests/tools/math_check.h"

int main(int argc, char** argv) {
  using namespace ov::math_check;
  const bool quick = argc == 2 && std::strcmp(argv[1], "--quick") == 0;
  if (argc > 1 && !quick) {
    std::fprintf(stderr, "math_exhaustive: unknown argument '%s', expected --quick or nothing\n", argv[1]);
    return 2;
  }
  const unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  bool all_hold = true;
  std::printf("function      inputs   bound   worst ulp   at                             checksum\n");
  for (const Function& f : functions) {
    const Result r = check(f, quick ? 997 : 1, threads);
    const bool holds = r.worst <= f.bound;
    all_hold = all_hold && holds;
    std::printf("%-8s  %10llu   %5.2f   %9.6f   %-16a %-12.6g  %016llx%s\n", f.name,
                static_cast<unsigned long long>(r.inputs), f.bound, r.worst, static_cast<double>(r.worst_at),
                static_cast<double>(r.worst_at), static_cast<unsigned long long>(r.checksum),
                holds ? "" : "   EXCEEDS");
    std::fflush(stdout);
  }
  return all_hold ? 0 : 1;
}
