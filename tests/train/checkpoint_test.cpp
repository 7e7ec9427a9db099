// A run that was cut anywhere and started again ends with the bits of one that was not.
#include "train/checkpoint.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <filesystem>

#include "audit/diff.h"
#include "base/io/durable_directory.h"
#include "base/parallel.h"
#include "tests/base/kill_at_step.h"
#include "tests/data/loader_fixture.h"
#include "tests/train/training_run.h"
#include "train/run_log.h"

using namespace ov;
using namespace ov::test;

namespace {

const Json about = Json::object({{"config", Json::object({{"data.seed", 5}})}});

// Runs f in a child process with files limited to `bytes`, as a disk that is full. What it throws, and how it ends.
std::string with_file_limit(std::size_t bytes, const std::function<void()>& f) {
  int to_parent[2];
  REQUIRE(::pipe(to_parent) == 0);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {bytes, bytes};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::string text = "done";
    try {
      f();
    } catch (const Error& e) { text = cat("exit ", static_cast<int>(e.exit()), ": ", e.what()); }
    const auto written = ::write(to_parent[1], text.data(), text.size());
    ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  ::close(to_parent[1]);
  std::string text(4096, '\0');
  const auto n = ::read(to_parent[0], text.data(), text.size());
  ::close(to_parent[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, n)));
  return text;
}

// Four steps, saved after every second one, of which the newest is kept: what a training job does with its directory.
constexpr std::int64_t steps = 4;
std::string run_to_the_end(const std::string& out) {
  const auto model = random_model(least_config());
  FixedSteps data({as_step({mixed_row(1)}), as_step({mixed_row(2), mixed_row(3)}), as_step({mixed_row(4)})});
  Training trainer(*model, data, short_run(steps));
  if (const auto newest = newest_checkpoint(out)) load_into(trainer, *newest);
  RunLog log(out + "/run.jsonl", trainer.steps_done());
  while (trainer.steps_done() < steps) {
    log.step(trainer.step(), 0);
    if (trainer.steps_done() % 2 != 0) continue;
    save_checkpoint(out, trainer.state(), about);
    prune_checkpoints(out, 1);
  }
  return sha256_of(trainer);
}

}  // namespace

TEST_CASE("six steps at once and three, a new process's worth of objects, and three more: the same bits everywhere") {
  const loader_test::DataSet set;
  LoaderOptions options;
  options.json = set.ten();
  options.samples_per_micro_batch = options.micro_batches_per_step = 2;
  const auto run = [&](const std::string& out, const std::vector<std::int64_t>& stops) {
    std::string sha;
    for (const std::int64_t stop : stops) {
      const auto model = random_model(byte_config());
      Loader loader(options, loader_test::small_processor());
      Training trainer(*model, loader, short_run(6));
      if (const auto newest = newest_checkpoint(out)) load_into(trainer, *newest);
      RunLog log(out + "/run.jsonl", trainer.steps_done());
      while (trainer.steps_done() < stop) log.step(trainer.step(), 0);
      save_checkpoint(out, trainer.state(), about);
      sha = sha256_of(trainer);
    }
    return sha;
  };
  const ScratchDirectory straight, resumed, other;
  const std::string expected = run(straight.path(), {6});
  CHECK(run(resumed.path(), {3, 6}) == expected);
  const RunDifference d = diff_runs(straight / "run.jsonl", resumed / "run.jsonl");
  CHECK(d.compared == 6 * 4);
  CHECK(d.first == "");
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "state.json"})
    CHECK(sha256_file(straight / ("checkpoints/step-00000006/" + std::string(file))) ==
          sha256_file(resumed / ("checkpoints/step-00000006/" + std::string(file))));
  const Json state = Json::read(resumed / "checkpoints/step-00000006/state.json");
  CHECK(state.at("step").as_int() == 6);
  CHECK(state.at("config").at("data.seed").as_int() == 5);

  // The twin: a checkpoint without its moments, its digests made anew, goes on, but elsewhere.
  run(other.path(), {3});
  const std::string cut = other / "checkpoints/step-00000003";
  {
    const std::string model = read_file(cut + "/model.safetensors"), state = read_file(cut + "/state.json");
    const Safetensors file = Safetensors::open(cut + "/optimizer.safetensors");
    const Tensor m = file.tensor("m");
    DurableDirectory again(cut, "checkpoint");
    write_durably(again.file("model.safetensors"), model);
    write_durably(again.file("state.json"), state);
    write_safetensors(again.file("optimizer.safetensors"),
                      {{"m", Tensor::zeros(m.shape(), m.dtype(), cpu())}, {"v", file.tensor("v")}}, file.metadata());
    again.commit();
  }
  CHECK(run(other.path(), {6}) != expected);
  CHECK(diff_runs(straight / "run.jsonl", other / "run.jsonl").first == "step 4: parameters");
}

