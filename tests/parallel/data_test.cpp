// Whole runs of copies of a model, with every stage of ZeRO and without, saved and gone on with by others: one rank's
// files. Steps, bytes and memory of one engine: zero_test.cpp.
#include <doctest/doctest.h>

#include "tests/parallel/context_world.h"

using namespace ov;
using namespace ov::test;

TEST_CASE("data parallel: 20 steps of dp 4 with ZeRO 3, resumed by dp 2 with ZeRO 1, are one rank's files") {
  same_files_in(MeshWorld(), {{.data = 4, .zero = 3}, {.data = 2, .zero = 1, .overlap = true}});
}

TEST_CASE("data parallel: 20 steps of every mesh, dense and with experts, each resumed by another" * doctest::skip()) {
  std::vector<Ways> meshes = {{}};
  for (const int zero : {0, 3, 1, 2})
    for (const int data : {2, 4, 3})
      if (data != 3 || zero < 2)  // stages 2 and 3 take a power of two
        for (const bool overlap : {false, true}) meshes.push_back({.data = data, .zero = zero, .overlap = overlap});
  meshes.push_back({});
  for (const Strings& more : {Strings(), experts()}) same_files_in(MeshWorld(more), meshes);
}
