// What all ranks of a mesh do together.
#include "comm/together.h"

#include <doctest/doctest.h>

#include "parallel/mesh.h"
#include "tests/comm/forked_ranks.h"

using namespace ov;
using namespace ov::test;

TEST_CASE(
    "together: every rank of a mesh hears a text and a row of every other, and the error of the first that fails") {
  for (const Ended& e : in_ranks(8, 60, [](ProcessRanks& world) {
         Mesh mesh(world, 2, 2);  // dp 2 x pp 2 x tp 2
         const Together all({&mesh.tensor, &mesh.context, &mesh.pipe, &mesh.experts, &mesh.data});
         const auto require = [&](bool holds, const std::string& what) {
           if (!holds) input_error("rank ", world.rank(), ": not so: ", what);
         };
         require(all.rank() == world.rank() && all.ranks() == 8, "the same ranks");
         for (int from = 0; from < 8; ++from)
           require(all.hear(cat("I am ", all.rank()), from) == cat("I am ", from), cat("rank ", from, " is heard"));
         const std::vector<std::int64_t> rows = all.gather({all.rank() + 10, -all.rank()});
         for (int r = 0; r < 8; ++r)
           require(rows[static_cast<std::size_t>(2 * r)] == r + 10 && rows[static_cast<std::size_t>(2 * r + 1)] == -r,
                   cat("the row of rank ", r));
         int ran = 0;
         all.attempt([&] { ++ran; });
         for (const int first : {0, 3, 7}) {
           std::string said;
           try {
             all.attempt([&] {
               ++ran;
               if (all.rank() >= first) machine_error("file ", all.rank(), " is full");
             });
           } catch (const Error& e) {
             said = e.what();
             require(e.exit() == Exit::machine_failed, "the exit code");
           }
           require(said == cat("rank ", first, ": file ", first, " is full"), said);
         }
         require(ran == 4, "every part ran");
         world.barrier();
       }))
    CHECK_MESSAGE(e.exit == 0, e.error);
  std::string alone;
  try {
    Together({&one_rank()}).attempt([] { input_error("as it is"); });
  } catch (const Error& e) { alone = e.what(); }
  CHECK(alone == "as it is");
}
