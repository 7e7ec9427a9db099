// RL as an objective of the engine, on a model of random weights: gates G2 to G6 and G9 of the specification that such
// a model can answer for.
#include <doctest/doctest.h>

#include <filesystem>

#include "base/parallel.h"
#include "rl/job.h"
#include "rl/select_run.h"
#include "store/jsonl.h"
#include "tests/base/kill_at_step.h"
#include "tests/data/loader_fixture.h"
#include "tests/train/training_run.h"
#include "text/chat.h"
#include "train/stages/job.h"

namespace ov::test {
namespace {

using namespace rl;

// Pictures with questions, and a random model. Bytes that it writes are letters often enough to be like one of the
// answers, so that groups of different and of equal rewards both come up.
class Lessons {
 public:
  Lessons() {
    export_model(path("start"), *random_model(byte_config()), loader_test::small_processor());
    std::string lines;
    std::vector<std::string> letters;
    for (char c = 'a'; c <= 'z'; ++c) letters.push_back(std::string(1, c));
    for (int i = 0; i < 12; ++i)
      lines += Json::object({{"id", cat("r", i)},
                             {"images", std::vector<std::string>{"tiny.png"}},
                             {"problem", cat("<image>\nwhat is ", i, " ?")},
                             {"answer", letters},
                             {"answer_type", "ocrtext"}})
                   .dump() +
               "\n";
    write_durably(path("records.jsonl"), lines);
    std::filesystem::copy_file("tests/golden/images/tiny.png", path("tiny.png"));
  }
  std::string path(const std::string& name) const { return dir_ / name; }

  RlJob job(const std::string& out, std::int64_t steps = 4) const {
    RlJob j;
    j.model_dir = path("start"), j.out = path(out);
    j.records = path("records.jsonl");
    j.policy.prompts = 3;
    j.policy.rollouts = {.group = 4, .max_new_tokens = 6, .style = PromptStyle::plain};
    j.train = short_run(steps);
    j.save_every = 1;
    j.config = Json::object({{"train.steps", steps}});
    return j;
  }

 private:
  ScratchDirectory dir_;
};

struct Prepared {
  explicit Prepared(const Lessons& lessons, std::int64_t group = 6, std::int64_t tokens = 2)
      : records(lessons.path("records.jsonl"), "") {
    options.prompts = 3, options.rollouts = {.group = group, .max_new_tokens = tokens, .style = PromptStyle::plain};
    options.rollouts.stop = {265};
    model->parameters().train(trainable({"language_model", "adapter", "vision_model"}, true));
  }
  PolicyObjective objective() { return {*model, processor, records, options}; }
  std::unique_ptr<Onevision> model = random_model(byte_config());
  Processor processor = loader_test::small_processor();
  RecordFile records;
  PolicyOptions options;
};

double relative_gap(const std::vector<float>& a, const std::vector<float>& b) {  // |a - b| / |b|
  double difference = 0, length = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d, length += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(difference / length);
}

}  // namespace

TEST_CASE("rl: prompts are the release's, byte for byte") {
  Record r{.problem = "<image>How many?", .prompt_type = "normal"};
  CHECK(user_text(r, PromptStyle::released) ==
        "Put ONLY your final answer within <answer></answer>.\n<image>How many?");
  r.prompt_type = "long", r.problem_type = "spatial-reasoning", r.format_guidance = "As a letter.";
  CHECK(user_text(r, PromptStyle::released) ==
        "Think and solve the following question step by step. Please put your thinking and analysis procedure within "
        "<think></think>. Put ONLY your final answer within <answer></answer>. As a letter.\n Please first generate "
        "the coordinates (x, y, x, y) of each relevant object mentioned in the problem.\n<image>How many?");
  CHECK(user_text(r, PromptStyle::plain) == "<image>How many?");
  const Processor processor = loader_test::small_processor();
  const Prompt p = make_prompt({.problem = "<image>How many?", .prompt_type = "normal"}, {Image(28, 28)}, processor,
                               PromptStyle::released);
  CHECK(processor.tokenizer().decode(p.input_ids, false) ==
        "<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n<|im_start|>user\nPut ONLY your final answer "
        "within <answer></answer>.\n<|vision_start|><|image_pad|><|vision_end|>How many?<|im_end|>\n"
        "<|im_start|>assistant\n");
  // 600 x 500 is more than 512 x 512: both sides are cut to whole pixels after the factor.
  const Prompt large = make_prompt({.problem = "<image>"}, {Image(1024, 1024)}, Processor(processor.tokenizer(), {}),
                                   PromptStyle::released);
  CHECK(large.grids.at(0)[1] * 14 <= 532);
}

TEST_CASE("rl: records in the release's schema, and questions of a conversation; faults are named") {
  const ScratchDirectory dir;
  const std::string file = dir / "records.jsonl";
  write_durably(file,
                R"({"problem": "a?", "answer": ["1"], "answer_type": "number", "source": "s", "prompt_type": "normal"}
{"id": "x", "problem": "b?", "answer": "2", "template": "t"}
{"id":"c", "messages": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "<think></think><answer>4</answer>"}]}
)");
  const RecordFile all(file, "");
  REQUIRE(all.records().size() == 3);
  CHECK(all.records()[0].id == "s_0000");
  CHECK(all.records()[1].group == "t");
  CHECK(all.records()[2].answer.as_string() == "4");
  CHECK(all.records()[2].prompt_type == "thinking");
  CHECK(RecordFile(file, "", {"t"}).records().size() == 1);
  write_durably(dir / "keep", "{\"id\": \"x\"}\n");
  CHECK(RecordFile(file, "", {}, dir / "keep").records().at(0).id == "x");
  const auto refused = [&](const std::string& line) {
    write_durably(dir / "bad.jsonl", line + "\n");
    return thrown([&] { RecordFile(dir / "bad.jsonl", ""); }, Exit::wrong_input);
  };
  CHECK(refused(R"({"answer": "1"})").find("bad.jsonl:1: problem: expected a text, found nothing") !=
        std::string::npos);
  CHECK(refused(R"({"problem": "a"})").find("answer: expected a text or a list of texts") != std::string::npos);
  CHECK(refused(R"({"problem": "<image>", "answer": "1"})").find("1 <image> tag(s) for 0 picture(s)") !=
        std::string::npos);
  CHECK(refused("{\"id\": \"a\", \"problem\": \"a\", \"answer\": \"1\"}\n{\"id\": \"a\", \"problem\": \"a\", "
                "\"answer\": \"1\"}")
            .find("the id 'a' stands twice") != std::string::npos);
}

