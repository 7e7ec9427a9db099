// The training job from files to files: pictures and conversations in, a Hugging Face directory out, whatever happens
// in between.
#include "train/stages/job.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <filesystem>

#include "audit/diff.h"
#include "model/files/hf_directory.h"
#include "tests/base/kill_at_step.h"
#include "tests/train/job_world.h"
#include "train/checkpoint.h"

using namespace ov;
using namespace ov::test;

TEST_CASE("a training run leaves a complete Hugging Face directory, its log and its checkpoints") {
  const World world;
  TrainJob job = world.job("deep/er/run");  // directories are made
  const StepReport last = quietly(job);
  CHECK(last.step == steps);
  CHECK(last.labelled > 0);
  for (const char* file : {"config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json",
                           "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json",
                           "special_tokens_map.json", "chat_template.jinja"})
    CHECK_MESSAGE(fs::is_regular_file(job.out + "/model/" + file), file);

  // It is read as what it was made from, and holds the newest checkpoint's weights, which are not the first ones.
  const auto trained = load_model(job.out + "/model"), start = load_model(job.model_dir);
  const Processor processor = Processor::read(job.out + "/model");
  CHECK(processor.tokenizer().vocab_size() == 278);
  CHECK(processor.images().max_pixels == loader_test::small_processor().images().max_pixels);
  CHECK(trained->config().json().dump() == start->config().json().dump());
  CHECK(model_sha(job) == sha256_file(*newest_checkpoint(job.out) + "/model.safetensors"));
  CHECK(model_sha(job) != sha256_file(job.model_dir + "/model.safetensors"));
  CHECK(list_directory(job.out + "/checkpoints") == std::vector<std::string>{"step-00000004", "step-00000006"});

  auto lines = lines_of(job.out + "/run.jsonl");
  REQUIRE(lines.size() == 1 + steps + 2);
  CHECK(lines[2].at("type").as_string() == "memory");
  lines.erase(lines.begin() + 2);
  CHECK(lines[0].at("type").as_string() == "run");
  CHECK(lines[0].at("config").at("train.steps").as_int() == steps);
  CHECK(lines[0].at("parameters").as_int() == trained->parameters().count());
  CHECK(lines[0].at("trained").as_int() == trained->parameters().count());
  const std::string events = read_file(job.out + "/events.out.tfevents.0.onevision");
  for (std::int64_t s = 1; s <= steps; ++s) {
    const Json& line = lines[static_cast<std::size_t>(s)];
    CHECK(line.at("type").as_string() == "step");
    CHECK(line.at("step").as_int() == s);
    CHECK(line.at("samples").as_int() == 4);
    CHECK(line.at("labelled").as_int() > 0);
    CHECK(line.at("flops").as_int() > 0);
    for (const char* rate : {"mfu", "tokens_per_second", "samples_per_second"}) CHECK(line.at(rate).as_double() > 0);
    for (const auto& part : line.members())
      if (part.second.is_number() && part.first != "step") CHECK_MESSAGE(contains(events, part.first), part.first);
    for (const char* sum : {"batch", "loss", "gradients", "parameters"})
      CHECK(line.at("checksums").at(sum).as_string().size() == 16);
  }
  CHECK(lines.back().at("type").as_string() == "end");
  CHECK(lines.back().at("rejects").at("image_unusable").as_int() == 0);

  // Done is done: started again it has nothing to do, and the model is the same.
  const std::string sha = model_sha(job);
  CHECK(quietly(job).step == steps);
  CHECK(model_sha(job) == sha);
}

TEST_CASE("the same job gives the same bits again; another seed, rate or normalisation gives others") {
  const World world;
  const TrainJob first = world.job("first"), second = world.job("second");
  quietly(first);
  quietly(second);
  CHECK(model_sha(first) == model_sha(second));
  CHECK(diff_runs(first.out + "/run.jsonl", second.out + "/run.jsonl").first == "");
  TrainJob seed = world.job("seed"), rate = world.job("rate"), mean = world.job("mean");
  seed.data.seed = 9;
  rate.train.schedule.peak = 1.0001e-2;
  mean.train.normalise_by = NormaliseBy::sample_mean;
  for (const TrainJob* other : {&seed, &rate, &mean}) {
    quietly(*other);
    CHECK(model_sha(*other) != model_sha(first));
  }
  CHECK(diff_runs(first.out + "/run.jsonl", seed.out + "/run.jsonl").first == "step 1: batch");
  CHECK(diff_runs(first.out + "/run.jsonl", rate.out + "/run.jsonl").first == "step 1: parameters");
  CHECK(diff_runs(first.out + "/run.jsonl", mean.out + "/run.jsonl").first == "step 1: loss");
}

