// The commands with --device=cuda, a simulated GPU in the place of the machine's: the recipe at its least and the
// golden cases. In f32 every file that they leave is the cpu's, to the bit, whatever order streams and threads run in.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <map>

#include "base/io/file.h"
#include "base/sha256.h"
#include "cli/keys.h"
#include "kernels/sim/scheduler.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/devices/sim_device.h"

using namespace ov;
using namespace ov::test;
using Policy = ForeignDevice::Policy;

namespace {

// While one lives, --device=cuda is a simulated GPU.
class Machine {
 public:
  Machine(Policy policy, sim::Order order) : device_(policy, 1), scope_({order, 1}) { gpu::bring_gpu(&device_); }
  ~Machine() { gpu::bring_gpu(nullptr); }
  SimDevice& device() { return device_; }

 private:
  SimDevice device_;
  sim::ScheduleScope scope_;
};

// What the command writes to stdout, which is the answer and nothing else.
std::string answer_of(const std::string& verb, const Strings& arguments) {
  const ScratchDirectory dir;
  const Config config = Config::parse(cli::keys(), verb, arguments);
  std::fflush(nullptr);
  const int out = ::dup(1), err = ::dup(2), null = ::open("/dev/null", O_WRONLY),
            file = ::open((dir / "out").c_str(), O_WRONLY | O_CREAT, 0600);
  ::dup2(file, 1), ::dup2(null, 2);
  std::string failure;
  try {
    cli::keys().command(verb).run(config);
  } catch (const std::exception& e) { failure = e.what(); }
  std::fflush(nullptr);
  ::dup2(out, 1), ::dup2(err, 2);
  for (const int fd : {out, err, null, file}) ::close(fd);
  CHECK_MESSAGE(failure == "", verb, ": ", failure);
  return read_file(dir / "out");
}

// Data, a tokenizer's directory and packs, which no device has a part in.
struct World {
  World() {
    answer_of("synth", {"--what", "world", "--synth.instruct", "3", "--synth.captions", "1", "--synth.regions", "4",
                        "--synth.text", "20", "--synth.test", "1", "--out", at("world")});
    answer_of("merge", {"--config", tiny, "--tokenizer", tokens, "--out", at("start")});
    answer_of("pack", {"--model", at("start"), "--sources", at("world") + "/captions", "--out", at("packs")});
  }
  std::string at(const std::string& name) const { return dir / name; }
  ScratchDirectory dir;
  const std::string tiny = "configs/model/tiny.json", tokens = "data/tokenizer";
};

using Results = std::map<std::string, std::string>;

// The recipe on a device, its results in a directory of their own: what each stage leaves. Whole, or only a training
// run that is cut off and goes on, and an answer of its model.
Results recipe(const World& w, const std::string& device, const std::string& name, bool whole) {
  const auto at = [&](const std::string& file) { return w.at(name) + "/" + file; };
  make_directories(w.at(name));
  Results results;
  const auto run = [&](const std::string& verb, Strings arguments, const std::string& leaves) {
    arguments.insert(arguments.end(), {"--device", device});
    const std::string said = answer_of(verb, arguments);
    results[cat(results.size(), " ", verb)] = leaves.empty() ? said : sha256_file(at(leaves));
  };
  const auto trained = [&](const std::string& verb, Strings arguments, const std::string& out, const char* leaves) {
    arguments.insert(arguments.end(), {"--steps", "2", "--train.save_every", "1", "--out", at(out)});
    run(verb, arguments, out + "/" + leaves);
    // Cut off after the first step, it goes on to the same end.
    std::filesystem::remove_all(at(out + "/checkpoints/step-00000002"));
    std::filesystem::remove_all(std::filesystem::path(at(out + "/" + leaves)).parent_path());
    run(verb, arguments, out + "/" + leaves);
    // The log names the GPU, at the beginning and where it goes on; what was chosen on it stands beside.
    const std::string log = read_file(at(out + "/run.jsonl")), gpu = R"("gpu":{"name":"simulated GPU","compute_cap)";
    const std::size_t begun = log.find(gpu), resumed = begun == log.npos ? begun : log.find(gpu, begun + 1);
    CHECK((resumed != log.npos) == (device == "cuda"));
    CHECK(std::filesystem::exists(at(out + "/algorithms.json")) == (device == "cuda"));
  };
  if (whole) {
    trained("pretrain", {"--what", "vision", "--config", w.tiny, "--regions", w.at("world") + "/regions/regions.jsonl"},
            "tower", "tower/model.safetensors");
    trained("pretrain",
            {"--what", "text", "--config", w.tiny, "--tokenizer", w.tokens, "--text",
             w.at("world") + "/text/corpus.jsonl", "--train.micro_batch_samples", "2"},
            "language", "model/model.safetensors");
    trained("pretrain",
            {"--what", "clip", "--config", "configs/model/clip-demo.json", "--tokenizer", w.tokens, "--captions",
             w.at("world") + "/captions", "--train.micro_batch_samples", "2"},
            "clip", "model/model.safetensors");
    run("merge",
        {"--tower", at("tower/tower"), "--language", at("language/model"), "--tokenizer", w.tokens, "--out",
         at("merged")},
        "merged/model.safetensors");
  }
  trained("train", {"--model", whole ? at("merged") : w.at("start"), "--packs", w.at("packs"), "--lr", "1e-3"}, "run",
          "model/model.safetensors");
  run("generate", {"--model", at("run/model"), "--prompt", "x", "--max_new_tokens", "3", "--ids", "true"}, "");
  if (whole)
    run("eval",
        {"--model", at("run/model"), "--data", w.at("world") + "/test", "--tasks", "configs/demo/eval.json",
         "--max_new_tokens", "2", "--limit", "1", "--out", at("eval")},
        "eval/predictions.jsonl");
  return results;
}