TEST_CASE(
    "rl, G4: in mode sync the sampler and the trainer give a token the same bits; nothing is clipped or dropped") {
  const Lessons lessons;
  Prepared world(lessons, 6, 5);
  PolicyObjective objective = world.objective();
  StepEngine engine(objective, short_run(2));
  const StepReport report = engine.step();  // run() throws where a bit differs
  CHECK(report.parts.at("clip").as_double() == 0);
  CHECK(report.parts.at("dropped").as_double() == 0);
  CHECK(report.parts.at("staleness").as_double() == 0);
  std::int64_t tokens = 0;
  for (const auto& group : objective.rollouts())
    for (const Rollout& r : group) tokens += std::ssize(r.ids);
  CHECK(report.labelled == tokens);
}

TEST_CASE("rl, G4: a trainer whose weights are not those that the sampler drew with ends the run") {
  const Lessons lessons;
  Prepared world(lessons);
  PolicyObjective objective = world.objective();
  StepEngine engine(objective, short_run(2));
  engine.prepare();
  const Tensor weights = world.model->parameters().values();
  weights.data<float>()[weights.numel() - 1] += 0.5f;
  for (std::int64_t i = 0; i < 100; ++i) weights.data<float>()[i] += 0.01f;
  CHECK(thrown([&] { engine.accumulate(0, 1, false); }, Exit::machine_failed).find("both are the same bits") !=
        std::string::npos);
}

TEST_CASE("rl, G3: equal rollouts are trained once with the sum of their advantages, and micro-batches may be cut") {
  const Lessons lessons;
  Prepared world(lessons, 24, 1);        // 24 draws of one token: some are equal
  world.options.shuffle_rewards = true;  // equal texts with different rewards, too
  PolicyObjective merged = world.objective(), single = world.objective(), cut = world.objective();
  single.merge_equal = false;
  const auto whole = [](PolicyObjective& o) {
    StepEngine engine(o, short_run(2));
    engine.prepare();
    const std::int64_t leaves = o.scalars() / 4;
    std::vector<float> g = engine.accumulate(0, leaves, false).to_vector<float>();
    return std::pair(leaves, g);
  };
  const auto [leaves, a] = whole(merged);
  CHECK(leaves == 3);
  CHECK(relative_gap(a, whole(single).second) < 1e-5);
  world.options.max_tokens = 40;
  PolicyObjective small = world.objective();
  const auto [more, b] = whole(small);
  CHECK(more > 3);
  CHECK(relative_gap(b, a) < 1e-5);
}

