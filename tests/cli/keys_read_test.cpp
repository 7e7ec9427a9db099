// Every verb is run on the least of work, in every way that it can be run: together they must read every key that the
// table gives it. That a verb reads no other is an error of Config itself.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <map>
#include <set>
#include <thread>

#include "base/io/file.h"
#include "cli/keys.h"
#include "tests/base/scratch.h"
#include "tests/golden_case.h"

using namespace ov;

namespace {

class Verbs {
 public:
  // Runs a verb with stdout and stderr thrown away, and notes what it read. `refusal`: what it ends with, if it does.
  void run(const std::string& verb, const Strings& arguments, const std::string& refusal = "") {
    const Config config = Config::parse(cli::keys(), verb, arguments);
    std::fflush(nullptr);
    const int out = ::dup(1), err = ::dup(2), null = ::open("/dev/null", O_WRONLY);
    ::dup2(null, 1);
    ::dup2(null, 2);
    std::string failure;
    try {
      cli::keys().command(verb).run(config);
    } catch (const std::exception& e) { failure = e.what(); }
    std::fflush(nullptr);
    ::dup2(out, 1);
    ::dup2(err, 2);
    for (const int fd : {out, err, null}) ::close(fd);
    CHECK_MESSAGE(failure.substr(0, refusal.size()) == refusal, verb, ": ", failure);
    if (refusal.empty()) CHECK_MESSAGE(failure == "", verb, ": ", failure);
    const Strings unread = config.unread();
    std::set<std::string> now(unread.begin(), unread.end()), both;
    if (const auto before = unread_.find(verb); before == unread_.end()) both = now;
    else
      std::set_intersection(now.begin(), now.end(), before->second.begin(), before->second.end(),
                            std::inserter(both, both.end()));
    unread_[verb] = both;
  }
  const std::map<std::string, std::set<std::string>>& unread() const { return unread_; }

 private:
  std::map<std::string, std::set<std::string>> unread_;
};

}  // namespace

