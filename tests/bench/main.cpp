// build/bench [--torch PYTHON] [--faiss PYTHON] [--arrow PYTHON] [--llama PYTHON] [name...]: runs the named benchmarks,
// or all. PYTHON: an interpreter that has PyTorch, FAISS, pyarrow, or gguf and llama-cpp-python.
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "tests/bench/bench.h"

namespace ov::bench {
namespace {
std::vector<Benchmark*>& all() {
  static std::vector<Benchmark*> list;
  return list;
}
std::string torch, faiss, arrow, llama;
}  // namespace

const std::string& torch_python() { return torch; }
const std::string& faiss_python() { return faiss; }
const std::string& arrow_python() { return arrow; }
const std::string& llama_python() { return llama; }

Benchmark::Benchmark(const char* name, void (*run)()) : name(name), run(run) { all().push_back(this); }

}  // namespace ov::bench

int main(int argc, char** argv) {
  using namespace ov::bench;
  std::vector<Benchmark*> chosen;
  int first = 1;
  for (; first + 1 < argc; first += 2)
    if (!std::strcmp(argv[first], "--torch")) torch = argv[first + 1];
    else if (!std::strcmp(argv[first], "--faiss")) faiss = argv[first + 1];
    else if (!std::strcmp(argv[first], "--arrow")) arrow = argv[first + 1];
    else if (!std::strcmp(argv[first], "--llama")) llama = argv[first + 1];
    else break;
  for (int i = first; i < argc; ++i) {
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
  try {
    for (Benchmark* b : argc > first ? chosen : all()) b->run();
  } catch (const ov::Error& e) {
    std::fprintf(stderr, "bench: %s\n", e.what());
    return static_cast<int>(e.exit());
  }
  return 0;
}
