#include "comm/rank_in_job.h"

#include <doctest/doctest.h>

#include <map>

#include "comm/host_list.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

using Set = std::map<std::string, std::string>;

RankInJob place(const Set& variables, const std::string& address = "") {
  return rank_of(
      [&](const char* name) -> const char* {
        const auto found = variables.find(name);
        return found == variables.end() ? nullptr : found->second.c_str();
      },
      address);
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
  // srun gives PMI's to its tasks too; mpirun's own say how many are here, or count otherwise.
  Set task = all[3];
  task.insert({{"PMI_RANK", "2"}, {"PMI_SIZE", "4"}});
  CHECK(place(task).source == "SLURM_PROCID, SLURM_NTASKS");
  CHECK(place(task).job == place(all[3]).job);
  for (const auto& more : {std::pair{"MPI_LOCALNRANKS", "4"}, {"PMI_RANK", "3"}, {"PMI_SIZE", "5"}}) {
    Set other = task;
    other[more.first] = more.second;
    CHECK(place(other).source == "PMI_RANK, PMI_SIZE");
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
  const std::string missing = " is missing: the ranks are on several machines";
  CHECK(wrong({{"RANK", "0"}, {"WORLD_SIZE", "4"}, {"LOCAL_WORLD_SIZE", "2"}}) == "LOCAL_RANK" + missing);
  const Set slurm = {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "2"}, {"SLURM_STEP_NUM_NODES", "2"}};
  CHECK(wrong(slurm) == "SLURM_STEP_TASKS_PER_NODE" + missing);
  Set more = slurm;
  more["SLURM_STEP_TASKS_PER_NODE"] = "2,1";
  CHECK(wrong(more) == "SLURM_STEP_TASKS_PER_NODE is '2,1', 3 in all, and SLURM_NTASKS 2");
  more["SLURM_STEP_TASKS_PER_NODE"] = "1(x2)";
  CHECK(wrong(more) == "SLURM_NODEID" + missing);
  more["SLURM_NODEID"] = "2";
  CHECK(wrong(more) == "SLURM_NODEID is 2 and SLURM_STEP_TASKS_PER_NODE is of 2 nodes");
  more["SLURM_NODEID"] = "0", more["SLURM_LOCALID"] = "0";
  CHECK(wrong(more) == "SLURM_JOB_ID" + missing);
  more["SLURM_JOB_ID"] = "7", more["SLURM_STEP_ID"] = "0";
  CHECK(wrong(more) == "SLURM_STEP_NODELIST" + missing);
  more["MASTER_ADDR"] = "a";
  CHECK(wrong(more) == "MASTER_ADDR is set and MASTER_PORT is missing: both say where rank 0 listens");
  const Set torch = {{"RANK", "0"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "2"}};
  CHECK(wrong(torch) == "RANK is 0 and LOCAL_RANK 1: rank 0 has to be the first of its machine");
  CHECK(contains(wrong({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"LOCAL_WORLD_SIZE", "4"}}),
                 "LOCAL_WORLD_SIZE is 4, more than WORLD_SIZE says there are, 2"));
  CHECK(contains(wrong({{"RANK", "0"}, {"WORLD_SIZE", "99999"}}), "at most 4096 ranks"));
  // The second machine's first rank, of which nobody says how many are there: all would wait for it in vain.
  CHECK(wrong({{"RANK", "4"}, {"WORLD_SIZE", "8"}, {"LOCAL_RANK", "0"}}) ==
        "RANK is 4 and LOCAL_RANK 0: the ranks are on several machines, and LOCAL_WORLD_SIZE does not say so");
  CHECK(wrong({{"SLURM_PROCID", "4"}, {"SLURM_NTASKS", "8"}, {"SLURM_LOCALID", "0"}}) ==
        "SLURM_PROCID is 4 and SLURM_LOCALID 0: the ranks are on several machines, and SLURM_STEP_NUM_NODES does not "
        "say so");
}

