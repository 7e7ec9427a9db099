// RL as an objective of the engine, on a model of random weights: gates G2 to G6 and G9 of the specification that such
// a model can answer for.
#include <doctest/doctest.h>

#include <set>

#include "base/parallel.h"
#include "rl/paired.h"
#include "tests/rl/policy_world.h"
#include "text/chat.h"

namespace ov::test {

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
  write_durably(dir / "turns.jsonl",
                R"([{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "1"},
                {"from": "human", "value": "b"}, {"from": "gpt", "value": "2 , 2 , 3 , 3"}],
                "templates": ["count", "box"], "answer_types": ["any", "bbox-bare"]}])");
  const RecordFile turns(dir / "turns.jsonl", "");
  REQUIRE(turns.records().size() == 2);
  CHECK(turns.records()[0].answer_type == "any");
  CHECK(turns.records()[1].answer_type == "bbox-bare");
  CHECK(turns.records()[1].group == "box");
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

TEST_CASE("rl: the same records from Parquet, with their pictures inside") {
  const ScratchDirectory dir;
  const RecordFile records("tests/golden/rl/records.parquet", "");
  const RecordFile lines("tests/golden/rl/records.jsonl", "tests/golden/images_fast");
  REQUIRE(records.records().size() == lines.records().size());
  for (std::size_t i = 0; i < records.records().size(); ++i) {
    const Record &a = records.records()[i], &b = lines.records()[i];
    INFO(b.where);
    CHECK(a.where == cat("tests/golden/rl/records.parquet: row ", i + 1));
    for (const auto& field : {&Record::id, &Record::source, &Record::group, &Record::problem, &Record::answer_type,
                              &Record::problem_type, &Record::prompt_type})
      CHECK(a.*field == b.*field);
    CHECK(a.answer.dump() == b.answer.dump());
    CHECK(a.format_guidance == b.format_guidance);
    CHECK(records.pictures(a) == lines.pictures(b));
  }
}

TEST_CASE("rl: prompts in a fixed order, those of a picture together, with their share of another stage's") {
  const ScratchDirectory dir;
  std::string lines;
  for (int i = 0; i < 7; ++i) {
    lines += cat(R"({"id":"c)", i, R"(","templates":["a","b","old"],"conversations":[)");
    for (const char* q : {"a?", "b?", "old?"})
      lines += cat(q[0] == 'a' ? "" : ",", R"({"from":"human","value":")", q, R"("},{"from":"gpt","value":"1"})");
    lines += "]}\n";
  }
  write_durably(dir / "records.jsonl", lines);
  const RecordFile records(dir / "records.jsonl", "");
  REQUIRE(records.records().size() == 21);
  PromptOrder order(records, {.prompts = 5, .by_picture = true, .replay = {"old"}, .replay_share = 0.2});
  std::vector<const Record*> trained;
  std::set<std::string> repeated;
  for (std::int64_t i = 0; i < 35; ++i) {
    const Record& r = order.at(i);
    CHECK((r.group == "old") == (i % 5 == 4));  // one in five
    if (r.group == "old") repeated.insert(r.id);
    else trained.push_back(&r);
  }
  CHECK(repeated.size() == 7);
  for (std::size_t i = 0; i < trained.size(); i += 2) CHECK(trained[i]->where == trained[i + 1]->where);
  CHECK(std::set<const Record*>(trained.begin(), trained.begin() + 14).size() == 14);  // every one before any again
  CHECK(std::vector(trained.begin(), trained.begin() + 14) != std::vector(trained.begin() + 14, trained.end()));
  PromptOrder beside(records, {.prompts = 3, .by_picture = true, .replay = {"old"}, .replay_share = 0.34});
  int alike = 0;  // what is repeated is not about the picture of the step's own prompts
  for (std::int64_t i = 0; i < 21; i += 3) {
    const std::string own = beside.at(i).where;
    alike += beside.at(i + 2).where == own;
  }
  CHECK(alike < 7);
  PromptOrder again(records, {.prompts = 5, .by_picture = true, .replay = {"old"}, .replay_share = 0.2});
  CHECK(&again.at(33) == &order.at(33));  // from any place
  for (const auto& [prompts, share, expected] :
       {std::tuple(4, 0.1, 1), {4, 0.3, 1}, {4, 0.4, 2}, {6, 0.9, 5}, {2, 0.9, 1}, {32, 0.1, 3}, {4, 0.0, 0}}) {
    PromptOrder some(records, {.prompts = prompts, .replay = {"old"}, .replay_share = share});
    int old = 0;
    for (std::int64_t i = 0; i < prompts; ++i) old += some.at(i).group == "old";
    CHECK_MESSAGE(old == expected, prompts, " prompts, share ", share);
  }
  CHECK(test::contains(thrown([&] { PromptOrder(records, {.prompts = 1, .replay = {"old"}}); }, Exit::wrong_input),
                       "rl.prompts 1"));
  for (const char* missing : {"none", "odl"})
    CHECK(test::contains(thrown(
                             [&] {
                               PromptOrder(records, {.replay = {"old", missing}});
                             },
                             Exit::wrong_input),
                         cat("rl.replay: no prompt of the template '", missing, "'")));
  CHECK(test::contains(thrown(
                           [&] {
                             PromptOrder(records, {.replay = {"a", "b", "old"}});
                           },
                           Exit::wrong_input),
                       "none is left"));
}

