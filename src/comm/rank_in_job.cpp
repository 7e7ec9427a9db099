#include "comm/rank_in_job.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "comm/host_list.h"

namespace ov {
namespace {

struct Family {
  const char *rank, *size, *local_rank, *local_size;
  const char* node;                // which machine, told apart from others that are simulated on one; null: none
  std::array<const char*, 3> job;  // that tell its jobs apart; null: no more
  bool job_everywhere;             // and are the same on all machines
  bool slurm;                      // its size alone is set in shells that are no rank, its lists say the rest
};

constexpr Family families[] = {
    {"RANK",
     "WORLD_SIZE",
     "LOCAL_RANK",
     "LOCAL_WORLD_SIZE",
     "GROUP_RANK",
     {"TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"},
     true,
     false},
    {"OMPI_COMM_WORLD_RANK",
     "OMPI_COMM_WORLD_SIZE",
     "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE",
     nullptr,
     {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", nullptr},
     true,
     false},
    {"PMI_RANK",
     "PMI_SIZE",
     "MPI_LOCALRANKID",
     "MPI_LOCALNRANKS",
     nullptr,
     {"PMI_PORT", nullptr, nullptr},
     false,
     false},
    {"SLURM_PROCID",
     "SLURM_NTASKS",
     "SLURM_LOCALID",
     nullptr,
     "SLURM_NODEID",
     {"SLURM_JOB_ID", "SLURM_STEP_ID", nullptr},
     true,
     true},
};

template <class T = int>
T number(const Variables& variable, const char* name, int least) {
  const char* found = variable(name);
  if (!found) input_error(name, " is missing: the ranks are on several machines");
  const std::string_view text = found;
  T value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least)
    input_error(name, ": expected a whole number of at least ", least, ", found '", text, "'");
  return value;
}

const char* text_of(const Variables& variable, const char* name) {
  const char* found = variable(name);
  if (!found) input_error(name, " is missing: the ranks are on several machines");
  return found;
}

constexpr const char* nodes = "SLURM_STEP_NUM_NODES";

// How many of `ranks` are here; -1: all, as far as the variables say.
int ranks_here(const Variables& variable, const Family& f, int ranks) {
  if (!f.slurm) return variable(f.local_size) ? number(variable, f.local_size, 1) : -1;
  constexpr const char* tasks = "SLURM_STEP_TASKS_PER_NODE";
  if (!variable(nodes) || number(variable, nodes, 1) == 1) return -1;
  const std::vector<int> counts = counts_of(text_of(variable, tasks), tasks);
  if (const auto all = std::accumulate(counts.begin(), counts.end(), std::int64_t{0}); all != ranks)
    input_error(tasks, " is '", shown(variable(tasks)), "', ", all, " in all, and ", f.size, " ", ranks);
  const int node = number(variable, f.node, 0);
  if (node >= static_cast<int>(counts.size()))
    input_error(f.node, " is ", node, " and ", tasks, " is of ", counts.size(), " nodes");
  return counts[static_cast<std::size_t>(node)];
}

// Where rank 0's machine listens, if anybody says it.
void find_address(const Variables& variable, const Family& f, const std::string& address, Share* share) {
  const char *host = variable("MASTER_ADDR"), *port = variable("MASTER_PORT");
  if (!address.empty()) {
    share->address = address, share->source = "comm.address";
  } else if (host || port) {
    if (!host || !port)
      input_error(host ? "MASTER_ADDR" : "MASTER_PORT", " is set and ", host ? "MASTER_PORT" : "MASTER_ADDR",
                  " is missing: both say where rank 0 listens");
    const char* agent = variable("TORCHELASTIC_USE_AGENT_STORE");
    const int behind = agent && std::strcmp(agent, "True") == 0;
    share->source = behind ? "MASTER_ADDR, MASTER_PORT + 1" : "MASTER_ADDR, MASTER_PORT";
    const bool v6 = std::strchr(host, ':');
    share->address = cat(v6 ? "[" : "", host, v6 ? "]" : "", ":", number(variable, "MASTER_PORT", 1) + behind);
  } else if (f.slurm) {
    constexpr const char* hosts = "SLURM_STEP_NODELIST";
    // Of federated clusters the id has the cluster in its upper bits, of 32.
    const auto job = number<std::int64_t>(variable, "SLURM_JOB_ID", 0),
               step = number<std::int64_t>(variable, "SLURM_STEP_ID", 0);
    share->address =
        cat(hosts_of(text_of(variable, hosts), hosts)[0], ":", 10000 + (job % 20000 + 7 * (step % 1000)) % 20000);
    share->source = cat(hosts, ", SLURM_JOB_ID");
  }
}

// srun gives PMI's to its tasks too (--mpi=pmi2), of which they say less: mpirun says how many are here.
bool of_srun(const Variables& variable, const Family& f) {
  if (std::strcmp(f.rank, "PMI_RANK") != 0 || variable(f.local_size)) return false;
  const auto same = [&](const char* a, const char* b) {
    return variable(a) && variable(b) && std::strcmp(variable(a), variable(b)) == 0;
  };
  return same(f.rank, "SLURM_PROCID") && same(f.size, "SLURM_NTASKS");
}

}  // namespace

RankInJob rank_of(const Variables& variable, const std::string& address) {
  for (const Family& f : families) {
    const bool rank = variable(f.rank), size = variable(f.size);
    if ((!rank && (f.slurm || !size)) || of_srun(variable, f)) continue;
    if (!rank || !size)
      input_error(rank ? f.rank : f.size, " is set and ", rank ? f.size : f.rank,
                  " is missing: both say which rank this process is");
    RankInJob place;
    place.rank = number(variable, f.rank, 0), place.ranks = number(variable, f.size, 1);
    place.source = cat(f.rank, ", ", f.size);
    if (place.rank >= place.ranks)
      input_error(f.rank, " is ", place.rank, " and ", f.size, " ", place.ranks, ": expected a rank below it");
    if (place.ranks > most_ranks) input_error(f.size, " is ", place.ranks, ": at most ", most_ranks, " ranks");
    const int here = ranks_here(variable, f, place.ranks), all_here = here < 0 ? place.ranks : here;
    if (here > place.ranks)
      input_error(f.local_size, " is ", here, ", more than ", f.size, " says there are, ", place.ranks);
    if (variable(f.local_rank)) {
      const int local = number(variable, f.local_rank, 0);
      if (local >= all_here)
        input_error(f.local_rank, " is ", local, " of ", all_here, " ranks here: expected a rank below it");
      if (here < 0 && local != place.rank)
        input_error(f.rank, " is ", place.rank, " and ", f.local_rank, " ", local,
                    ": the ranks are on several machines, and ", f.slurm ? nodes : f.local_size, " does not say so");
    }
    std::string names;
    for (const char* name : f.job)
      if (name && variable(name)) names += cat("/", variable(name));
    if (all_here < place.ranks) {
      place.share = Share{number(variable, f.local_rank, 0), all_here, f.job_everywhere ? names : "", "", ""};
      find_address(variable, f, address, &*place.share);
      if (place.rank == 0 && place.share->rank != 0)
        input_error(f.rank, " is 0 and ", f.local_rank, " ", place.share->rank,
                    ": rank 0 has to be the first of its machine");
      if (f.node && variable(f.node)) names += cat("/node ", variable(f.node));
    }
    const char* job = variable(job_variable);
    place.job = cat(job ? job : names, "/", f.rank);
    return place;
  }
  return {};
}

const char* variable_of_process(const char* name) { return std::getenv(name); }

RankInJob rank_of_process(const std::string& address) { return rank_of(variable_of_process, address); }

}  // namespace ov
