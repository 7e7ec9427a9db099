// Evaluation of a small random model on a small toy world: bits, baselines, and what is refused.
#include "eval/evaluate.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/io/file.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "data/sample/sample.h"
#include "data/synth/write.h"
#include "generate/generate.h"
#include "image/decode.h"
#include "store/jsonl.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/devices/foreign_device.h"
#include "tests/model/small_model.h"
#include "text/chat.h"
#include "text/conversation.h"

using namespace ov;
using namespace ov::test;

namespace {

struct Fixture {
  Fixture() : processor(Tokenizer::read("data/tokenizer"), ProcessorConfig{.min_pixels = 784}) {
    synth::write_toy_world({.out_dir = world(), .instruct = 200, .captions = 0, .regions = 0, .text = 0, .test = 3});
    model = model_on(cpu());
  }
  std::unique_ptr<Onevision> model_on(Device& device) const {
    return answering_model(ChatTokens::of(processor.tokenizer()).image_pad, TextConfig{}.max_positions, device);
  }
  std::string world() const { return scratch / "world"; }
  EvalOptions options() const {
    return {.data = world() + "/test", .tasks = "configs/demo/eval.json", .max_new_tokens = 6};
  }

  ScratchDirectory scratch;
  Processor processor;
  std::unique_ptr<Onevision> model;
};

Fixture& fixture() {
  static Fixture f;
  return f;
}

std::string refused(const EvalOptions& options) {
  return thrown([&] { evaluate(*fixture().model, fixture().processor, options); });
}

void replace_in(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = read_file(path);
  const auto at = text.find(from);
  REQUIRE(at != text.npos);
  text.replace(at, from.size(), to);
  write_durably(path, text);
}

// A copy of the held-out questions that a test may spoil.
struct Copy {
  Copy() {
    std::filesystem::copy(fixture().world() + "/test", dir / "test", std::filesystem::copy_options::recursive);
    options = fixture().options();
    options.data = dir / "test";
  }
  ScratchDirectory dir;
  EvalOptions options;
};

}  // namespace

TEST_CASE("evaluate: one thread and two give the same bytes, and another model gives others") {
  Fixture& f = fixture();
  const int before = threads();
  std::string files[2];
  for (int n = 1; n <= 2; ++n) {
    set_threads(n);
    const std::string out = f.scratch / ("out" + std::to_string(n));
    write_evaluation(evaluate(*f.model, f.processor, f.options()), "0", "", out);
    files[n - 1] = read_file(out + "/eval.json") + read_file(out + "/predictions.jsonl");
  }
  set_threads(before);
  CHECK(files[0] == files[1]);

  Onevision other(f.model->config());
  other.parameters().allocate(Dtype::f32, cpu());
  initialize(other.parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.5, .embedding_std = 0.5}, 4);
  const std::string out = f.scratch / "other";
  write_evaluation(evaluate(other, f.processor, f.options()), "0", "", out);
  CHECK(read_file(out + "/predictions.jsonl") != read_file(f.scratch / "out1/predictions.jsonl"));
}

TEST_CASE("evaluate: a model on memory that the host cannot touch, everything run late, gives the same bytes") {
  Fixture& f = fixture();
  EvalOptions options = f.options();
  options.limit = 1;
  const auto answers = [&](const Onevision& model) {
    const std::string out = f.scratch / "foreign";
    write_evaluation(evaluate(model, f.processor, options), "0", "", out);
    return read_file(out + "/eval.json") + read_file(out + "/predictions.jsonl");
  };
  const std::string expected = answers(*f.model);
  for (const auto policy : {test::ForeignDevice::Policy::lazy, test::ForeignDevice::Policy::random}) {
    test::ForeignDevice device(policy, 2);
    CHECK(answers(*f.model_on(device)) == expected);
  }
}

