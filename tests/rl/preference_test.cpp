// DPO as a run: preferences as the Hub has them, the cached reference, the gradient of a whole model, and same bits.
#include <doctest/doctest.h>

#include <csignal>

#include "base/stop_signals.h"
#include "image/decode.h"
#include "image/encode.h"
#include "rl/preference_objective.h"
#include "tests/comm/forked_ranks.h"
#include "tests/rl/policy_world.h"

namespace ov::test {
namespace {

// The lessons' pictures and questions, each with a better and a worse answer that differ in a letter or in length.
struct Pairs : Lessons {
  Pairs() {
    std::string lines;
    for (int i = 0; i < 12; ++i)
      lines += Json::object({{"id", cat("p", i)},
                             {"images", std::vector<std::string>{"tiny.png"}},
                             {"prompt", cat("what is ", i, " ?")},
                             {"chosen", i % 3 ? "yes" : "a ring"},
                             {"rejected", i % 2 ? "no" : "a cross"}})
                   .dump() +
               "\n";
    write_durably(path("pairs.jsonl"), lines);
  }
  RlJob pairs_job(const std::string& out, std::int64_t steps = 4) const {
    RlJob j = job(out, steps);
    j.records = path("pairs.jsonl");
    j.preferences = PreferenceRun{.order = {.prompts = 4}};
    return j;
  }
};

struct Dpo {
  explicit Dpo(const Pairs& pairs, Dtype dtype = Dtype::f32, const PreferenceRun& run = {.order = {.prompts = 4}})
      : records(pairs.path("pairs.jsonl"), "", {}, "", RecordKind::preference),
        model(std::make_unique<Onevision>(byte_config())) {
    model->parameters().allocate(dtype, cpu());
    initialize(model->parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2, .embedding_std = 0.5}, 1);
    model->parameters().train(trainable({"language_model", "adapter", "vision_model"}, true));
    objective = std::make_unique<PreferenceObjective>(*model, processor, records, run);
    objective->find_references(pairs.path(cat("references", name_of(dtype), ".jsonl")),
                               Json::object({{"of", "a test"}}), 100, one_rank());
  }
  RecordFile records;
  std::unique_ptr<Onevision> model;
  Processor processor = loader_test::small_processor();
  std::unique_ptr<PreferenceObjective> objective;
};

std::string text_of(const std::string& path) { return std::string(MappedFile::open(path)->text()); }

}  // namespace

TEST_CASE("rl: preferences as texts, as messages, in parts and without a prompt are the same; from Parquet too") {
  const RecordFile lines("tests/golden/rl/preferences.jsonl", "tests/golden/images_fast", {}, "",
                         RecordKind::preference),
      parquet("tests/golden/rl/preferences.parquet", "", {}, "", RecordKind::preference);
  const Processor processor = loader_test::small_processor();
  REQUIRE(lines.records().size() == 3);
  REQUIRE(parquet.records().size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const Record &a = lines.records()[i], &b = parquet.records()[i];
    INFO(a.where);
    CHECK(a.id == b.id);
    const Pair p = make_pair(a, lines.pictures(a), processor), q = make_pair(b, parquet.pictures(b), processor);
    CHECK(p.prompt.input_ids == q.prompt.input_ids);
    CHECK(p.chosen == q.chosen);
    CHECK(p.rejected == q.rejected);
    CHECK(p.prompt.grids.size() == (i == 0 ? 1 : i == 1 ? 2 : 0));
    CHECK(same_bits(p.prompt.pixel_values, q.prompt.pixel_values));
  }
  const Record& ring = lines.records()[0];
  const Pair pair = make_pair(ring, lines.pictures(ring), processor);
  CHECK(processor.tokenizer().decode(pair.chosen, false) == "A ring.<|im_end|>\n");
  const std::string asked = processor.tokenizer().decode(pair.prompt.input_ids, false);
  CHECK(asked.starts_with(
      "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"));
  CHECK(asked.ends_with("<|vision_end|>\nWhat is it?<|im_end|>\n<|im_start|>assistant\n"));
}

