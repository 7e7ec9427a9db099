// The entry of libFuzzer: `fuzz list` prints the targets, FUZZ_TARGET=json chooses one.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/fuzz/targets.h"

namespace {

const ov::FuzzTarget* chosen = nullptr;

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc > 1 && std::strcmp((*argv)[1], "list") == 0) {
    for (const auto& target : ov::fuzz_targets()) std::puts(target.name);
    std::exit(0);
  }
  const char* name = std::getenv("FUZZ_TARGET");
  for (const auto& target : ov::fuzz_targets())
    if (name && std::strcmp(target.name, name) == 0) chosen = &target;
  if (!chosen) std::fprintf(stderr, "FUZZ_TARGET: expected a name that 'fuzz list' prints\n"), std::exit(2);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  ov::fuzz(*chosen, {reinterpret_cast<const char*>(data), size});
  return 0;
}