TEST_CASE("evaluate: a prediction is what the model answers to the prompt of training, asked by itself") {
  Fixture& f = fixture();
  const Evaluation evaluation = evaluate(*f.model, f.processor, f.options());
  REQUIRE(evaluation.answers.size() == 24);
  for (const std::size_t i : {0, 10, 23}) {
    const Answered& a = evaluation.answers[i];
    const Conversation record{.where = "test",
                              .images = {a.question.image},
                              .turns = {{"user", "<image>\n" + a.question.question}, {"assistant", a.question.answer}}};
    const Sample sample = make_sample(record, f.processor, {.turns = TurnLayout::shared_prefix});
    const auto first =
        std::find_if(sample.labels.begin(), sample.labels.end(), [](auto l) { return l != ignored_label; });
    const std::vector<std::int64_t> prompt(sample.ids.begin(), sample.ids.begin() + (first - sample.labels.begin()));
    const std::vector<Grid> grids = {{sample.grids[0][0], sample.grids[0][1], sample.grids[0][2]}};
    const auto ids = generate(*f.model, prompt, sample.pixel_values, grids, {.max_new_tokens = 6});
    CHECK(normalise(f.processor.tokenizer().decode(ids)) == normalise(a.prediction));
  }
  // The seeing model looks; were it shown grey too, its answers would be the blind one's.
  int looks = 0;
  for (const Answered& a : evaluation.answers) looks += a.prediction != a.grey_prediction;
  CHECK(looks > 0);
}

TEST_CASE("evaluate: every blind answer is that to the constant grey of the tasks' level, of its picture's size") {
  Fixture& f = fixture();
  const std::string tasks = f.scratch / "grey.json";
  const auto shown = [&](const Question& q, int level) {
    Image image = read_image(q.image);
    std::fill(image.rgb.begin(), image.rgb.end(), static_cast<std::uint8_t>(level));
    const Patches patches = make_patches(image, f.processor.images());
    const std::vector<Turn> turns = {{"user", "<image>\n" + q.question}, {"assistant", "A"}};
    const std::vector<std::int64_t> image_tokens = {patches.pixel_values.dim(0) / 4};
    const Encoded e = encode_conversation(f.processor.tokenizer(), turns, image_tokens);
    const auto first = std::find_if(e.labels.begin(), e.labels.end(), [](auto l) { return l != ignored_label; });
    const std::vector<std::int64_t> prompt(e.ids.begin(), e.ids.begin() + (first - e.labels.begin()));
    return normalise(f.processor.tokenizer().decode(generate(
        *f.model, prompt, patches.pixel_values, {{1, patches.grid[1], patches.grid[2]}}, {.max_new_tokens = 6})));
  };
  std::vector<std::string> answers[2];
  for (const int level : {156, 20}) {
    write_durably(tasks, read_file("configs/demo/eval.json"));
    replace_in(tasks, "\"grey\": 156", cat("\"grey\": ", level));
    EvalOptions options = f.options();
    options.tasks = tasks;
    const Evaluation e = evaluate(*f.model, f.processor, options);
    REQUIRE(e.answers.size() == 24);
    for (const Answered& a : e.answers) {
      CHECK(normalise(a.grey_prediction) == shown(a.question, level));
      answers[level == 20].push_back(a.grey_prediction);
    }
  }
  CHECK(answers[0] != answers[1]);  // else no level would be told from another
}

TEST_CASE("evaluate: weights that are no numbers end it with the parameter's name, not with answers") {
  Fixture& f = fixture();
  Onevision broken(f.model->config());
  broken.parameters().allocate(Dtype::f32, cpu());
  broken.parameters().values().copy_from(f.model->parameters().values());
  broken.parameters().find("model.language_model.norm.weight")->value.data<float>()[3] = NAN;
  try {
    evaluate(broken, f.processor, f.options());
    FAIL("answers were given");
  } catch (const Error& e) {
    CHECK(e.exit() == Exit::machine_failed);
    CHECK(std::string(e.what()).find("neither is the parameter model.language_model.norm.weight") != std::string::npos);
  }
}

