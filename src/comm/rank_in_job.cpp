#include "comm/rank_in_job.h"

#include <array>
#include <charconv>
#include <cstdlib>
#include <string_view>

namespace ov {
namespace {

struct Family {
  const char *rank, *size, *local_rank, *local_size, *nodes;  // null: it has none
  std::array<const char*, 3> job;                             // that tell its jobs apart; null: no more
  bool needs_rank;                                            // its size alone is set in shells that are no rank
};

constexpr Family families[] = {
    {"RANK",
     "WORLD_SIZE",
     "LOCAL_RANK",
     "LOCAL_WORLD_SIZE",
     nullptr,
     {"TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"},
     false},
    {"OMPI_COMM_WORLD_RANK",
     "OMPI_COMM_WORLD_SIZE",
     "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE",
     nullptr,
     {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", nullptr},
     false},
    {"PMI_RANK", "PMI_SIZE", nullptr, nullptr, nullptr, {"PMI_PORT", nullptr, nullptr}, false},
    {"SLURM_PROCID",
     "SLURM_NTASKS",
     "SLURM_LOCALID",
     nullptr,
     "SLURM_STEP_NUM_NODES",
     {"SLURM_JOB_ID", "SLURM_STEP_ID", nullptr},
     true},
};

int number(const Variables& variable, const char* name, int least) {
  const std::string_view text = variable(name);
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least)
    input_error(name, ": expected a whole number of at least ", least, ", found '", text, "'");
  return value;
}

}  // namespace

RankInJob rank_of(const Variables& variable) {
  for (const Family& f : families) {
    const bool rank = variable(f.rank), size = variable(f.size);
    if (!rank && (f.needs_rank || !size)) continue;
    if (!rank || !size)
      input_error(rank ? f.rank : f.size, " is set and ", rank ? f.size : f.rank,
                  " is missing: both say which rank this process is");
    RankInJob place{number(variable, f.rank, 0), number(variable, f.size, 1), "", cat(f.rank, ", ", f.size)};
    if (place.rank >= place.ranks)
      input_error(f.rank, " is ", place.rank, " and ", f.size, " ", place.ranks, ": expected a rank below it");
    const auto smaller = [&](const char* name, const char* than, int most, int least) {
      if (!name || !variable(name)) return;
      if (const int value = number(variable, name, least); value > most)
        input_error(name, " is ", value, ", more than ", than, " allows, ", most);
    };
    smaller(f.local_rank, f.size, place.ranks - 1, 0);
    if (f.local_size && variable(f.local_size) && number(variable, f.local_size, 1) != place.ranks)
      input_error(f.local_size, " is ", variable(f.local_size), " of ", place.ranks,
                  " ranks: ranks on the CPU share the memory of one machine");
    if (f.nodes && variable(f.nodes) && number(variable, f.nodes, 1) != 1)
      input_error(f.nodes, " is ", variable(f.nodes), ": ranks on the CPU share the memory of one machine");
    if (const char* job = variable(job_variable)) place.job = job;
    else
      for (const char* name : f.job)
        if (name && variable(name)) place.job += cat("/", variable(name));
    place.job += cat("/", f.rank);
    return place;
  }
  return {};
}

const char* variable_of_process(const char* name) { return std::getenv(name); }

RankInJob rank_of_process() { return rank_of(variable_of_process); }

}  // namespace ov
