// The program from outside: the calls that scripts depend on, exit codes, one-line errors, a stdout that carries
// answers alone.
#include "tests/cli/program.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/json.h"
#include "base/revision.h"
#include "base/sha256.h"
#include "store/safetensors.h"
#include "store/tar.h"
#include "tests/check.h"
#include "tests/golden_case.h"

using namespace ov;

namespace {

const std::string golden = "tests/golden/dense/";
const std::string checkpoint = golden + "checkpoint";

void check_error(const Outcome& o, int exit, const std::string& part) {
  INFO(o.err);
  CHECK(o.exit == exit);
  CHECK(o.out.empty());
  CHECK(one_line(o.err));
  CHECK(o.err.starts_with("onevision: "));
  CHECK(o.err.find(part) != std::string::npos);
}

Outcome merge_tiny(const std::string& out, void (*before)() = nullptr) {
  return run({"merge", "--init", "random", "--config", "configs/model/tiny.json", "--tokenizer", "data/tokenizer",
              "--out", out},
             before);
}

// The first line that is not part of the table shown before long work.
std::string last_line(const std::string& err) {
  const auto end = err.find_last_not_of('\n');
  const auto begin = err.rfind('\n', end);
  return err.substr(begin == err.npos ? 0 : begin + 1);
}

void small_files() {
  const rlimit limit = {100000, 100000};
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

}  // namespace

TEST_CASE("cli: help goes to stdout and is done") {
  for (const std::vector<std::string>& call : {std::vector<std::string>{},
                                               {"help"},
                                               {"--help"},
                                               {"-h"},
                                               {"help", "train"},
                                               {"train", "--help"},
                                               {"diff", "-h"}}) {
    const Outcome o = run(call);
    CHECK(o.exit == 0);
    CHECK(o.out.find("onevision ") != std::string::npos);
    CHECK(o.err.empty());
  }
  CHECK(run({"help", "train"}).out == run({"train", "--help"}).out);
  CHECK(run({"help", "train"}).out.find("--lr, --optimizer.lr") != std::string::npos);
  CHECK(run({"help", "--markdown", "true"}).out.find("| `optimizer.lr` | `--lr` | `1e-05` |") != std::string::npos);
}

TEST_CASE("cli: --version says revision and compiler, the same every time") {
  const Outcome o = run({"--version"});
  CHECK(o.exit == 0);
  CHECK(o.err.empty());
  CHECK(o.out == cat("onevision ", revision(), ", compiled by ", compiler(), "\n"));
  CHECK(one_line(o.out));
  CHECK(run({"--version"}).out == o.out);
}

TEST_CASE("cli: inspect eval shows the results of public tasks too, ours and lmms-eval's") {
  const ScratchDirectory dir;
  write_durably(dir / "lines",
                "{\"prediction\": \"a\", \"answer\": \"a\"}\n{\"prediction\": \"b\", \"answer\": \"a\"}\n");
  const Outcome scored = run({"eval", "--score", dir / "lines", "--tasks", "exact_match", "--out", dir / "scored"});
  REQUIRE(scored.exit == 0);
  const Outcome shown = run({"inspect", "eval", dir / "scored.results.json"});
  CHECK(shown.exit == 0);
  CHECK(shown.out == scored.out);
  write_durably(dir / "theirs.json",
                R"({"results": {"t": {"alias": "t", "anls,none": 0.25, "anls_stderr,none": "N/A"}},)"
                R"( "n-samples": {"t": {"original": 9, "effective": 4}}})");
  const Outcome theirs = run({"inspect", "eval", dir / "theirs.json"});
  CHECK(theirs.exit == 0);
  CHECK(last_line(theirs.out).starts_with("anls   "));
  CHECK(last_line(theirs.out).find("0.25         N/A       4") != std::string::npos);
  for (const char* other :
       {"[]", "7", R"({"results": 7})", R"({"results": {"t": 7}})", R"({"results": {}, "tasks": 1})"}) {
    CAPTURE(other);
    write_durably(dir / "other.json", other);
    check_error(run({"inspect", "eval", dir / "other.json"}), 2, "other.json: not what eval writes");
  }
}

TEST_CASE("cli: what is misspelt is told with its nearest name") {
  check_error(run({"trian"}), 2, "no command 'trian'; did you mean 'train'?");
  check_error(run({"help", "genrate"}), 2, "did you mean 'generate'?");
  check_error(run({"plan", "--modle", "x"}), 2, "unknown key '--modle'; did you mean '--model'?");
  check_error(run({"train", "--tensor", "2"}), 2, "unknown key '--tensor'; did you mean '--parallel.tensor'?");
  const Outcome sequence = run({"train", "--parallel.sequence", "2"});
  check_error(sequence, 2, "unknown key '--parallel.sequence'");
  CHECK(sequence.err.find("did you mean") == std::string::npos);
  check_error(run({"inspect", "imge", "x"}), 2, "did you mean 'image'?");
  check_error(run({"generate", "--model", checkpoint}), 2, "generate: --prompt is missing");
  check_error(run({"diff", "one"}), 2, "diff: expected A B; B is missing");
}

TEST_CASE("cli: trace agrees with the reference, and diff says so by its exit code") {
  const ScratchDirectory dir;
  const std::string trace = dir / "trace.safetensors", reference = test::dense_case(2);
  const auto traced = [&](const std::vector<std::string>& more) {
    std::vector<std::string> call = {"trace", "--model", checkpoint, "--input", reference, "--out", trace};
    call.insert(call.end(), more.begin(), more.end());
    const Outcome o = run(call);
    CHECK(o.exit == 0);
    CHECK(o.out.empty());
  };
  traced({"--dtype", "f64"});
  Outcome o = run({"diff", trace, reference, "--rtol", "1e-7"});
  INFO(o.out);
  CHECK(o.exit == 0);
  CHECK(o.err.empty());
  CHECK(o.out.find(" 0 not within") != std::string::npos);
  traced({});
  CHECK(run({"diff", trace, reference, "--rtol", "2e-5"}).exit == 0);
  CHECK(run({"diff", trace, reference, "--rtol=1e-9"}).exit == 1);
  traced({"--dtype=f64", "--numerics", "megatron"});
  o = run({"diff", trace, reference});
  CHECK(o.exit == 1);
  CHECK(o.out.find("first: act.model.visual.pre_layernorm") != std::string::npos);
  traced({"--dtype=f64", "--hf_shift_bug", "true"});
  o = run({"diff", trace, reference});
  CHECK(o.exit == 1);
  CHECK(o.out.find("first: act.model.visual.merger.ln_q") != std::string::npos);
  check_error(run({"diff", trace, dir / "missing.safetensors"}), 2, "missing.safetensors");
}

TEST_CASE("cli: inspect tokens and image write what the reference has") {
  const ScratchDirectory dir;
  write_durably(dir / "in.jsonl", "{\"text\": \"Hi<|im_end|>\"}\n");
  Outcome o =
      run({"inspect", "tokens", "--tokenizer", "data/tokenizer", "--in", dir / "in.jsonl", "--out", dir / "ids.jsonl"});
  CHECK(o.exit == 0);
  CHECK(o.out.empty());
  CHECK(read_file(dir / "ids.jsonl") == "{\"ids\":[39,72,258]}\n");
  o = run({"inspect", "image", "tests/golden/images_fast/photo_420.jpg", "--max_pixels", "30000", "--out",
           dir / "p.safetensors"});
  CHECK(o.exit == 0);
  CHECK(o.out.empty());
  CHECK(Safetensors::open(dir / "p.safetensors").tensor("image_grid_thw").to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{1, 10, 14});
  write_durably(dir / "cut.jpg", read_file("tests/golden/images_fast/photo_420.jpg").substr(0, 2000));
  check_error(run({"inspect", "image", dir / "cut.jpg", "--out", dir / "q.safetensors"}), 2, "cut.jpg");
  const std::string tiny = "tests/golden/images_fast/tiny.png";
  check_error(run({"inspect", "image", tiny, "--max_pixels=9", "--out", dir / "q.safetensors"}), 2, "max_pixels 9");
  CHECK(!std::filesystem::exists(dir / "q.safetensors"));
}

TEST_CASE("cli: inspect parquet and webdataset write rows and samples, and refuse a damaged file") {
  const ScratchDirectory dir;
  const std::string parquet = "tests/golden/rl/records.parquet", shard = dir / "one.tar";
  TarWriter tar(shard);
  tar.add("a.txt", "text");
  tar.finish();
  for (const auto& [kind, path] : {std::pair<std::string, std::string>{"parquet", parquet}, {"webdataset", shard}}) {
    Outcome o = run({"inspect", kind, path, "--out", dir / "out.jsonl"});
    CHECK(o.exit == 0);
    CHECK(o.out.empty());
    CHECK(read_file(dir / "out.jsonl").starts_with("{\""));
    write_durably(dir / "cut", read_file(path).substr(0, 300));
    check_error(run({"inspect", kind, dir / "cut", "--out", dir / "bad.jsonl"}), 2, "cut");
    CHECK(!std::filesystem::exists(dir / "bad.jsonl"));
    CHECK(!std::filesystem::exists(dir / "bad.jsonl.partial"));
    check_error(run({"inspect", kind, "--out", dir / "bad.jsonl"}), 2, "inspect " + kind + ": expected");
  }
}

TEST_CASE("cli: inspect reward writes each case with its reward, and says what a verifier gave up") {
  const ScratchDirectory dir;
  const std::string first =
      R"({"completion":"<think>[1,2,3,4]</think><answer>7 dogs</answer>","answer":["7"],"answer_type":"number",)"
      R"("problem_type":"spatial-reasoning")";
  const std::string second = R"({"completion":"<answer>a</answer>","answer":["a","b"],"answer_type":"any")";
  const std::string third = R"({"completion":"<answer>a</answer>","answer":"a","answer_type":"numbr")";
  write_durably(dir / "in.jsonl", first + "}\n\n" + second + "}\n" + third + "}\n");
  const Outcome o = run({"inspect", "reward", "--in", dir / "in.jsonl", "--out", dir / "out.jsonl"});
  CHECK(o.exit == 0);
  CHECK(o.err.find("answer_type 'numbr' (1): no verifier has this name") != std::string::npos);
  CHECK(o.out.find("3 rewards\n  0 for 1 that the verifier gave up: the answer is a list of 2") != std::string::npos);
  CHECK(read_file(dir / "out.jsonl") ==
        first + R"(,"reward":1.5,"extracted":"7","accuracy":1.0,"box_in_think":1.0})" + "\n" + second +
            R"(,"reward":0.0,"extracted":"a","raised":"the answer is a list of 2 texts, expected one text"})" + "\n" +
            third + R"(,"reward":1.0,"extracted":"a"})" + "\n");
  for (const char* bad :
       {R"({"completion":1,"answer":"a","answer_type":"any"})", R"({"completion":"","answer_type":"any"})",
        R"({"completion":"","answer":[1],"answer_type":"any"})", R"({"completion":"","answer":"a"})", "7", "{"}) {
    write_durably(dir / "bad.jsonl", first + "}\n" + bad + "\n");
    check_error(run({"inspect", "reward", "--in", dir / "bad.jsonl", "--out", dir / "bad_out.jsonl"}), 2,
                "bad.jsonl:2");
    CHECK(!std::filesystem::exists(dir / "bad_out.jsonl"));
  }
}

TEST_CASE("cli: inspect reward names answer types without a verifier, and a misspelt kind before its keys") {
  const ScratchDirectory dir;
  const auto line = [](const char* type) {
    return cat(R"({"completion":"<answer>B</answer>","answer":"B","answer_type":")", type, "\"}\n");
  };
  const auto said = [&](const std::string& lines) {
    write_durably(dir / "in.jsonl", lines);
    const Outcome o = run({"inspect", "reward", "--in", dir / "in.jsonl", "--out", dir / "out.jsonl"});
    CHECK(o.exit == 0);
    return o.err;
  };
  CHECK(said(line("multiple-choice") + line("any")) == "");
  const std::string err = said(line("choice") + line("multiple-choice") + line("choice") + line("math"));
  CHECK_MESSAGE(test::contains(err, "answer_type 'choice' (2), 'math' (1): no verifier has this name"), err);
  CHECK(test::contains(err, "math-expressions math-expressions-strict multiple-choice"));
  check_error(run({"inspect", "rewards", "--in", dir / "in.jsonl"}), 2, "did you mean 'reward'");
}