TEST_CASE("rl: a rollout that is stored and read again is the same, however it ended") {
  for (const auto& [stopped, finished] : {std::pair{false, false}, {false, true}, {true, true}}) {
    Rollout r;
    r.ids = {3, 1, 4}, r.logprobs = {-0.1, -1.0 / 3, -2e-300}, r.versions = {0, 0, 2};
    r.stopped = stopped, r.finished = finished;
    const Rollout again = rollout_of(json_of(r));
    CHECK((again.ids == r.ids && again.logprobs == r.logprobs && again.versions == r.versions));
    CHECK((again.stopped == r.stopped && again.finished == r.finished && !again.scored));
    r.scored = true, r.reward.reward = 0.1, r.reward.accuracy = 1, r.reward.raised = "it did";
    const Rollout scored = rollout_of(json_of(r));
    CHECK((scored.scored && scored.reward.reward == 0.1 && scored.reward.accuracy == 1));
    CHECK(scored.reward.raised == "it did");
  }
}

TEST_CASE("rl: a buffer that may begin nothing says so and does not wait for ever") {
  const Lessons lessons;
  Prepared world(lessons);
  RolloutBuffer buffer(*world.model, world.processor, world.records,
                       PromptOrder(world.records, {.prompts = 3, .replay = {}}),
                       {.prompts = 3, .rollouts = world.options.rollouts});
  RolloutCounts counts;
  // Before version 0 the gate is shut: (η + v + 1) b = 0.
  CHECK(test::contains(thrown([&] { buffer.take(-1, counts); }, Exit::machine_failed), "0 begun, 0 running"));
  CHECK(buffer.take(0, counts).size() == 3);
}

