// build/bench [name...]: runs the named benchmarks, or all.
#include <cstdio>
#include <cstring>

#include "tests/bench/bench.h"

namespace ov::bench {
namespace {
std::vector<Benchmark*>& all() {
  static std::vector<Benchmark*> list;
  return list;
}
}  // namespace

Benchmark::Benchmark(const char* name, void (*run)()) : name(name), run(run) { all().push_back(this); }

}  // namespace ov::bench

int main(int argc, char** argv) {
  using namespace ov::bench;
  std::vector<Benchmark*> chosen;
  for (int i = 1; i < argc; ++i) {
    const auto found =
        std::find_if(all().begin(), all().end(), [&](const Benchmark* b) { return !std::strcmp(b->name, argv[i]); });
    if (found == all().end()) {
      std::fprintf(stderr, "bench: no benchmark is called '%s'; there are:", argv[i]);
      for (const Benchmark* b : all()) std::fprintf(stderr, " %s", b->name);
      std::fprintf(stderr, "\n");
      return 2;
    }
    chosen.push_back(*found);
  }
  for (Benchmark* b : argc > 1 ? chosen : all()) b->run();
  return 0;
}