// The commands of configs/demo/recipe.sh that train, with its model, its files and its size `check`, but two steps of
// each: what each stage leaves.
Results demonstration(const std::string& device) {
  const ScratchDirectory dir;
  const auto at = [&](const std::string& file) { return dir / file; };
  const std::string model = "configs/model/demo.json", world = at("world"), tokens = at("tokenizer");
  const auto stage = [](const std::string& name) { return "configs/demo/" + name + ".json"; };
  Results results;
  const auto trained = [&](const std::string& verb, const std::string& name, Strings arguments, const char* leaves) {
    arguments.insert(arguments.end(), {"--steps", "2", "--device", device, "--out", at(name)});
    answer_of(verb, arguments);
    results[name] = sha256_file(at(name) + "/" + leaves);
  };
  const auto packed = [&](const std::string& sources, const std::string& out) {
    answer_of("pack", {"--config", stage("pack"), "--model", at("stage0"), "--sources", sources, "--out", at(out)});
  };
  answer_of("synth", {"--what", "world", "--synth.instruct", "60", "--synth.captions", "40", "--synth.regions", "60",
                      "--synth.text", "60", "--synth.test", "4", "--out", world});
  answer_of("tokenizer", {"--config", stage("tokenizer"), "--text", world + "/text/corpus.jsonl",
                          world + "/instruct/conversations.json", "--out", tokens});
  trained("pretrain", "tower",
          {"--config", model, "--config", stage("pretrain-vision"), "--regions", world + "/regions/regions.jsonl"},
          "tower/model.safetensors");
  trained("pretrain", "language",
          {"--config", model, "--config", stage("pretrain-text"), "--tokenizer", tokens, "--text",
           world + "/text/corpus.jsonl"},
          "model/model.safetensors");
  answer_of("merge", {"--config", stage("merge"), "--tower", at("tower/tower"), "--language", at("language/model"),
                      "--tokenizer", tokens, "--device", device, "--out", at("stage0")});
  packed(world + "/captions", "captions"), packed(world + "/instruct/conversations.json", "questions");
  std::string from = at("stage0");
  for (const std::string name : {"align", "midtrain", "instruct"}) {
    const std::string packs = at(name == "instruct" ? "questions" : "captions");
    trained("train", name, {"--config", stage(name), "--model", from, "--packs", packs}, "model/model.safetensors");
    from = at(name) + "/model";
  }
  return results;
}