TEST_CASE("cli: inspect reward replaces what it wrote, however long its first line is") {
  const ScratchDirectory dir;
  const std::vector<std::string> command = {"inspect", "reward", "--in", dir / "in.jsonl", "--out", dir / "out.jsonl"};
  write_durably(dir / "in.jsonl",
                cat(R"({"completion":")", std::string(70000, 'a'), R"(","answer":"b","answer_type":"any"})", "\n"));
  for (int again = 0; again < 2; ++again) CHECK(run(command).exit == 0);
  write_durably(dir / "out.jsonl", cat("{\"notes\":\"", std::string(70000, 'a'), "\"}\n{\"reward\":1}\n"));
  check_error(run(command), 2, "holds something else");
}

TEST_CASE("cli: inspect checkpoint lists tensors, and answers no when they are not what config.json says") {
  const ScratchDirectory dir;
  Outcome o = run({"inspect", "checkpoint", checkpoint});
  CHECK(o.exit == 0);
  CHECK(o.out.find("83 tensors, 613664 parameters") != std::string::npos);
  const std::string copy = dir / "copy";
  std::filesystem::copy(checkpoint, copy);
  std::string config = read_file(copy + "/config.json");
  write_durably(copy + "/config.json", config.replace(config.find("\"depth\": 3"), 10, "\"depth\": 4"));
  o = run({"inspect", "checkpoint", copy});
  CHECK(o.exit == 1);
  CHECK(o.out.find("problem: ") != std::string::npos);
  check_error(run({"generate", "--model", copy, "--prompt", "x"}), 2, "blocks.3.");
  // A header that promises more than the file holds.
  const std::string shard = copy + "/model-00002-of-00002.safetensors";
  write_durably(shard, read_file(shard).substr(0, 700000));
  check_error(run({"inspect", "checkpoint", copy}), 2, "model-00002-of-00002.safetensors");
}

