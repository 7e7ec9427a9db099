// Whole runs of copies of a model, with every stage of ZeRO and without, saved and gone on with by others: one rank's
// files. Steps, bytes and memory of one engine: zero_test.cpp.
#include <doctest/doctest.h>

#include "tests/parallel/context_world.h"

using namespace ov;
using namespace ov::test;

namespace {

// Twenty steps in each of the meshes but the last, saved after ten, from where the next in the list goes on.
void same_files_in(const MeshWorld& world, const std::vector<Ways>& meshes) {
  const TrainJob one = world.saved_job("one");
  quietly(one);
  const std::string expected = files_of(one);
  for (std::size_t i = 0; i + 1 < meshes.size(); ++i) {
    const Ways &first = meshes[i], &next = meshes[i + 1];
    const TrainJob job = world.saved_job(cat("mesh", i));
    in_mesh(first, job);
    CHECK_MESSAGE(files_of(job) == expected, first.said());
    cut(job);
    in_mesh(next, job);
    CHECK_MESSAGE(files_of(job) == expected, first.said(), ", then ", next.said());
    fs::remove_all(job.out);
  }
}

}  // namespace

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