TEST_CASE(
    "a run killed before and after each of its writes, fsyncs and renames, then started again, has the same final bits "
    "every time (R-33)") {
  const int threads_before = threads();
  set_threads(1);  // a child of fork() has no other threads
  const ScratchDirectory scratch;
  const std::string out = scratch / "run", undisturbed = scratch / "undisturbed";
  std::filesystem::create_directory(undisturbed);
  const std::string expected = run_to_the_end(undisturbed);
  const auto prepare = [&] {
    std::filesystem::remove_all(out);
    std::filesystem::create_directory(out);
  };
  int from_start = 0, from_checkpoint = 0;
  const int kills = kill_at_every_step(
      prepare, [&] { run_to_the_end(out); },
      [&](const std::string& where) {
        const auto newest = newest_checkpoint(out);
        from_start += !newest;
        from_checkpoint += newest.has_value();
        CHECK_MESSAGE(run_to_the_end(out) == expected, where);
        const RunDifference d = diff_runs(undisturbed + "/run.jsonl", out + "/run.jsonl");
        CHECK_MESSAGE(d.first == "", where, ": ", d.first);
        CHECK_MESSAGE(d.compared == 4 * steps, where);
        // Nothing half-written stays but what a kill in the very last prune left.
        CHECK_MESSAGE(sha256_file(out + "/checkpoints/step-00000004/model.safetensors") ==
                          sha256_file(undisturbed + "/checkpoints/step-00000004/model.safetensors"),
                      where);
      });
  MESSAGE(kills, " kills: ", from_start, " started again from the first step, ", from_checkpoint, " from a checkpoint");
  CHECK(kills > 100);
  CHECK(from_start > 10);
  CHECK(from_checkpoint > 10);
  set_threads(threads_before);
}

TEST_CASE("twin: checkpoints written straight into their directory are caught by the same kills") {
  const int threads_before = threads();
  set_threads(1);
  const ScratchDirectory out;
  const auto model = random_model(least_config());
  FixedSteps data({as_step({mixed_row(1)})});
  Training trainer(*model, data, short_run(steps));
  trainer.step();
  const auto names = [&](const std::string& dir) {
    return write_checkpoint(dir, {{"a", Tensor::of<float>({1}, {1})}});
  };
  const std::string dir = out / "checkpoints/step-00000001";
  int broken = 0;
  kill_at_every_step(
      [&] {
        std::filesystem::remove_all(out / "checkpoints");
        std::filesystem::create_directories(dir);
      },
      [&] {
        write_durably(dir + "/" + DurableDirectory::marker, "");
        names(dir);
      },
      [&](const std::string&) {
        broken += DurableDirectory::complete(dir) && !std::filesystem::exists(dir + "/model.safetensors");
      });
  CHECK(broken > 0);
  set_threads(threads_before);
}

TEST_CASE(
    "a checkpoint of another model, freeze set, data set or seed is refused by name, before anything is changed") {
  const ScratchDirectory out;
  const loader_test::DataSet set;
  LoaderOptions options;
  options.json = set.ten();
  {
    const auto model = random_model(byte_config());
    Loader loader(options, loader_test::small_processor());
    Training trainer(*model, loader, short_run(3));
    trainer.step();
    save_checkpoint(out.path(), trainer.state(), about);
  }
  const std::string checkpoint = *newest_checkpoint(out.path());
  const auto resume = [&](const ModelConfig& config, const TrainOptions& train, const LoaderOptions& data) {
    const auto model = random_model(config, 2);
    const auto before = model->parameters().values().to_vector<float>();
    Loader loader(data, loader_test::small_processor());
    Training trainer(*model, loader, train);
    const std::string message = thrown([&] { load_into(trainer, checkpoint); });
    CHECK(message.find('\n') == std::string::npos);
    if (&data == &options) CHECK((model->parameters().values().to_vector<float>() == before) == (message != ""));
    return message;
  };
  CHECK(resume(byte_config(), short_run(3), options) == "");

  ModelConfig wider = byte_config(), deeper = byte_config();
  wider.text.intermediate = 80;
  deeper.text.layers = 3;
  CHECK(resume(wider, short_run(3), options).find("layers.0.mlp.gate_proj.weight': expected shape [80, 40]") !=
        std::string::npos);
  CHECK(resume(deeper, short_run(3), options).find("layers.2.input_layernorm.weight' is missing") != std::string::npos);

  TrainOptions adapter = short_run(3), no_class = short_run(3);
  adapter.modules = {"adapter"};
  no_class.train_class_params = false;
  CHECK(resume(byte_config(), adapter, options)
            .find("optimizer.safetensors: holds the moments of model.visual.class_embedding where this run trains "
                  "model.visual.merger.ln_q.weight") != std::string::npos);
  CHECK(resume(byte_config(), no_class, options).find("where this run trains model.visual.patch_embed.proj.weight") !=
        std::string::npos);

  LoaderOptions seed = options, shorter = options;
  seed.seed = 99;
  shorter.json = set.json({loader_test::record("1", Json(), {"a", "b"})}, "one.json");
  CHECK(resume(byte_config(), short_run(3), seed).find("data.seed is 99") != std::string::npos);
  CHECK(resume(byte_config(), short_run(3), shorter).find("one.json: holds 1 records") != std::string::npos);
}

