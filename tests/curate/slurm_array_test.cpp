// configs/slurm_array.sh, with a stand-in for sbatch that runs an array's jobs one after another.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/io/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "curate/embeddings.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/cli/program.h"

using namespace ov;
using namespace ov::test;
namespace fs = std::filesystem;

TEST_CASE("configs/slurm_array.sh: the shards of a command and their join are jobs, and make the command's own bytes") {
  const ScratchDirectory dir;
  std::ofstream(dir / "sbatch")
      << "#!/bin/sh\n"
         "echo \"$@\" >> asked\n"
         "array=1-1 wrap=\n"
         "for a; do case $a in --array=*) array=${a#*=} ;; --wrap=*) wrap=${a#*=} ;; esac; done\n"
         "for i in $(seq ${array#1-}); do\n"
         "  SLURM_CPUS_PER_TASK=1 SLURM_ARRAY_TASK_ID=$i sh -c \"$wrap\" >> log 2>&1 || exit 1\n"
         "done\n"
         "echo \"7;cluster\"\n";
  fs::permissions(dir / "sbatch", fs::perms::owner_all);
  std::ofstream data(dir / "a captions' file.jsonl");
  for (int i = 0; i < 9000; ++i)
    data << Json::object({{"image", "x"}, {"caption", cat("a ", i % 7 ? "red" : "blue", " circle ", i % 11)}}).dump()
         << "\n";
  data.close();
  const std::string root = fs::current_path(), command = "concepts --data \"a captions' file.jsonl\" --out ";
  const auto run = [&](const std::string& line) {
    return WEXITSTATUS(
        std::system(cat("cd ", dir / "", " && PATH=.:$PATH ONEVISION=", program_path(), " ", line).c_str()));
  };
  CHECK_MESSAGE(run(cat("sh ", root, "/configs/slurm_array.sh --time=1:00 3 ", command, "shared > said")) == 0,
                read_file(dir / "log"));
  CHECK(read_file(dir / "said") == "shards: job 7, 1 to 3; then their join: job 7\n");
  CHECK(run(cat(program_path(), " ", command, "alone 2> log")) == 0);
  CHECK(read_file(dir / "shared") == read_file(dir / "alone"));
  const std::string asked = read_file(dir / "asked");
  for (const char* part : {"--array=1-3", "--dependency=afterok:7", "--time=1:00", "--shard merge", "--ntasks=1"})
    CHECK_MESSAGE(contains(asked, part), asked);
  // cluster works in rounds: its join ends with 4 while there are more, and submits the next.
  EmbeddingRows rows;
  const Philox random(1, "rows");
  for (std::uint64_t i = 0; i < 400; ++i)
    rows.values.push_back(random.normal(i)), i % 4 ? void() : rows.ids.push_back(std::to_string(i));
  rows.write(dir / "rows", 4, {});
  const std::string clusters = "cluster --embeddings rows --k 5 --cluster.iterations 3 --cluster.tolerance 0 --out ";
  CHECK(run(cat(program_path(), " ", clusters, "by_hand --shard 1/1 2> log")) == 0);
  CHECK(run(cat(program_path(), " ", clusters, "by_hand --shard merge 2> log")) == 4);
  CHECK(run(cat(program_path(), " ", clusters, "whole 2> log")) == 0);
  CHECK_MESSAGE(run(cat("sh ", root, "/configs/slurm_array.sh 2 ", clusters, "\"in rounds\" > said")) == 0,
                read_file(dir / "log"));
  CHECK(read_file(dir / "in rounds") == read_file(dir / "whole"));
  CHECK(run(cat("sh ", root, "/configs/slurm_array.sh concepts 2> said")) == 2);
  CHECK(run(cat("sh ", root, "/configs/slurm_array.sh 3 2> said")) == 2);
}