TEST_CASE(
    "a truncated and a missing picture are counted and passed over; more than data.max_rejects end the run, and a "
    "higher limit lets it go on from there") {
  const World world;
  const std::string broken = world.path("data/images/lesson_02.jpg"), gone = world.path("data/images/lesson_05.png");
  fs::resize_file(broken, fs::file_size(broken) / 2);
  fs::remove(gone);
  TrainJob job = world.job("run");
  CHECK(quietly(job).step == steps);
  // Six steps of four samples are three epochs of eight: the two broken records are met in each, and counted once.
  const auto lines = lines_of(job.out + "/run.jsonl");
  const Json& rejects = lines.back().at("rejects");
  CHECK(rejects.at("image_unusable").as_int() == 1);
  CHECK(rejects.at("image_missing").as_int() == 1);
  const auto told = lines_of(job.out + "/rejects.jsonl");
  CHECK(static_cast<std::int64_t>(told.size()) ==
        rejects.at("image_unusable").as_int() + rejects.at("image_missing").as_int());
  for (const Json& line : told) {
    const std::string reason = line.at("reason").as_string(), message = line.at("message").as_string();
    CHECK(message.find(reason == "image_missing" ? gone : broken) != std::string::npos);
    CHECK(line.at("record").as_int() == (reason == "image_missing" ? 6 : 3));
  }

  for (const std::int64_t limit : {0, 1}) {
    TrainJob strict = world.job(cat("strict", limit));
    strict.data.max_rejects = limit;
    strict.save_every = 1;
    const std::string message = refusal(strict);
    CAPTURE(message);
    CHECK(message.find(cat(limit + 1, " of 10 records rejected, more than data.max_rejects ", limit)) !=
          std::string::npos);
    CHECK(message.find(limit == 1 ? "(image_missing 1, image_unusable 1)" : "(image_unusable 1)") != std::string::npos);
    CHECK(message.find("images/lesson_") != std::string::npos);
    strict.data.max_rejects = 2;
    quietly(strict);
    CHECK(model_sha(strict) == model_sha(job));
  }
}

TEST_CASE("a run that is killed wherever it is and started again ends with the bits of an undisturbed one") {
  const Threads one(1);
  const World world;
  const TrainJob undisturbed = world.job("undisturbed");
  quietly(undisturbed);
  const std::string expected = model_sha(undisturbed);

  // At disk steps spread over the run, some before the first checkpoint; up to four kills one after another.
  const Philox random(1, "kills");
  int killed = 0, resumed = 0;
  for (std::uint64_t round = 0; round < 6; ++round) {
    const TrainJob job = world.job(cat("killed", round));
    std::uint64_t kills = 0;
    for (;; ++kills) {
      const auto countdown = kills < 4 ? static_cast<int>(random.below(8 * round + kills, 260)) : 1 << 30;
      const int code = in_child(job, [&] { die_at_step(countdown); });
      if (code == 0) break;
      REQUIRE(code == 128 + SIGKILL);
      ++killed;
    }
    for (const Json& line : lines_of(job.out + "/run.jsonl")) resumed += line.at("type").as_string() == "resume";
    CAPTURE(round);
    CHECK(model_sha(job) == expected);
    const RunDifference d = diff_runs(undisturbed.out + "/run.jsonl", job.out + "/run.jsonl");
    CHECK(d.first == "");
    CHECK(d.compared == 4 * steps);
  }
  MESSAGE(killed, " kills, ", resumed, " went on from a checkpoint");
  CHECK(killed > 8);
  CHECK(resumed > 3);
}