TEST_CASE("cli: generate prints the reference's ids, or their text, and nothing else") {
  const Json summary = Json::read(golden + "summary.json");
  for (const Json& g : summary.at("generation").items()) {
    std::vector<std::string> call = {"generate",
                                     "--model",
                                     checkpoint,
                                     "--prompt",
                                     g.at("text").as_string(),
                                     "--max_pixels",
                                     g.at("max_pixels").dump(),
                                     "--max_new_tokens",
                                     "24"};
    if (g.at("files").size()) call.push_back("--image");
    for (const Json& f : g.at("files").items()) call.push_back(test::dense_picture(f.as_string()));
    const Outcome text = run(call);
    call.insert(call.end(), {"--ids", "true"});
    const Outcome ids = run(call);
    CHECK(ids.exit == 0);
    CHECK(ids.out == g.at("new_ids").dump() + "\n");
    CHECK(ids.err.empty());
    CHECK(text.exit == 0);
    CHECK(text.out.ends_with("\n"));
    CHECK(text.out.find('[') != 0);
  }
  check_error(run({"generate", "--model", checkpoint, "--image", "no.png", "--prompt", "x"}), 2, "no.png");
  check_error(run({"generate", "--model", "tests/golden", "--prompt", "x"}), 2, "tests/golden/config.json");
  check_error(run({"generate", "--model", checkpoint, "--prompt",
                   "Gr\xf6\xdf"
                   "e"}),
              2, "generate.prompt: byte 2");
}

