// From pictures and a conversation file to a model that answers, with the program alone; and what stands between.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include "base/json.h"
#include "base/sha256.h"
#include "tests/cli/program.h"

using namespace ov;

namespace {

// Lessons and a fresh model, made once.
struct World {
  World() {
    REQUIRE(run({"synth", "--out", dir / "lessons", "--count", "4", "--seed", "3"}).exit == 0);
    REQUIRE(
        run({"merge", "--config", "configs/model/tiny.json", "--tokenizer", "data/tokenizer", "--out", dir / "init"})
            .exit == 0);
  }
  std::string lessons() const { return dir / "lessons" + "/conversations.json"; }
  Outcome train(const std::string& out, const std::vector<std::string>& more, void (*before)() = nullptr) const {
    std::vector<std::string> call = {"train",   "--model",  dir / "init", "--data.json",
                                     lessons(), "--out",    dir / out,    "--train.micro_batches",
                                     "2",       "--lr=1e-3"};
    call.insert(call.end(), more.begin(), more.end());
    return run(call, before);
  }
  std::string weights(const std::string& out) const { return sha256_file(dir / out + "/model/model.safetensors"); }
  ScratchDirectory dir;
};

std::string last_line(const std::string& err) {
  const auto end = err.find_last_not_of('\n');
  const auto begin = err.rfind('\n', end);
  return err.substr(begin == err.npos ? 0 : begin + 1);
}

void small_files() {
  const rlimit limit = {2000000, 2000000};  // the weights fit, the moments do not
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

}  // namespace

TEST_CASE(
    "cli: a run goes on where it ended, to the same bits as one that was never stopped; a further call does nothing") {
  const World world;
  const Outcome whole =
      world.train("whole", {"--steps", "4", "--schedule.decay", "constant", "--schedule.warmup", "0"});
  CHECK(whole.exit == 0);
  CHECK(whole.out.empty());
  CHECK(world.train("parts", {"--steps", "2", "--schedule.decay", "constant", "--schedule.warmup", "0"}).exit == 0);
  CHECK(world.weights("parts") != world.weights("whole"));
  CHECK(
      world.train("parts", {"--steps", "4", "--schedule.decay", "constant", "--schedule.warmup", "0", "--threads", "1"})
          .exit == 0);
  CHECK(world.weights("parts") == world.weights("whole"));
  CHECK(run({"diff", world.dir / "parts" + "/run.jsonl", world.dir / "whole" + "/run.jsonl"}).exit == 0);
  CHECK(world.train("parts", {"--steps", "4", "--schedule.decay", "constant", "--schedule.warmup", "0"}).exit == 0);
  CHECK(world.weights("parts") == world.weights("whole"));
  CHECK(world.train("other", {"--steps", "4", "--data.seed", "5"}).exit == 0);
  CHECK(run({"diff", world.dir / "other" + "/run.jsonl", world.dir / "whole" + "/run.jsonl"}).exit == 1);
  CHECK(run({"generate", "--model", world.dir / "whole" + "/model", "--prompt", "What shape is red?",
             "--max_new_tokens", "4"})
            .exit == 0);
}

TEST_CASE("cli: data that cannot be used is one clear line, and up to the limit it is skipped") {
  const World world;
  const std::string good = read_file(world.lessons());
  const std::string record =
      R"({"id": "x", "image": "images/none.png", "conversations": [{"from": "human", "value": "<image>\nA?"},
    {"from": "gpt", "value": "B"}]})";
  std::string with_fault = good;
  with_fault.insert(with_fault.find('[') + 1, record + ",");
  write_durably(world.dir / "lessons" + "/conversations.json", with_fault);
  Outcome o = world.train("strict", {"--steps", "4"});
  CHECK(o.exit == 2);
  CHECK(last_line(o.err).find("none.png") != std::string::npos);
  o = world.train("lenient", {"--steps", "4", "--data.max_rejects", "1"});
  CHECK(o.exit == 0);
  CHECK(read_file(world.dir / "lenient" + "/rejects.jsonl").find("image_missing") != std::string::npos);

  write_durably(world.dir / "lessons" + "/conversations.json", good.substr(0, good.size() / 2));
  o = world.train("cut", {"--steps", "1"});
  CHECK(o.exit == 2);
  CHECK(last_line(o.err).find("conversations.json:") != std::string::npos);
  o = world.train("none", {"--steps", "1", "--data.json", world.dir / "none.json"});
  CHECK(o.exit == 2);
  CHECK(last_line(o.err).find("none.json") != std::string::npos);
}

TEST_CASE("cli: a disk that fills up while saving ends the run with what was saved before it intact") {
  const World world;
  const std::vector<std::string> first = {"--steps", "1", "--schedule.decay", "constant"};
  REQUIRE(world.train("run", first).exit == 0);
  const std::string before = world.weights("run");
  const Outcome o = world.train("run", {"--steps", "2", "--schedule.decay", "constant"}, small_files);
  CHECK(o.exit == 3);
  CHECK(last_line(o.err).starts_with("onevision: "));
  CHECK(last_line(o.err).find("cannot write") != std::string::npos);
  CHECK(world.weights("run") == before);
  CHECK(world.train("run", {"--steps", "2", "--schedule.decay", "constant"}).exit == 0);
  REQUIRE(world.train("straight", {"--steps", "2", "--schedule.decay", "constant"}).exit == 0);
  CHECK(world.weights("run") == world.weights("straight"));
}