TEST_CASE("rl, G6: groups of equal rewards move the policy, and are left out on request") {
  const Lessons lessons;
  Prepared world(lessons, 3);
  world.options.prompts = 12;
  PolicyObjective keeps = world.objective();
  StepEngine engine(keeps, short_run(2));
  engine.prepare();
  std::int64_t flat = 0, moved = 0;
  for (std::int64_t p = 0; p < 12; ++p) {
    const auto& group = keeps.rollouts()[static_cast<std::size_t>(p)];
    const auto same = [&](const Rollout& r) { return r.reward.reward == group[0].reward.reward; };
    if (!std::all_of(group.begin(), group.end(), same)) continue;
    ++flat;
    moved += gradient_norm(engine.accumulate(p, p + 1, false).flat()) > 0;
  }
  REQUIRE(flat > 0);
  REQUIRE(flat < 12);
  CHECK(moved == flat);
  world.options.drop_flat = true;
  PolicyObjective drops = world.objective();
  CHECK(drops.prepare(0).leaves == 12 - flat);
}

TEST_CASE("rl, G9: any threads, and a run that goes on from any step, end in the same bits") {
  const Lessons lessons;
  const auto checksums = [&](const std::string& out) {
    std::vector<std::string> all;
    JsonlReader lines(lessons.path(out) + "/run.jsonl");
    for (Json line; lines.next(&line);)
      if (line.at("type").as_string() == "step") all.push_back(line.at("checksums").dump());
    return all;
  };
  const auto run = [&](const RlJob& job) { silently([&] { return run_rl(job); }); };
  run(lessons.job("whole"));
  const auto expected = checksums("whole");
  REQUIRE(expected.size() == 4);
  {
    const Threads three(3);
    run(lessons.job("threads"));
  }
  CHECK(checksums("threads") == expected);
  for (std::int64_t stop = 1; stop < 4; ++stop) {
    RlJob first = lessons.job(cat("part", stop));
    run(first);
    const auto all = checkpoints(first.out);
    CHECK(!all.empty());
    std::filesystem::remove_all(first.out + "/model");
    for (const std::string& c : all)
      if (std::stoll(c.substr(c.find_last_not_of("0123456789") + 1)) > stop) std::filesystem::remove_all(c);
    run(first);
    CHECK(checksums(cat("part", stop)) == expected);
  }
}

TEST_CASE("rl-select: rates, a manifest, and a run that was cut off goes on to the same bytes") {
  const Lessons lessons;
  SelectionRun run;
  run.model_dir = lessons.path("start"), run.records = lessons.path("records.jsonl");
  run.out = lessons.path("selected");
  run.rollouts = {.group = 3, .max_new_tokens = 2, .style = PromptStyle::plain};
  run.at_a_time = 2;
  run.selection.task_filter = run.selection.reward_filter = false;
  const Selection all = run_selection(run);
  const auto read = [&](const char* name) { return std::string(MappedFile::open(run.out + "/" + name)->text()); };
  const std::string rollouts = read("rollouts.jsonl"), manifest = read("manifest.json"), kept = read("kept.jsonl");
  CHECK(all.kept.size() == all.reasons.size());
  for (std::size_t cut : {rollouts.size() / 3, rollouts.size() / 2 + 1}) {
    write_durably(run.out + "/rollouts.jsonl", rollouts.substr(0, cut));
    run.at_a_time = 5;
    run_selection(run);
    CHECK(read("rollouts.jsonl") == rollouts);
    CHECK(read("manifest.json") == manifest);
    CHECK(read("kept.jsonl") == kept);
  }
  const auto refused = [&](const SelectionRun& other) {
    return thrown([&] { run_selection(other); }, Exit::wrong_input).find("give another out") != std::string::npos;
  };
  SelectionRun other = run;
  other.seed = 220;
  CHECK(refused(other));
  other = run, other.load.dtype = Dtype::bf16;
  CHECK(refused(other));
  std::filesystem::remove_all(lessons.path("start"));  // other weights at the same path
  export_model(lessons.path("start"), *random_model(byte_config(), 2), loader_test::small_processor());
  CHECK(refused(run));
}

}  // namespace ov::test