TEST_CASE("cli: merge makes a complete model directory, the same bytes every time, which every command reads") {
  const ScratchDirectory dir;
  REQUIRE(merge_tiny(dir / "a").exit == 0);
  REQUIRE(merge_tiny(dir / "b").exit == 0);
  for (const char* file :
       {"config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json", "vocab.json",
        "merges.txt", "tokenizer_config.json", "chat_template.jinja", "model.safetensors"})
    CHECK(sha256_file(dir / "a" + "/" + file) == sha256_file(dir / "b" + "/" + file));
  CHECK(merge_tiny(dir / "a").exit == 0);  // a model of ours may be replaced
  CHECK(run({"inspect", "checkpoint", dir / "a"}).exit == 0);
  CHECK(run({"generate", "--model", dir / "a", "--image", "tests/golden/images_fast/rgb.png", "--prompt", "What is it?",
             "--max_new_tokens", "3", "--max_pixels", "5000"})
            .exit == 0);
  const Outcome from_directory = run({"plan", "--model", dir / "a"});
  const Outcome from_description = run({"plan", "--config", "configs/model/tiny.json"});
  CHECK(from_directory.exit == 0);
  CHECK(from_directory.out == from_description.out);
  CHECK(run({"plan"}).out != from_description.out);
  const Outcome other = run({"merge", "--config", "configs/model/tiny.json", "--tokenizer", "data/tokenizer", "--out",
                             dir / "c", "--seed", "2"});
  CHECK(other.exit == 0);
  CHECK(sha256_file(dir / "a" + "/model.safetensors") != sha256_file(dir / "c" + "/model.safetensors"));
}