TEST_CASE("rl: what is no preference is refused with its place") {
  const ScratchDirectory dir;
  const auto refused = [&](const std::string& line) {
    write_durably(dir / "bad.jsonl", line + "\n");
    return thrown([&] { RecordFile(dir / "bad.jsonl", "", {}, "", RecordKind::preference); }, Exit::wrong_input);
  };
  const auto says = [&](const std::string& line, const std::string& what) {
    const std::string said = refused(line);
    CHECK_MESSAGE(contains(said, "bad.jsonl:1: " + what), said);
  };
  says(R"({"prompt": "a", "chosen": "b"})", "rejected: expected a text or messages, found nothing");
  says(R"({"prompt": "a", "chosen": "b", "rejected": 3})", "rejected: expected a text or messages, found 3");
  says(R"({"prompt": "a", "chosen": "b", "rejected": "b"})", "chosen and rejected are the same text");
  says(R"({"chosen": "b", "rejected": "c"})", "prompt: expected a question of the user");
  says(R"({"prompt": 3, "chosen": "b", "rejected": "c"})", "prompt: expected a text or messages, found 3");
  says(R"({"prompt": "<image>", "chosen": "b", "rejected": "c"})", "prompt: 1 <image> tag(s) for 0 picture(s)");
  says(R"({"prompt": [{"role": "tool", "content": "a"}], "chosen": "b", "rejected": "c"})",
       "prompt: message 1: role: expected system, user or assistant, found \"tool\"");
  says(R"({"prompt": [{"role": "user", "content": [{"type": "video"}]}], "chosen": "b", "rejected": "c"})",
       "prompt: message 1: content: expected parts of type text or image");
  says(R"({"prompt": "a", "chosen": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}],)"
       R"( "rejected": "c"})",
       "chosen: expected one message of the assistant behind the prompt, found 2 messages");
  const Processor processor = loader_test::small_processor();
  CHECK(contains(thrown([&] {
                   make_pair({.where = "here", .turns = {{"user", "q"}}, .chosen = "<|image_pad|>"}, {}, processor);
                 }),
                 "here: chosen: spells a picture's placeholder"));
}

TEST_CASE("rl: DPO refuses steps of more pairs than there are") {
  const Pairs pairs;
  const RecordFile records(pairs.path("pairs.jsonl"), "", {}, "", RecordKind::preference);
  const std::int64_t all = std::ssize(records.records());
  Dpo(pairs, Dtype::f32, {.order = {.prompts = all}});
  CHECK(contains(thrown([&] { Dpo(pairs, Dtype::f32, {.order = {.prompts = all + 1}}); }),
                 cat("rl.prompts is ", all + 1, " pairs a step, and there are ", all)));
}

TEST_CASE("rl: DPO begins with margins of exactly 0, and the gradient of the whole model is that of its loss") {
  const Pairs pairs;
  for (const auto kind : {PreferenceOptions::Kind::sigmoid, PreferenceOptions::Kind::ipo}) {
    Dpo dpo(pairs, Dtype::f64, {.order = {.prompts = 4}, .loss = {.kind = kind, .beta = 0.5}});
    TrainOptions train = short_run(2);
    const Tensor weights = dpo.model->parameters().values();
    const auto loss = [&] {
      StepEngine engine(*dpo.objective, train);
      engine.prepare();
      return std::pair(engine.accumulate(0, 4, false).to_vector<double>(), [&] {
        const Tensor scalars = Tensor::zeros({dpo.objective->scalars()}, Dtype::f64, cpu(), Segment::workspace);
        for (std::int64_t i = 0; i < 4; ++i) {
          Tape tape(dpo.model->parameters().gradient_buffer());
          dpo.objective->run(i, tape, scalars);
        }
        return dpo.objective->losses(scalars.to_vector<double>());
      }());
    };
    const auto first = loss();
    CHECK(first.second.parts.at("margin").as_double() == 0);
    CHECK(first.second.parts.at("accuracy").as_double() == 0);
    CHECK(first.second.loss ==
          doctest::Approx(kind == PreferenceOptions::Kind::ipo ? 1.0 : std::log(2.0)).epsilon(1e-14));
    // Along the gradient, from a point where margins are not 0.
    const std::vector<double> start = weights.to_vector<double>();
    const auto move = [&](const std::vector<double>& from, const std::vector<double>& along, double by) {
      for (std::size_t i = 0; i < from.size(); ++i) weights.data<double>()[i] = from[i] + by * along[i];
    };
    double square = 0;
    for (const double g : first.first) square += g * g;
    move(start, first.first, -0.02 / std::sqrt(square));
    const std::vector<double> at = weights.to_vector<double>();
    const auto [gradient, here] = loss();
    CHECK(here.parts.at("margin").as_double() > 0);
    double length = 0;
    for (const double g : gradient) length += g * g;
    length = std::sqrt(length);
    const double h = 1e-6;
    move(at, gradient, h / length);
    const double up = loss().second.loss;
    move(at, gradient, -h / length);
    const double down = loss().second.loss;
    CHECK((up - down) / (2 * h) == doctest::Approx(length).epsilon(1e-6));
  }
}