TEST_CASE("pruning keeps the newest, and clears away what a kill left of others") {
  const ScratchDirectory out;
  const auto model = random_model(least_config());
  FixedSteps data({as_step({mixed_row(1)})});
  Training trainer(*model, data, short_run(12));
  for (int i = 0; i < 12; ++i) {
    trainer.step();
    save_checkpoint(out.path(), trainer.state(), about);
  }
  const auto names = [&] { return list_directory(out / "checkpoints"); };
  CHECK(names().size() == 12);
  prune_checkpoints(out.path(), 3);
  CHECK(names() == std::vector<std::string>{"step-00000010", "step-00000011", "step-00000012"});
  CHECK(newest_checkpoint(out.path()) == out / "checkpoints/step-00000012");

  std::filesystem::remove(out / "checkpoints/step-00000010/DONE");  // killed while it was removed
  std::filesystem::create_directory(out / "checkpoints/step-00000013.partial");
  write_durably(out / "checkpoints/notes.txt", "mine");
  prune_checkpoints(out.path(), 0);  // never the last one
  CHECK(names() == std::vector<std::string>{"notes.txt", "step-00000012"});
}

TEST_CASE("a disk that fills up while saving: one clear line, exit code 3, and the older checkpoint is as it was") {
  const int threads_before = threads();
  set_threads(1);
  const ScratchDirectory out;
  const auto model = random_model(least_config());
  FixedSteps data({as_step({mixed_row(1)})});
  Training trainer(*model, data, short_run(9));
  trainer.step();
  save_checkpoint(out.path(), trainer.state(), about);
  const std::string older = out / "checkpoints/step-00000001";
  const std::string sha = sha256_of(trainer), older_bytes = sha256_file(older + "/model.safetensors");
  const auto model_bytes = std::filesystem::file_size(older + "/model.safetensors"),
             moments_bytes = std::filesystem::file_size(older + "/optimizer.safetensors");
  CHECK(moments_bytes > model_bytes);
  trainer.step();
  const auto check_older = [&] {
    CHECK(newest_checkpoint(out.path()) == older);
    CHECK(list_directory(out / "checkpoints") == std::vector<std::string>{"step-00000001"});
    CHECK(sha256_file(older + "/model.safetensors") == older_bytes);
    const auto again = random_model(least_config(), 2);
    FixedSteps again_data({as_step({mixed_row(1)})});
    Training resumed(*again, again_data, short_run(9));
    load_into(resumed, older);
    CHECK(sha256_of(resumed) == sha);
  };
  // So little room that the first bytes fail, that the weights fail near their end, and that only the moments fail.
  for (const auto& [limit, file] : {std::pair{std::size_t{100}, "model.safetensors"},
                                    std::pair{static_cast<std::size_t>(model_bytes - 1), "model.safetensors"},
                                    std::pair{static_cast<std::size_t>(moments_bytes - 1), "optimizer.safetensors"}}) {
    const std::string said = with_file_limit(limit, [&] { save_checkpoint(out.path(), trainer.state(), about); });
    CAPTURE(said);
    CHECK(said.starts_with("exit 3: "));
    CHECK(said.find(std::string("checkpoints/step-00000002.partial/") + file + ": cannot write: File too large") !=
          std::string::npos);
    CHECK(said.find('\n') == std::string::npos);
    check_older();
  }
  CHECK(with_file_limit(moments_bytes, [&] { save_checkpoint(out.path(), trainer.state(), about); }) == "done");
  CHECK(newest_checkpoint(out.path()) == out / "checkpoints/step-00000002");
  set_threads(threads_before);
}

TEST_CASE("a log on a full device says so and does not grow by half a line") {
  const ScratchDirectory out;
  std::filesystem::create_symlink("/dev/full", out / "run.jsonl");
  RunLog log(out / "run.jsonl", 0);
  try {
    log.step(StepReport{}, 0);
    FAIL("wrote to a full device");
  } catch (const Error& e) {
    CHECK(e.exit() == Exit::machine_failed);
    CHECK(e.what() == out / "run.jsonl" + ": cannot write: No space left on device");
  }
}
