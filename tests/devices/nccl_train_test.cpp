// Training in ranks that are processes with a simulated GPU each, by the command that a user gives: over the stand-in
// for NCCL, with the bits of one rank on one such GPU.
#include <sys/wait.h>

#include "cli/keys.h"
#include "comm/rank_in_job.h"
#include "kernels/sim/nccl_stand_in.h"
#include "tests/comm/forked_ranks.h"
#include "tests/devices/sim_device.h"
#include "tests/parallel/mesh_world.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

namespace {

// The verb in n processes, with device=cuda a simulated GPU; what they say on stderr, and their exits.
template <class GPU>
std::vector<Ended> on_gpus(int n, const Strings& arguments, Policy policy,
                           const std::function<void(int)>& prepare = {}) {
  const std::string job = fresh_job();
  const Threads one(1);
  std::fflush(nullptr);
  std::vector<pid_t> children;
  std::vector<int> pipes;
  for (int rank = 0; rank < n; ++rank) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      ::dup2(ends[1], 2);
      ::dup2(::open("/dev/null", O_WRONLY), 1);
      ::setenv("RANK", cat(rank).c_str(), 1), ::setenv("WORLD_SIZE", cat(n).c_str(), 1);
      ::setenv(job_variable, job.c_str(), 1);
      int code = 0;
      {
        GPU device(policy, 1);
        gpu::bring_gpu(&device);
        if (prepare) prepare(rank);
        try {
          const Config config = Config::parse(cli::keys(), arguments[0], {arguments.begin() + 1, arguments.end()});
          cli::keys().command(arguments[0]).run(config);
        } catch (const Error& e) { std::fprintf(stderr, "error: %s\n", e.what()), code = static_cast<int>(e.exit()); }
      }
      std::fflush(nullptr);
      ::_exit(code);
    }
    ::close(ends[1]);
    children.push_back(child), pipes.push_back(ends[0]);
  }
  std::vector<Ended> ended;
  for (std::size_t rank = 0; rank < children.size(); ++rank) {
    Ended e;
    char text[4096];
    for (ssize_t got; (got = ::read(pipes[rank], text, sizeof text)) > 0;)
      e.error.append(text, static_cast<std::size_t>(got));
    ::close(pipes[rank]);
    int status = 0;
    ::waitpid(children[rank], &status, 0);
    e.exit = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    ended.push_back(e);
  }
  return ended;
}

struct GpuWorld : MeshWorld {
  Strings train(const std::string& out, const Strings& more) const {
    Strings all = {"train",
                   "--model",
                   path("start"),
                   "--data",
                   path("data/conversations.json"),
                   "--data.max_pixels",
                   "3136",
                   "--train.micro_batches",
                   "4",
                   "--train.micro_batch_samples",
                   "1",
                   "--lr",
                   "1e-3",
                   "--device",
                   "cuda",
                   "--comm.timeout",
                   "60",
                   "--out",
                   path(out)};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  // The hash of the model and the log of the steps.
  template <class GPU>
  std::string result(int n, const std::string& out, const Strings& more, Policy policy = Policy::lazy) const {
    for (const Ended& e : on_gpus<GPU>(n, train(out, more), policy))
      CHECK_MESSAGE(e.exit == 0, out, ", ", n, " ranks: ", e.error);
    TrainJob job;
    job.out = path(out);
    return fs::exists(job.out + "/model/model.safetensors") ? model_sha(job) + "\n" + steps_of(job) : "nothing";
  }
};

}  // namespace

TEST_CASE("gpu ranks: twenty steps of two ranks are those of one, for every stage of ZeRO and both sums") {
  const GpuWorld w;
  const Strings twenty = {"--steps", "20"};
  const std::string one = w.result<ForeignDevice>(1, "one", twenty);
  CHECK(one.size() > 1000);
  int run = 0;
  for (const char* zero : {"0", "1", "2", "3"})
    for (const char* sum : {"ordered", "nccl"}) {  // of two ranks a sum has one order
      if (zero[0] > '1' && sum[0] == 'n') continue;
      Strings more = twenty;
      more.insert(more.end(), {"--parallel.zero", zero, "--comm.sum", sum});
      const Policy policy = run % 2 ? Policy::others_first : Policy::lazy;
      CHECK_MESSAGE(w.result<ForeignDevice>(2, cat("run", run++), more, policy) == one, "zero ", zero, ", ", sum);
    }
}

TEST_CASE("gpu ranks: with the kernels of CUDA, two ranks are one, in f32 and bf16") {
  const GpuWorld w;
  for (const char* dtype : {"f32", "bf16"}) {
    const Strings more = {"--steps", "2", "--dtype", dtype};
    CHECK(w.result<SimDevice>(2, cat("two ", dtype), more) == w.result<SimDevice>(1, cat("one ", dtype), more));
  }
}

TEST_CASE("gpu ranks: a rank that dies in a call ends the run; the library's sums are refused on the cpu") {
  const GpuWorld w;
  const auto ended = on_gpus<ForeignDevice>(2, w.train("killed", {"--steps", "20"}), Policy::lazy, [](int rank) {
    if (rank == 1) sim::nccl_modes().dies_at = 40;
  });
  CHECK(ended[0].exit == 3);
  CHECK(ended[1].exit == -SIGKILL);
  CHECK_MESSAGE(contains(ended[0].error, "rank 1 ended without a word in step "), ended[0].error);

  Strings on_cpu = w.train("refused", {"--comm.sum", "nccl", "--device", "cpu"});
  const Outcome o = run(on_cpu);
  CHECK(o.exit == 2);
  CHECK(contains(o.err, "comm.sum nccl: ranks on the CPU add in order"));
  CHECK_FALSE(fs::exists(w.path("refused/run.jsonl")));
}