TEST_CASE("ranks: on several machines, which of them are here and where rank 0 listens") {
  const Set torch = {{"RANK", "5"},       {"WORLD_SIZE", "6"},  {"LOCAL_RANK", "1"},      {"LOCAL_WORLD_SIZE", "2"},
                     {"GROUP_RANK", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "29500"}, {"TORCHELASTIC_RUN_ID", "x"}};
  const Set slurm = {{"SLURM_PROCID", "5"},
                     {"SLURM_NTASKS", "6"},
                     {"SLURM_LOCALID", "1"},
                     {"SLURM_NODEID", "1"},
                     {"SLURM_STEP_NUM_NODES", "2"},
                     {"SLURM_STEP_TASKS_PER_NODE", "4,2"},
                     {"SLURM_STEP_NODELIST", "n[07,09]"},
                     {"SLURM_JOB_ID", "1000003"},
                     {"SLURM_STEP_ID", "0"}};
  const Set open_mpi = {{"OMPI_COMM_WORLD_RANK", "5"},
                        {"OMPI_COMM_WORLD_SIZE", "6"},
                        {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                        {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                        {"PMIX_NAMESPACE", "x"}};
  const Set mpich = {{"PMI_RANK", "5"}, {"PMI_SIZE", "6"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}};
  for (const Set& variables : {torch, slurm, open_mpi, mpich}) {
    const RankInJob p = place(variables, "h:1");
    REQUIRE(p.share);
    CHECK(p.rank == 5);
    CHECK(p.rank_here() == 1);
    CHECK(p.ranks_here() == 2);
    CHECK(p.share->address == "h:1");  // the key goes before all
    CHECK(p.share->source == "comm.address");
  }
  const auto address = [&](Set variables, const Set& more) {
    variables.insert(more.begin(), more.end());
    return place(variables).share->address;
  };
  CHECK(address(torch, {}) == "a:29500");
  CHECK(address(torch, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}}) == "a:29501");  // the agent's is the port before
  CHECK(address(torch, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}}) == "a:29500");
  CHECK(address(slurm, {}) == "n07:10003");
  Set federated = slurm;  // the cluster is in the upper six of 32 bits
  federated["SLURM_JOB_ID"] = "4294967295", federated["SLURM_STEP_ID"] = "4294967295";
  CHECK(address(federated, {}) == cat("n07:", 10000 + (4294967295 + 7 * 295) % 20000));
  CHECK(address(slurm, {{"MASTER_ADDR", "fd00::1"}, {"MASTER_PORT", "5"}}) == "[fd00::1]:5");
  CHECK(address(open_mpi, {}) == "");
  // A job has one name on all machines, and on a machine that plays two of them two places to meet.
  Set other = torch;
  other["GROUP_RANK"] = "1", other["RANK"] = "3";
  CHECK(place(torch).share->job == place(other).share->job);
  CHECK(place(torch).job != place(other).job);
  other["TORCHELASTIC_RUN_ID"] = "y";
  CHECK(place(torch).share->job != place(other).share->job);
  // All ranks of a machine that are all ranks of the job need none of it.
  Set one = slurm;
  one["SLURM_STEP_NUM_NODES"] = "1", one["SLURM_LOCALID"] = "5";
  CHECK_FALSE(place(one).share);
}

TEST_CASE("ranks: Slurm's lists of hosts and counts") {
  const auto hosts = [](const char* list) {
    std::string all;
    for (const std::string& h : hosts_of(list, "L")) all += (all.empty() ? "" : " ") + h;
    return all;
  };
  const std::pair<const char*, const char*> lists[] = {
      {"a", "a"},
      {"a,b", "a b"},
      {"gpu[1-3]", "gpu1 gpu2 gpu3"},
      {"gpu[08-11,20],login1", "gpu08 gpu09 gpu10 gpu11 gpu20 login1"},
      {"r[1-2]n[1-2]x", "r1n1x r1n2x r2n1x r2n2x"},
      {"n[099-101]-ib.cluster", "n099-ib.cluster n100-ib.cluster n101-ib.cluster"},
      {"x[5]", "x5"},
      {"[1-2]a", "1a 2a"},
      {"a-b-1,c-[0-1]", "a-b-1 c-0 c-1"},
  };
  for (const auto& row : lists) CHECK(hosts(row.first) == row.second);
  const std::pair<const char*, const char*> wrong[] = {
      {"", "expected a host at character 1"},     {"a,,b", "expected a host at character 3"},
      {"a[", "expected a number at character 3"}, {"a[1", "expected ']' at character 4"},
      {"a[3-1]", "a range that goes up"},         {"a[1-]", "expected a number at character 5"},
      {"a]b", "expected ',' at character 2"},     {"a[x]", "expected a number at character 3"},
      {"a[0-99999]", "more than 65536"},          {"a[0-999]b[0-999]", "more than 65536"},
      {"a[9999999999]", "expected a number"},
  };
  for (const auto& row : wrong) {
    const std::string said = thrown([&] { hosts_of(row.first, "SLURM_STEP_NODELIST"); });
    CHECK_MESSAGE(said.starts_with("SLURM_STEP_NODELIST: "), row.first);
    CHECK_MESSAGE(contains(said, row.second), said);
  }
  CHECK(counts_of("4(x2),3", "L") == std::vector<int>{4, 4, 3});
  CHECK(counts_of("1", "L") == std::vector<int>{1});
  for (const char* list : {"", "x", "4(x2", "4(2)", "4,", "4(x99999)"})
    CHECK(thrown([&] { counts_of(list, "L"); }).starts_with("L: "));
}