TEST_CASE("a run killed in the middle of its arithmetic goes on with the same bits") {
  const Threads one(1);
  const World world;
  const TrainJob undisturbed = world.job("undisturbed");
  quietly(undisturbed);
  int killed = 0;
  for (const int start_ms : {10, 25, 60}) {
    const TrainJob job = world.job(cat("after", start_ms));
    double wait_ms = start_ms;  // of processor time; longer after every kill, so that the run ends on any machine
    for (;; wait_ms *= 1.5, ++killed) {
      const int code = in_child(job, [&] {
        // A timer's signal that nobody catches ends the process as kill -9 does: at any instruction.
        const auto us = static_cast<long>(1000 * wait_ms);
        const struct itimerval after = {{0, 0}, {us / 1000000, us % 1000000}};
        ::setitimer(ITIMER_PROF, &after, nullptr);
      });
      if (code == 0) break;
      REQUIRE(code == 128 + SIGPROF);
    }
    CHECK(model_sha(job) == model_sha(undisturbed));
    CHECK(diff_runs(undisturbed.out + "/run.jsonl", job.out + "/run.jsonl").compared == 4 * steps);
    CHECK(diff_runs(undisturbed.out + "/run.jsonl", job.out + "/run.jsonl").first == "");
  }
  MESSAGE(killed, " kills");
  CHECK(killed > 0);
}

TEST_CASE("a full disk ends a run with exit code 3; with room again it goes on to the same bits") {
  const Threads one(1);
  const World world;
  const TrainJob undisturbed = world.job("undisturbed"), job = world.job("run");
  quietly(undisturbed);
  const auto room = fs::file_size(*newest_checkpoint(undisturbed.out) + "/optimizer.safetensors") - 1;
  CHECK(in_child(job, [&] {
          std::signal(SIGXFSZ, SIG_IGN);
          const struct rlimit limit = {room, room};
          ::setrlimit(RLIMIT_FSIZE, &limit);
        }) == 3);
  CHECK(list_directory(job.out + "/checkpoints").empty());
  CHECK(in_child(job, [] {}) == 0);
  CHECK(model_sha(job) == model_sha(undisturbed));
}

TEST_CASE("a job that cannot be is refused with the file or the key that is wrong, and touches nothing (T-40)") {
  const World world;
  const auto says = [&](const char* name, const std::function<void(TrainJob&)>& spoil, const std::string& part) {
    TrainJob job = world.job(name);
    spoil(job);
    const std::string message = refusal(job);
    CHECK_MESSAGE(message.find(part) != std::string::npos, name, ": found: ", message);
  };
  says(
      "no_model", [&](TrainJob& j) { j.model_dir = world.path("nowhere"); }, "nowhere");
  says(
      "no_data", [&](TrainJob& j) { j.data.json = world.path("none.json"); }, "none.json");
  says(
      "module", [&](TrainJob& j) { j.train.modules = {"adaptor"}; }, "did you mean 'adapter'?");
  says(
      "nothing", [&](TrainJob& j) { j.train.modules = {}; }, "train.modules");
  says(
      "malformed",
      [&](TrainJob& j) {
        j.data.json = world.path("broken.json");
        write_durably(j.data.json, "[{\"id\": \"1\",\n \"conversations\": [}]");
      },
      "broken.json:2:");
  says(
      "too_few_rows",
      [&](TrainJob& j) {
        ModelConfig few = byte_config();
        few.text.vocabulary = 270;
        j.model_dir = world.path("few");
        export_model(j.model_dir, *random_model(few), loader_test::small_processor());
      },
      "few/config.json: text_config.vocab_size is 270, the tokenizer has 278 tokens");

  const TrainJob done = world.job("done");
  quietly(done);
  const std::string sha = model_sha(done);
  const std::size_t lines = lines_of(done.out + "/run.jsonl").size();
  says(
      "done", [](TrainJob& j) { j.resume = false; }, "done/checkpoints/step-00000006: a checkpoint of an earlier run");
  says(
      "done", [](TrainJob& j) { j.train.modules = {"adapter"}; }, "holds the moments of model.visual.class_embedding");
  says(
      "done", [](TrainJob& j) { j.train.optimizer.moments = Moments::bf16; },
      "; dtype or optimizer.moments is another");
  CHECK(model_sha(done) == sha);
  CHECK(lines_of(done.out + "/run.jsonl").size() == lines);
}
