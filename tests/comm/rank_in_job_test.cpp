#include "comm/rank_in_job.h"

#include <doctest/doctest.h>

#include <map>

#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

using Set = std::map<std::string, std::string>;

RankInJob place(const Set& variables) {
  return rank_of([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

}  // namespace

TEST_CASE("ranks: each way of starting says which rank a process is, and jobs are told apart") {
  CHECK(place({}).ranks == 1);
  CHECK(place({{"SLURM_NTASKS", "8"}, {"SLURM_JOB_ID", "7"}}).ranks == 1);  // a shell of salloc is no rank
  const std::vector<Set> all = {
      {{"RANK", "2"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "2"}, {"LOCAL_WORLD_SIZE", "4"}, {"MASTER_PORT", "1"}},
      {{"OMPI_COMM_WORLD_RANK", "2"},
       {"OMPI_COMM_WORLD_SIZE", "4"},
       {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
       {"PMIX_NAMESPACE", "x"}},
      {{"PMI_RANK", "2"}, {"PMI_SIZE", "4"}},
      {{"SLURM_PROCID", "2"}, {"SLURM_NTASKS", "4"}, {"SLURM_STEP_NUM_NODES", "1"}, {"SLURM_JOB_ID", "7"}}};
  for (const Set& variables : all) {
    const RankInJob p = place(variables);
    CHECK(p.rank == 2);
    CHECK(p.ranks == 4);
    CHECK(variables.count(p.source.substr(0, p.source.find(','))) == 1);
    Set other = variables;
    for (auto& [name, value] : other)
      if (name == "MASTER_PORT" || name == "PMIX_NAMESPACE" || name == "SLURM_JOB_ID") {
        value += "1";
        CHECK(place(other).job != p.job);
      }
  }
  // mpirun inside a job of Slurm, and launch inside both: the innermost counts.
  Set inner = all[3];
  inner["SLURM_PROCID"] = "0";
  for (const Set& more : {all[1], all[0]}) {
    inner.insert(more.begin(), more.end());
    CHECK(place(inner).source == place(more).source);
  }
}

TEST_CASE("ranks: a wrong or missing variable is named") {
  const auto wrong = [](const Set& variables) { return thrown([&] { place(variables); }); };
  CHECK(wrong({{"RANK", "1"}}) == "RANK is set and WORLD_SIZE is missing: both say which rank this process is");
  CHECK(contains(wrong({{"WORLD_SIZE", "2"}}), "RANK is missing"));
  CHECK(contains(wrong({{"SLURM_PROCID", "2"}}), "SLURM_NTASKS is missing"));
  for (const char* value : {"", "x", "-1", "1.5", "1 ", "99999999999"})
    CHECK(contains(wrong({{"RANK", value}, {"WORLD_SIZE", "2"}}),
                   cat("RANK: expected a whole number of at least 0, found '", value)));
  CHECK(contains(wrong({{"RANK", "0"}, {"WORLD_SIZE", "0"}}), "WORLD_SIZE: expected a whole number of at least 1"));
  CHECK(wrong({{"RANK", "2"}, {"WORLD_SIZE", "2"}}) == "RANK is 2 and WORLD_SIZE 2: expected a rank below it");
  CHECK(contains(wrong({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "2"}}), "LOCAL_RANK is 2"));
  CHECK(contains(wrong({{"RANK", "0"}, {"WORLD_SIZE", "4"}, {"LOCAL_WORLD_SIZE", "2"}}), "memory of one machine"));
  CHECK(contains(wrong({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "2"}, {"SLURM_STEP_NUM_NODES", "2"}}),
                 "memory of one machine"));
}