TEST_CASE("rl-table: paired differences and their standard errors, pooled; other questions are refused") {
  const ScratchDirectory dir;
  const auto file = [&](const char* name, std::vector<double> scores) {
    std::string lines;
    for (std::size_t i = 0; i < scores.size(); ++i)
      lines += Json::object({{"id", cat("q", i)},
                             {"category", i < 2 ? "c" : "d"},
                             {"template", "t"},
                             {"question", "?"},
                             {"score", scores[i]}})
                   .dump() +
               "\n";
    write_durably(dir / name, lines);
    return std::string(dir / name);
  };
  const std::string before = file("before", {0, 1, 0, 0}), after = file("after", {1, 1, 0, 1});
  const auto rows = paired_scores({before, before}, {after, after});
  const Paired& all = rows.at("all categories");
  CHECK(all.questions == 8);
  CHECK(all.before == .25);
  CHECK(all.after == .75);
  CHECK(all.error == doctest::Approx(std::sqrt(4 * .25 / 3 / 4)));
  // Asked twice, answered alike: nothing is surer than before. Other pictures are other questions.
  CHECK(paired_scores({before}, {after}).at("all categories").error == doctest::Approx(all.error).epsilon(1e-12));
  const auto other = [&](const std::string& path, const char* picture) {
    std::string text = read_file(path);
    for (std::size_t at = 0; (at = text.find("\"question\"", at)) != text.npos; at += 40)
      text.insert(at, cat("\"image\":\"", picture, "\","));
    write_durably(path + picture, text);
    return path + picture;
  };
  CHECK(paired_scores({before, other(before, "p")}, {after, other(after, "p")}).at("all categories").error ==
        doctest::Approx(std::sqrt(8 * .25 / 7 / 8)));
  // Two runs that differ: of the questions' sums 1, 0, 0 and 2, each of two, 3/8 a question is the mean.
  const double squares = .25 * .25 + 2 * .75 * .75 + 1.25 * 1.25;
  CHECK(paired_scores({before, before}, {after, file("less", {0, 1, 0, 1})}).at("all categories").error ==
        doctest::Approx(std::sqrt(4. / 3 * squares) / 8));
  CHECK(rows.at("c").after == 1);
  CHECK(rows.at("d, t").error == doctest::Approx(std::sqrt(2 * .25 / 1 / 2)));
  CHECK(test::contains(thrown([&] { paired_scores({before}, {}); }, Exit::wrong_input), "as many files"));
  CHECK(test::contains(thrown(
                           [&] {
                             paired_scores({before}, {file("short", {1, 1, 0})});
                           },
                           Exit::wrong_input),
                       "expected the questions of"));
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
  for (const auto& group : objective.groups())
    for (const Rollout& r : group->rollouts) tokens += std::ssize(r.ids);
  CHECK(report.labelled == tokens);
  // What shared prompts save: in writing, and in training, where equal answers are one, too.
  std::int64_t prompts = 0, rows = 0;
  for (const auto& group : objective.groups())
    for (const Rollout& r : group->rollouts)
      prompts += std::ssize(group->prompt.input_ids),
          rows += std::ssize(group->prompt.input_ids) - 1 + std::ssize(r.ids);
  CHECK(report.parts.at("prompt_tokens").as_int() + report.parts.at("shared_tokens").as_int() == prompts);
  CHECK(report.parts.at("shared_tokens").as_int() > prompts / 2);
  CHECK(report.parts.at("row_tokens").as_int() == rows);
  CHECK(report.tokens < rows / 2);
}

TEST_CASE("rl: what writing and the reference model multiply is what a forward pass over the same rows does") {
  const Lessons lessons;
  Prepared world(lessons, 6, 5);
  const auto reference = random_model(byte_config());
  world.options.reference = reference.get(), world.options.advantages.kl_ctl = 0.1;
  world.options.order.prompts = 1;  // of several about one picture the sampler looks at it once
  PolicyObjective objective = world.objective();
  objective.merge_equal = false;
  StepEngine engine(objective, short_run(2));
  const StepReport report = engine.step();
  const std::int64_t forward = 2 * engine.products().forward;
  CHECK(forward > 0);
  CHECK(report.parts.at("sampling_flops").as_int() == forward);
  CHECK(report.parts.at("reference_flops").as_int() == forward);
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
    const std::int64_t leaves = o.scalars() / PolicyObjective::scalars_of_leaf;
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
  world.options.order.prompts = 12;
  PolicyObjective keeps = world.objective();
  StepEngine engine(keeps, short_run(2));
  engine.prepare();
  std::int64_t flat = 0, moved = 0;
  for (std::int64_t p = 0; p < 12; ++p) {
    const auto& group = keeps.groups()[static_cast<std::size_t>(p)]->rollouts;
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

}  // namespace ov::test