TEST_CASE("evaluate: accuracy and baselines are the means of their scores, the larger baseline counts") {
  const Question q{.id = "1",
                   .image = "x",
                   .category = "C",
                   .from_template = "t",
                   .question = "q",
                   .answer = "red",
                   .scorer = &scorer_named("exact", "test")};
  Question other = q;
  other.category = "D", other.from_template = "u";
  Evaluation e;
  e.answers = {{q, "red", "", "", 1, 0, 1},
               {q, "red", "", "", 1, 1, 0},
               {q, "", "", "", 0, 1, 0},
               {q, "", "", "", 0, 1, 0},
               {other, "", "", "", 0.25, 0, 0}};
  const Json json = e.json();
  const Json& c = json.at("categories").at("C");
  CHECK(c.at("n").as_int() == 4);
  CHECK(c.at("accuracy").as_double() == 0.5);
  CHECK(c.at("blind_commonest").as_double() == 0.25);
  CHECK(c.at("blind_grey").as_double() == 0.75);
  CHECK(c.at("blind_accuracy").as_double() == 0.75);
  CHECK(json.at("mean").as_double() == 0.375);  // of the categories, not of the questions
  CHECK(json.at("templates").at("u").at("accuracy").as_double() == 0.25);
}

TEST_CASE("evaluate: the table keeps its lines whole, whatever the names and numbers are") {
  const std::string name(300, 'n');
  const Json c = Json::object({{"n", 1}, {"accuracy", 1e300}, {"blind_commonest", 0.5}, {"blind_grey", 0.25}});
  const std::string text = evaluation_text(Json::object({{"categories", Json::object({{name, c}, {"OCR", c}})},
                                                         {"mean", 1e300},
                                                         {"rejects", Json::object()},
                                                         {"model_sha256", "x"}}));
  CHECK(std::count(text.begin(), text.end(), '\n') == 5);
  CHECK(text.find(name + "        1 ") != std::string::npos);
  CHECK(text.find(" 0.250\n") != std::string::npos);
}

TEST_CASE("evaluate: a question that places its picture by <image> is asked as it stands") {
  Copy copy;
  const auto answers = [&] {
    std::vector<std::string> all;
    for (const Answered& a : evaluate(*fixture().model, fixture().processor, copy.options).answers)
      all.push_back(a.prediction);
    return all;
  };
  const auto before = answers();
  replace_in(copy.options.data + "/ocr.jsonl", "\"question\":\"", "\"question\":\"<image>\\n");
  CHECK(answers() == before);
}

TEST_CASE("evaluate: the commonest answer is that of the question's own template") {
  Copy copy;
  write_durably(copy.options.data + "/commonest_answers.json",
                R"({"caption": {"answer": "top left large red circle", "n": 1, "of": 1}})");
  const Evaluation e = evaluate(*fixture().model, fixture().processor, copy.options);
  for (const Answered& a : e.answers)
    CHECK(a.commonest == (a.question.from_template == "caption" ? "top left large red circle" : ""));
}

TEST_CASE("evaluate: a limit takes the first questions of each category") {
  EvalOptions options = fixture().options();
  options.limit = 1;
  const Evaluation e = evaluate(*fixture().model, fixture().processor, options);
  REQUIRE(e.answers.size() == 8);
  CHECK(e.answers[0].question.id == "caption_0000");
}