TEST_CASE("rl: DPO holds no pair of a step: as much memory for twelve as for two, and no more beside the step's") {
  const Pairs pairs;
  const Threads one(1);
  const auto peaks = [&](std::int64_t prompts) {
    Dpo dpo(pairs, Dtype::f32, {.order = {.prompts = prompts}});
    const auto data = [](const auto& of) { return of[static_cast<std::size_t>(Segment::data)]; };
    const std::int64_t before = data(cpu().memory().bytes);
    cpu().reset_peaks();
    const Loaded loaded = dpo.objective->prepare(0);
    CHECK(loaded.tokens > 0);
    CHECK(loaded.patches > 0);
    CHECK(data(cpu().memory().bytes) == before);
    const std::int64_t preparing = data(cpu().memory().peak) - before;
    dpo.objective->normalise({prompts});
    const Tensor gradients = dpo.model->parameters().gradient_buffer();
    const Tensor scalars = Tensor::zeros({dpo.objective->scalars()}, Dtype::f64, cpu(), Segment::workspace);
    cpu().reset_peaks();
    for (std::int64_t i = 0; i < prompts; ++i) {
      Tape tape(gradients);
      dpo.objective->run(i, tape, scalars);
    }
    CHECK(data(cpu().memory().bytes) == before);
    return std::pair(preparing, data(cpu().memory().peak) - before);
  };
  const auto two = peaks(2), twelve = peaks(12);
  CHECK(two.first > 0);
  CHECK(twelve == two);
}

TEST_CASE("rl: DPO asked to stop among its references ends with what it has, and the same command goes on there") {
  const Pairs pairs;
  const auto run = [&](const RlJob& job) { silently([&] { return run_rl(job); }); };
  run(pairs.pairs_job("whole"));
  const std::string expected = text_of(pairs.path("whole/references.jsonl"));
  for (const int signal : {SIGTERM, SIGINT}) {
    const RlJob job = pairs.pairs_job(cat("stopped", signal));
    static int countdown, sent;
    countdown = 14, sent = signal;  // before and after every line
    const std::string said = thrown(
        [&] {
          const Threads one(1);
          set_file_step_hook([](const char*, const std::string& path, bool) {
            if (path.ends_with("references.jsonl") && --countdown == 0) ::raise(sent);
          });
          run(job);
        },
        static_cast<Exit>(128 + signal));
    set_file_step_hook(nullptr);
    CHECK_MESSAGE(
        contains(said, cat("stopped by ", signal == SIGINT ? "SIGINT" : "SIGTERM", " with the references of ")), said);
    CHECK_MESSAGE(contains(said, "of 12 pairs, which are kept; the same command goes on from there"), said);
    const std::string part = text_of(job.out + "/references.jsonl");
    const auto lines = std::count(part.begin(), part.end(), '\n');
    CHECK(lines > 1);
    CHECK(lines < 13);
    CHECK(expected.starts_with(part));
    run(job);
    CHECK(text_of(job.out + "/references.jsonl") == expected);
    CHECK(step_checksums(job.out) == step_checksums(pairs.path("whole")));
  }
}

TEST_CASE("rl: the checksum of DPO's step tells other references and other pictures apart") {
  const Pairs pairs;
  const auto of_step = [&] {
    Dpo dpo(pairs);
    dpo.objective->prepare(0);
    return dpo.objective->batch_checksum();
  };
  const std::uint64_t first = of_step();
  CHECK(of_step() == first);
  const std::string path = pairs.path("referencesf32.jsonl");
  std::string text = text_of(path);
  const std::string key = "\"chosen\":-";  // of the pair that the run meets first
  REQUIRE(text.find(key) != text.npos);
  const std::string before = text;
  write_durably(path, text.insert(text.find(key) + key.size(), "1"));
  CHECK(of_step() != first);
  write_durably(path, before);
  Image picture = read_image(pairs.path("tiny.png"));
  picture.rgb[0] ^= 0x80;
  write_durably(pairs.path("tiny.png"), encode_png(picture));
  CHECK(of_step() != first);
}

