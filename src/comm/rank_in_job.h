// Which rank a process is, and on which machine, from the variables of what started it. The first family that is there
// counts; of PMI's without MPI_LOCALNRANKS that are Slurm's once more, as srun gives them (--mpi=pmi2), Slurm's:
//
//   RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE                     onevision launch, torchrun
//   OMPI_COMM_WORLD_RANK, .._SIZE, .._LOCAL_RANK, .._LOCAL_SIZE        mpirun of Open MPI
//   PMI_RANK, PMI_SIZE, MPI_LOCALRANKID, MPI_LOCALNRANKS               mpirun of MPICH and Intel MPI
//   SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID,                         srun
//   SLURM_STEP_NUM_NODES, SLURM_NODEID, SLURM_STEP_TASKS_PER_NODE
//
// Of a job on several machines, rank 0's listens (comm/machines.h) at the first of these that is there:
//
//   comm.address HOST:PORT       the key
//   MASTER_ADDR, MASTER_PORT     launch, torchrun; the port behind it where torchrun's agent listens at MASTER_PORT
//                                itself (TORCHELASTIC_USE_AGENT_STORE)
//   SLURM_STEP_NODELIST          srun: its first host, and a port from 10000 to 29999 made from the ids of job and step
#pragma once
#include <functional>
#include <optional>
#include <string>

namespace ov {

constexpr int most_ranks = 4096;

// Of a job on several machines, what is on this one.
struct Share {
  int rank = 0, ranks = 1;  // which of how many here; rank 0 of the job is the first of its machine
  std::string job;          // the same on all machines
  std::string address;      // HOST:PORT where rank 0's listens; empty: nobody said
  std::string source;       // where that stands
};

// Which of how many this process is, and in which job.
struct RankInJob {
  int rank = 0, ranks = 1;
  std::string job;                  // the same for all ranks here, and for nobody else on this machine at this time
  std::string source;               // where that stands, for errors: "SLURM_PROCID, SLURM_NTASKS"
  std::optional<Share> share = {};  // none: all ranks are here

  int rank_here() const { return share ? share->rank : rank; }
  int ranks_here() const { return share ? share->ranks : ranks; }
};

// One rank where there is none of them. `address`: comm.address, empty where it is not given. input_error names the
// variable that is wrong or missing.
using Variables = std::function<const char*(const char*)>;
RankInJob rank_of(const Variables& variable, const std::string& address = "");
RankInJob rank_of_process(const std::string& address = "");
const char* variable_of_process(const char* name);

constexpr const char* job_variable = "ONEVISION_JOB";        // set by `launch`: the name of its job
constexpr const char* errors_variable = "ONEVISION_ERRORS";  // and the descriptor of a pipe for the errors of its ranks

}  // namespace ov