TEST_CASE("cli: what merge cannot use is refused and leaves nothing behind") {
  const ScratchDirectory dir;
  Outcome o = run({"merge", "--config", "configs/model/tiny.json", "--text.vocabulary", "100", "--tokenizer",
                   "data/tokenizer", "--out", dir / "m"});
  CHECK(o.exit == 2);
  CHECK(last_line(o.err).find("the tokenizer in data/tokenizer has 278 tokens") != std::string::npos);
  CHECK(!std::filesystem::exists(dir / "m"));
  std::filesystem::create_directory(dir / "mine");
  write_durably(dir / "mine" + "/diary.txt", "dear");
  o = merge_tiny(dir / "mine");
  CHECK(o.exit == 2);
  CHECK(last_line(o.err).find("mine") != std::string::npos);
  CHECK(read_file(dir / "mine" + "/diary.txt") == "dear");
}

TEST_CASE("cli: a full disk is the machine's failure, said in one line, and nothing half written stays") {
  const ScratchDirectory dir;
  const Outcome o = merge_tiny(dir / "m", small_files);
  CHECK(o.exit == 3);
  CHECK(last_line(o.err).find("model.safetensors") != std::string::npos);
  CHECK(std::filesystem::is_empty(dir.path()));
  const Outcome full = run({"plan", "--config", "configs/model/tiny.json"}, nullptr, "/dev/full");
  CHECK(full.exit == 3);
  CHECK(full.err == "onevision: stdout: cannot write\n");
  CHECK(run({"trace", "--model", checkpoint, "--input", test::dense_case(1), "--out", "/dev/full"}).exit == 3);
}

TEST_CASE("cli: a faulty config file is named with place and key") {
  const ScratchDirectory dir;
  write_durably(dir / "c.json", "{\n  \"text\": {\"laiers\": 3}\n}");
  check_error(run({"plan", "--config", dir / "c.json"}), 2,
              "c.json: unknown key 'text.laiers'; did you mean 'text.layers'?");
  write_durably(dir / "c.json", "{\n  \"text\": {\"layers\" 3}\n}");
  check_error(run({"plan", "--config", dir / "c.json"}), 2, "c.json:2:");
  check_error(run({"plan", "--config", dir / "none.json"}), 2, "none.json");
  for (const char* key : {"plan.images", "plan.text_tokens", "train.micro_batches"})
    for (const char* value : {"4294967297", "9223372036854775807"})
      check_error(run({"plan", cat("--", key), value}), 2, cat("--", key, ": expected an integer from"));
  for (const auto& [key, value] : {std::pair{"optimizer.beta1", "1"}, {"optimizer.beta2", "1"}, {"optimizer.eps", "0"}})
    check_error(run({"train", cat("--", key), value}), 2, cat("--", key, ": expected a number from"));
  for (const char* key : {"rice.layers", "rice.embedding"})
    check_error(run({"pretrain", cat("--", key), "4294967297"}), 2, cat("--", key, ": expected an integer from"));
  check_error(run({"synth", "--count", "4294967297"}), 2, "--count: expected an integer from 1 to 1048576, got");
  check_error(run({"diff", "a", "b", "--rtol", "inf"}), 2, "--rtol: expected a number of at least 0, got 'inf'");
  const Outcome rising = run({"train", "--model", "m", "--data", "d", "--out", dir / "r", "--lr", "1e-7"});
  CHECK(rising.exit == 2);
  CHECK(last_line(rising.err).find("optimizer.min_lr is 1e-06, more than the peak") != std::string::npos);
  check_error(run({"plan", "--vision.heads", "5"}), 2, "vision.hidden 1024 in 5 heads");
}

TEST_CASE("cli: a damaged JPEG gives the same pixels whatever code path the environment asks of libjpeg") {
  const ScratchDirectory dir;
  const auto pixels = [&](const std::string& picture, void (*before)()) {
    const std::string out = dir / "pixels.safetensors";
    std::filesystem::remove(out);
    return run({"inspect", "image", picture, "--out", out}, before).exit == 0 ? sha256_file(out) : "";
  };
  int read = 0;
  for (const std::string& name : list_directory("tests/golden/images_fast")) {
    if (!name.ends_with(".jpg")) continue;
    std::string bytes = read_file("tests/golden/images_fast/" + name);
    for (const std::size_t part : {3u, 4u, 5u}) bytes[part * bytes.size() / 6] ^= 0x55;
    write_durably(dir / name, bytes);
    const std::string plain = pixels(dir / name, [] { ::setenv("JSIMD_FORCENONE", "1", 1); });
    CHECK_MESSAGE(plain == pixels(dir / name, nullptr), name);
    read += !plain.empty();
  }
  CHECK(read > 0);
}