TEST_CASE("rl: references that are damaged are refused with their line and key") {
  const Pairs pairs;
  const RlJob job = pairs.pairs_job("whole");
  silently([&] { return run_rl(job); });
  const std::string path = job.out + "/references.jsonl", whole = text_of(path);
  const auto refused = [&](const std::string& from, const std::string& to) {
    std::string text = whole;
    const std::size_t at = text.find(from);
    REQUIRE(at != text.npos);
    write_durably(path, text.replace(at, from.size(), to));
    return thrown([&] { silently([&] { return run_rl(job); }); }, Exit::wrong_input);
  };
  const std::size_t second = whole.find('\n') + 1, third = whole.find('\n', second) + 1;
  const std::string line = whole.substr(second, third - second);
  const auto says = [&](const std::string& said, const std::string& what) {
    CHECK_MESSAGE(contains(said, "references.jsonl:" + what), said);
  };
  says(refused(line, "{\"id\":\"nobody\",\"chosen\":-1,\"rejected\":-2}\n"), "2: id: no record of the id \"nobody\"");
  says(refused(line, "{\"id\":\"p0\",\"chosen\":null,\"rejected\":-2}\n"), "2: chosen: expected a number, found null");
  says(refused(line, "{\"id\":\"p0\",\"chosen\":-1}\n"), "2: rejected: expected a number, found nothing");
  says(refused(line, "[3]\n"), "2: id: no record of the id nothing");
  says(refused(line, line + line), "3: id: a second line of the pair");
  says(refused("\"type\":\"references\"", "\"type\":\"other\""), "1: sums of another model, data or options");
}

TEST_CASE("rl: DPO learns to prefer: margins and accuracy rise, and the loss falls") {
  const Pairs pairs;
  Dpo dpo(pairs);
  TrainOptions train = short_run(12);
  train.schedule.peak = train.schedule.min = 3e-3;
  StepEngine engine(*dpo.objective, train);
  StepReport first = engine.step(), last;
  while (engine.steps_done() < 12) last = engine.step();
  const auto part = [](const StepReport& r, const char* name) { return r.parts.at(name).as_double(); };
  MESSAGE("margin ", part(first, "margin"), " -> ", part(last, "margin"), ", accuracy ", part(last, "accuracy"),
          ", loss ", first.loss, " -> ", last.loss);
  CHECK(part(first, "margin") == 0);
  CHECK(first.loss == doctest::Approx(std::log(2.0)).epsilon(1e-12));
  CHECK(part(last, "margin") > 0.2);
  CHECK(part(last, "accuracy") == 1);
  CHECK(last.loss < 0.9 * first.loss);
  CHECK(part(last, "chosen_reward") - part(last, "rejected_reward") ==
        doctest::Approx(part(last, "margin")).epsilon(1e-12));
}

TEST_CASE("rl: DPO ends in the same bits on any threads, in two ranks and from any checkpoint; killed twelve times") {
  const Pairs pairs;
  const auto run = [&](const RlJob& job) { silently([&] { return run_rl(job); }); };
  static int steps;
  steps = 0;
  set_file_step_hook([](const char*, const std::string&, bool) { ++steps; });
  run(pairs.pairs_job("whole"));
  set_file_step_hook(nullptr);
  const auto expected = step_checksums(pairs.path("whole"));
  REQUIRE(expected.size() == 4);
  const std::string references = text_of(pairs.path("whole/references.jsonl"));
  CHECK(std::count(references.begin(), references.end(), '\n') == 13);
  {
    const Threads three(3);
    run(pairs.pairs_job("threads"));
  }
  CHECK(step_checksums(pairs.path("threads")) == expected);
  CHECK(text_of(pairs.path("threads/references.jsonl")) == references);
  for (const Ended& e : in_ranks(2, 60, [&](ProcessRanks& ranks) {
         RlJob job = pairs.pairs_job("ranks");
         job.ranks = &ranks;
         run(job);
         ranks.barrier();
       }))
    CHECK_MESSAGE(e.exit == 0, e.error);
  CHECK(step_checksums(pairs.path("ranks")) == expected);
  CHECK(text_of(pairs.path("ranks/references.jsonl")) == references);
  for (int i = 0; i < 12; ++i) {
    const RlJob job = pairs.pairs_job(cat("killed", i));
    CHECK(in_child([&] {
            die_at_step(i * steps / 12);
            run(job);
          }) == 128 + SIGKILL);
    run(job);
    CHECK(step_checksums(job.out) == expected);
    CHECK(text_of(job.out + "/references.jsonl") == references);
  }
  // Sums of another model are not this run's, and a pair that is too long is named.
  RlJob other = pairs.pairs_job("whole");
  std::filesystem::remove_all(pairs.path("whole/checkpoints"));
  std::filesystem::remove_all(pairs.path("whole/model"));
  export_model(pairs.path("start2"), *random_model(byte_config(), 2), loader_test::small_processor());
  other.model_dir = pairs.path("start2");
  CHECK(contains(thrown([&] { run(other); }), "references.jsonl:1: sums of another model, data or options"));
  RlJob small = pairs.pairs_job("small");
  small.preferences->max_tokens = 30;
  CHECK(contains(thrown([&] { run(small); }), "tokens, and train.max_tokens is 30"));
}

}  // namespace ov::test
