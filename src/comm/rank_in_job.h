// Which rank a process is, from the variables of what started it. The first family that is there counts:
//
//   RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE                     onevision launch, torchrun
//   OMPI_COMM_WORLD_RANK, .._SIZE, .._LOCAL_RANK, .._LOCAL_SIZE        mpirun of Open MPI
//   PMI_RANK, PMI_SIZE                                                 mpirun of MPICH and Intel MPI
//   SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID, SLURM_STEP_NUM_NODES    srun
#pragma once
#include <functional>

#include "comm/meeting.h"

namespace ov {

// One rank where there is none of them. input_error names the variable that is wrong or missing, and refuses ranks on
// several machines.
using Variables = std::function<const char*(const char*)>;
RankInJob rank_of(const Variables& variable);
RankInJob rank_of_process();
const char* variable_of_process(const char* name);

constexpr const char* job_variable = "ONEVISION_JOB";        // set by `launch`: the name of its job
constexpr const char* errors_variable = "ONEVISION_ERRORS";  // and the descriptor of a pipe for the errors of its ranks

}  // namespace ov