// A trace of every case that the folders list, as a file.
Results golden(const World& w, const std::string& device, const std::string& dtype = "f32") {
  Results results;
  for (const std::string folder : {"dense", "moe"})
    for (const std::string& file : list_directory("tests/golden/" + folder)) {
      if (!file.starts_with("case") || !file.ends_with(".safetensors")) continue;
      const std::string path = "tests/golden/" + folder, out = w.at(cat("trace of ", folder, " ", file));
      Strings arguments = {"--model", path + "/checkpoint", "--input", path + "/" + file, "--dtype",
                           dtype,     "--device",           device,    "--out",           out};
      if (dtype == "bf16") arguments.insert(arguments.end(), {"--trace.experts", path + "/" + file});
      answer_of("trace", arguments);
      results[folder + " " + file] = sha256_file(out);
    }
  return results;
}

void check_same(const Results& got, const Results& expected) {
  CHECK(got.size() == expected.size());
  for (const auto& one : expected) CHECK_MESSAGE(got.at(one.first) == one.second, one.first);
}

void whole_recipe(Policy policy, sim::Order order, bool whole) {
  const World w;
  const Results expected = recipe(w, "cpu", "on the cpu", whole);
  Machine machine(policy, order);
  check_same(recipe(w, "cuda", "on the gpu", whole), expected);
  CHECK(machine.device().simulated().counts().launches > 1000);
}

}  // namespace

TEST_CASE("sim device: a training run, cut off and gone on with, and its model's answer are the cpu's") {
  whole_recipe(Policy::lazy, sim::Order::reverse, false);
}

TEST_CASE("sim device, every policy: every command of the recipe leaves the cpu's files" * doctest::skip()) {
  whole_recipe(Policy::others_first, sim::Order::reverse, true);
  whole_recipe(Policy::random, sim::Order::random, true);
}

TEST_CASE("sim device: two steps of every stage of the demonstration, at demo-check's size, leave the cpu's files") {
  const Results expected = demonstration("cpu");
  CHECK(expected.size() == 5);
  const Machine machine(Policy::random, sim::Order::reverse);
  check_same(demonstration("cuda"), expected);
}

TEST_CASE("sim device: a trace of every golden case is the cpu's file") {
  const World w;
  const Results expected = golden(w, "cpu");
  CHECK(expected.size() > 1);
  const Machine machine(Policy::others_first, sim::Order::reverse);
  check_same(golden(w, "cuda"), expected);
}

TEST_CASE("sim device, every policy: traces in bf16 repeat their own bits" * doctest::skip()) {
  const World w;
  Results half[2];
  for (const bool reverse : {true, false}) {
    const Machine machine(reverse ? Policy::lazy : Policy::random, reverse ? sim::Order::reverse : sim::Order::random);
    half[reverse] = golden(w, "auto", "bf16");
  }
  check_same(half[0], half[1]);
}

TEST_CASE("--device=cuda without a GPU is one line of machine error, and auto is the cpu") {
  std::string reason;
  const gpu::Runtime* runtime = gpu::cuda_runtime(reason);
  if (runtime && const_cast<gpu::Runtime*>(runtime)->device_count(reason) > 0) return;
  CHECK(reason != "");
  const std::string said = thrown([] { gpu::device_named("cuda"); }, Exit::machine_failed);
  CHECK(contains(said, "device=cuda: "));
  CHECK(contains(said, reason));
  CHECK(&gpu::device_named("auto") == &cpu());
}

TEST_CASE("comm.sum nccl is refused where there is no GPU, by its name and before anything is read") {
  const ScratchDirectory dir;
  for (const std::string device : {"cpu", "auto"}) {
    if (&gpu::device_named(device) != &cpu()) continue;
    const Config config = Config::parse(cli::keys(), "train",
                                        {"--model", dir / "none", "--data", dir / "none", "--out", dir / "run",
                                         "--comm.sum", "nccl", "--device", device});
    CHECK(contains(thrown([&] { cli::keys().command("train").run(config); }),
                   "comm.sum nccl: ranks on the CPU add in order; it needs device cuda, and here is device " + device));
  }
}