TEST_CASE("keys: every verb reads every key that its rows declare (T-33, T-39, T-44)") {
  const ScratchDirectory dir;
  const auto at = [&](const char* name) { return dir / name; };
  Verbs verbs;
  verbs.run("synth", {"--out", at("lessons"), "--count", "3"});
  verbs.run("synth", {"--what", "world", "--synth.instruct", "3", "--synth.captions", "3", "--synth.regions", "4",
                      "--synth.text", "20", "--synth.test", "1", "--out", at("world")});
  verbs.run("synth", {"--what", "zipf", "--synth.pool", "3", "--synth.test_per_kind", "1", "--out", at("zipf")});
  const std::string lessons = at("lessons") + "/conversations.json", text = at("world") + "/text/corpus.jsonl";
  verbs.run("tokenizer", {"--text", text, "--bpe.vocabulary", "300", "--out", at("tokenizer")});
  const std::string tiny = "configs/model/tiny.json", tokens = "data/tokenizer";
  verbs.run("merge", {"--config", tiny, "--tokenizer", tokens, "--out", at("model")});
  const Strings short_run = {"--steps", "1", "--train.micro_batch_samples", "2"};
  const auto with = [&](Strings arguments, const Strings& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  verbs.run("pretrain", with(short_run, {"--what", "vision", "--config", tiny, "--regions",
                                         at("world") + "/regions/regions.jsonl", "--out", at("tower")}));
  verbs.run("pretrain", with(short_run, {"--what", "text", "--config", tiny, "--tokenizer", tokens, "--text", text,
                                         "--out", at("language")}));
  verbs.run("pretrain",
            with(short_run, {"--what", "text", "--model", at("model"), "--text", text, "--out", at("language2")}));
  verbs.run("pretrain", with(short_run, {"--what", "clip", "--config", "configs/model/clip-demo.json", "--tokenizer",
                                         tokens, "--captions", at("world") + "/captions", "--out", at("clip")}));
  const std::string captions = at("world") + "/captions", clip = at("clip") + "/model";
  verbs.run("concepts", {"--data", captions, "--min_count", "1", "--out", at("concepts.jsonl")});
  verbs.run("embed", {"--model", clip, "--data", captions, "--out", at("pictures")});
  verbs.run("embed", {"--model", clip, "--concepts", at("concepts.jsonl"), "--out", at("words")});
  const std::string regions = at("world") + "/regions/regions.jsonl";
  verbs.run("embed", {"--model", clip, "--regions", regions, "--out", at("objects")});
  verbs.run("cluster", {"--embeddings", at("objects"), "--k", "2", "--names", regions, "--out", at("classes")});
  verbs.run("dedup", {"--data", captions, "--out", at("unique")});
  verbs.run("balance", {"--pictures", at("pictures"), "--concepts", at("words"), "--k", "1", "--out", at("manifest")});
  write_durably(at("manifest.json"), "{\"sources\": [{\"path\": \"lessons/conversations.json\", \"licence\": \"x\"}]}");
  verbs.run("curate", {"--manifest", at("manifest.json"), "--out", at("curated")});
  verbs.run("curate", {"--manifest", at("manifest.json"), "--url", "http://127.0.0.1:9/v1", "--rewrite.share", "0",
                       "--out", at("curated")});
  // What a command has written it writes again.
  verbs.run("concepts", {"--data", captions, "--min_count", "1", "--out", at("concepts.jsonl")});
  verbs.run("embed", {"--model", clip, "--data", captions, "--out", at("pictures")});
  verbs.run("dedup", {"--data", captions, "--out", at("unique")});
  verbs.run("balance", {"--pictures", at("pictures"), "--concepts", at("words"), "--k", "1", "--out", at("manifest")});
  verbs.run("merge", {"--tower", at("tower") + "/tower", "--language", at("language") + "/model", "--tokenizer", tokens,
                      "--out", at("merged")});
  verbs.run("index", {"--data", lessons});
  verbs.run("pack", {"--model", at("model"), "--sources", lessons, "--out", at("packs")});
  verbs.run("pack", {"--model", at("model"), "--sources", lessons, "--out", at("packs")});
  verbs.run("pack", {"--lengths", "captions", "--pack.samples", "50"});
  verbs.run("train", with(short_run, {"--model", at("model"), "--data.json", lessons, "--out", at("run")}));
  verbs.run("train", with(short_run, {"--model", at("model"), "--data.json", at("curated") + "/records.jsonl", "--out",
                                      at("curated_run")}));
  verbs.run("train", {"--steps", "1", "--model", at("model"), "--packs", at("packs"), "--out", at("packed")});
  write_durably(at("prompts.jsonl"), "{\"problem\": \"a?\", \"answer\": \"b\"}\n");
  const Strings prompts = {"--model", at("model"),  "--data", at("prompts.jsonl"), "--rl.max_new_tokens",
                           "1",       "--rl.group", "2",      "--rl.prompts",      "1"};
  const Strings all = {"--rl.least_pass", "0", "--rl.gap", "0", "--rl.reward_filter", "off"};  // or nothing is kept
  verbs.run("rl-select", with(prompts, with(all, {"--out", at("selected")})));
  verbs.run("rl-select", with(prompts, with(all, {"--rl.blind", "true", "--out", at("selected_blind")})));
  verbs.run("rl-select", with(prompts, {"--rl.least_pass", "0", "--rl.gap", "0", "--rl.reward_filter", "band",
                                        "--rl.low", "-1", "--out", at("selected_band")}));
  verbs.run("rl", with(prompts, {"--steps", "1", "--out", at("rl"), "--rl.kl", "0.1", "--rl.overlong_tokens", "1"}));
  verbs.run("rl", with(prompts, {"--rl.mode", "disaggregated", "--out", at("alone")}), "rl.mode disaggregated: ");
  write_durably(at("pairs.jsonl"), R"({"prompt": "a?", "chosen": "b", "rejected": "c"})"
                                   "\n");
  verbs.run("rl", {"--model", at("model"), "--data", at("pairs.jsonl"), "--objective", "dpo", "--rl.prompts", "1",
                   "--steps", "1", "--out", at("dpo")});
  write_durably(at("prompts.jsonl"),
                "{\"problem\": \"a?\", \"answer\": \"b\", \"template\": \"new\"}\n"
                "{\"problem\": \"a?\", \"answer\": \"b\", \"template\": \"old\"}\n");
  verbs.run("rl", {"--model", at("model"), "--data", at("prompts.jsonl"), "--rl.max_new_tokens", "1", "--rl.group", "2",
                   "--rl.prompts", "2", "--rl.mode", "timesliced", "--rl.replay", "old", "--steps", "1", "--out",
                   at("rl_ahead")});
  write_durably(at("answers.jsonl"), R"({"id":"a","category":"c","template":"t","question":"?","answer":"1","score":1})"
                                     "\n");
  verbs.run("rl-table", {"--before", at("answers.jsonl"), "--after", at("answers.jsonl")});
  verbs.run("generate", {"--model", at("model"), "--prompt", "x", "--max_new_tokens", "1"});
  write_durably(at("asked.jsonl"), "{\"prompt\": \"x\", \"max_tokens\": 1}\n");
  verbs.run("batch", {"--model", at("model"), "--in", at("asked.jsonl"), "--out", at("answered.jsonl")});
  const auto chat = [&](const Strings& arguments) {  // nothing is typed
    const int in = ::dup(0), none = ::open("/dev/null", O_RDONLY);
    ::dup2(none, 0);
    verbs.run("chat", arguments);
    ::dup2(in, 0);
    ::close(in), ::close(none);
  };
  chat({"--model", at("model")});
  chat({"--url", "http://127.0.0.1:9/v1"});
  struct sigaction before = {};  // the test program may listen itself
  ::sigaction(SIGTERM, nullptr, &before);
  std::thread stops([&] {  // as soon as `serve` listens to signals
    for (struct sigaction now = before; now.sa_handler == before.sa_handler;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ::sigaction(SIGTERM, nullptr, &now);
    }
    ::raise(SIGTERM);
  });
  verbs.run("serve", {"--model", at("model"), "--port", "0"});
  stops.join();
  verbs.run("recall", {"--model", at("model"), "--data", lessons, "--max_new_tokens", "1"});
  verbs.run("eval", {"--model", at("model"), "--data", at("world") + "/test", "--tasks", "configs/demo/eval.json",
                     "--max_new_tokens", "1", "--limit", "1", "--out", at("eval")});
  write_durably(at("asked_of.jsonl"), "{\"question\": \"a?\", \"answer\": \"b\"}\n");
  verbs.run("eval",
            {"--model", at("model"), "--data", at("asked_of.jsonl"), "--tasks", "exact_match", "--out", at("public")});
  // Without --name the results stand under the model's directory, whose name may be too long for one of theirs.
  std::string called = at("model");
  for (char& c : called) c = c == '/' ? '_' : c;
  CHECK(list_directory(at("public")) ==
        Strings{called.substr(called.size() - std::min<std::size_t>(200, called.size()))});
  verbs.run("eval", {"--score", at("eval") + "/predictions.jsonl", "--tasks", "exact_match", "--out", at("scored")});
  verbs.run("report", {"--stages", "run=" + at("run"), "--out", at("report.html")});
  write_durably(at("in.jsonl"), "{\"text\": \"x\"}\n");
  verbs.run("inspect", {"tokens", "--tokenizer", tokens, "--in", at("in.jsonl"), "--out", at("ids.jsonl")});
  verbs.run("inspect", {"image", "tests/golden/images_fast/tiny.png", "--out", at("image.safetensors")});
  verbs.run("inspect", {"checkpoint", at("model")});
  write_durably(at("cases.jsonl"), "{\"completion\": \"\", \"answer\": \"\", \"answer_type\": \"any\"}\n");
  verbs.run("inspect", {"reward", "--in", at("cases.jsonl"), "--out", at("rewards.jsonl")});
  verbs.run("inspect", {"eval", at("eval") + "/eval.json"});
  verbs.run("inspect", {"eval", at("scored") + ".results.json"});
  verbs.run("trace",
            {"--model", "tests/golden/dense/checkpoint", "--input", test::dense_case(1), "--out", at("trace")});
  verbs.run("diff", {at("run") + "/run.jsonl", at("run") + "/run.jsonl"});
  verbs.run("checkpoint", {"check", at("model")});
  verbs.run("checkpoint", {"convert", at("model"), "--out", at("converted")});
  verbs.run("checkpoint", {"diff", at("model"), at("converted")});
  verbs.run("plan", {"--config", tiny, "--plan.device", "h100"});
  verbs.run("plan", {"--config", tiny, "--plan.device", "h100", "--plan.ranks", "16"});
  verbs.run("plan", {"--model", at("model")});
  verbs.run("plan", {"--config", tiny, "--plan.device", "h100", "--plan.rl"});
  verbs.run("plan", {"--what", "text", "--config", tiny});
  verbs.run("plan", {"--what", "vision", "--config", tiny, "--plan.classes", "10"});
  verbs.run("plan", {"--what", "clip", "--config", "configs/model/clip-demo.json", "--text.vocabulary", "300"});
  verbs.run("plan", {"--what", "clip", "--config", "configs/model/clip-demo.json", "--text.vocabulary", "300",
                     "--plan.pictures", "1000", "--plan.device", "h100"});
  verbs.run("bench", {"--bench.repeats", "1"});
  verbs.run("launch", {"-n", "1", "--", "train", "--help"});  // starts this program, which shows its help
  verbs.run("help", {});
  CHECK(verbs.unread().size() == cli::keys().commands().size());
  for (const auto& verb : verbs.unread())
    for (const std::string& key : verb.second)
      CHECK_MESSAGE(false, verb.first, " declares ", key, " and never reads it");
}