TEST_CASE("evaluate: unknown categories and contradicting scorers are refused with the nearest name") {
  const std::string tasks = fixture().scratch / "tasks.json";
  const auto with = [&](const std::string& from, const std::string& to) {
    write_durably(tasks, read_file("configs/demo/eval.json"));
    replace_in(tasks, from, to);
    EvalOptions options = fixture().options();
    options.tasks = tasks;
    return refused(options);
  };
  CHECK(with("\"OCR\"", "\"OCT\"").find("category 'OCR' is not one of " + tasks + "; did you mean 'OCT'?") !=
        std::string::npos);
  CHECK(with("\"OCR\": {\"scorer\": \"exact\"},",
             "\"OCR\": {\"scorer\": \"exact\"}, \"Sience\": {\"scorer\": \"exact\"},")
            .find("category 'Sience': no question in") != std::string::npos);
  CHECK(with("phrase_f1\"}", "phrase_f2\"}").find("unknown scorer 'phrase_f2'; did you mean 'phrase_f1'?") !=
        std::string::npos);
  CHECK(with("\"Caption\": {\"scorer\": \"phrase_f1\"}", "\"Caption\": {\"scorer\": \"exact\"}")
            .find("scorer \"phrase_f1\" for template 'caption', where") != std::string::npos);
  CHECK(with("\"grey\": 156", "\"grey\": 256").find("grey: expected 0 to 255, found 256") != std::string::npos);
  CHECK(with("\"grey\"", "\"gray\"").find("unknown key 'gray'; did you mean 'grey'?") != std::string::npos);
}

TEST_CASE("evaluate: faults of single questions are counted by reason, and one too many ends the run") {
  Copy copy;
  const std::string ocr = copy.options.data + "/ocr.jsonl";
  const auto lines = [&] {
    std::vector<Json> out;
    JsonlReader reader(ocr);
    for (Json line; reader.next(&line);) out.push_back(line);
    return out;
  }();
  REQUIRE(lines.size() == 3);
  Json empty = lines[0], missing = lines[1], twice = lines[2], broken = lines[0];
  empty.set("question", "  "), empty.set("id", "a");
  missing.set("image", "images/none.png"), missing.set("id", "b");
  broken.set("image", "ocr.jsonl"), broken.set("id", "c");
  std::string text = read_file(ocr);
  Json pictures = lines[0], pad = lines[0];
  pictures.set("question", "<image> and <image>"), pictures.set("id", "e");
  pad.set("question", "<|image_pad|>?"), pad.set("id", "f");
  for (const Json& line : {empty, missing, twice, broken, pictures, pad}) text += line.dump() + "\n";
  write_durably(ocr, text + "{\"id\": \"d\"\n{\"id\": 7}\n");

  copy.options.max_rejects = 8;
  const Evaluation e = evaluate(*fixture().model, fixture().processor, copy.options);
  CHECK(e.answers.size() == 24);
  CHECK(e.rejects.str() ==
        "malformed_record 2, image_missing 1, image_unusable 1, image_count 2, empty_text 1, duplicate_key 1");
  copy.options.max_rejects = 0;
  const std::string message = refused(copy.options);
  CHECK(message.find("ocr.jsonl:4: the question is empty (empty_text; data.max_rejects is 0)") != std::string::npos);
}

TEST_CASE("evaluate: the model is named by the SHA-256 of its weights, and compared with what a file expects") {
  const ScratchDirectory dir;
  CHECK_THROWS_WITH_AS(model_sha256(dir.path()),
                       cat(dir.path(), ": expected model.safetensors or model-*.safetensors, found neither").c_str(),
                       Error);
  write_durably(dir / "model.safetensors", "abc");
  CHECK(model_sha256(dir.path()) == sha256("abc"));
  const std::string file = dir / "expected.json";
  write_durably(file, "{\"model_sha256\": \"" + sha256("abc") + "\"}");
  CHECK(read_expected_sha256(file) == sha256("abc"));
  write_durably(file, "{\"model_sha256\": null}");
  CHECK(read_expected_sha256(file).empty());
  for (const char* bad : {"{\"model_sha256\": \"abc\"}", "{}", "[]"}) {
    write_durably(file, bad);
    CHECK_THROWS_AS(read_expected_sha256(file), Error);
  }
  const Json same = write_evaluation({}, "x", "x", dir / "same"), other = write_evaluation({}, "x", "y", dir / "other");
  CHECK(same.at("same_as_expected").as_bool());
  CHECK(!other.at("same_as_expected").as_bool());
  CHECK(!write_evaluation({}, "x", "", dir / "none").find("same_as_expected"));
}
