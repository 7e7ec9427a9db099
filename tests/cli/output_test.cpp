// What a command writes replaces its own files alone, and that is seen before any work.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>

#include "base/io/file.h"
#include "cli/keys.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

std::string refusal(const std::string& verb, const Strings& arguments) {
  return thrown([&] {
    silently([&] {
      const Config config = Config::parse(cli::keys(), verb, arguments);
      cli::keys().command(verb).run(config);
    });
  });
}

// Commands that write files beside OUT, and what they are given; nothing of it is there.
const std::vector<std::pair<std::string, Strings>> verbs = {{"embed", {"--model", "none", "--data", "none.jsonl"}},
                                                            {"concepts", {"--data", "none.jsonl"}},
                                                            {"dedup", {"--data", "none.jsonl"}},
                                                            {"balance", {"--pictures", "none", "--concepts", "none"}},
                                                            {"pack", {"--model", "none", "--sources", "none.jsonl"}}};

}  // namespace

TEST_CASE("output: a foreign file, or a directory, where a command would write is refused before it works") {
  for (const auto& row : verbs)
    for (const std::string ending : {"", ".report.json", ".rejects.jsonl"}) {
      if (row.first == "balance" && ending == ".rejects.jsonl") continue;  // it writes none
      const std::string& verb = row.first;
      const ScratchDirectory dir;
      const std::string path = dir / "out" + ending;
      Strings arguments = row.second;
      arguments.insert(arguments.end(), {"--out", dir / "out"});
      CAPTURE(verb);
      CAPTURE(ending);
      write_durably(path, "{\"mine\": 1}\n");
      CHECK(contains(refusal(verb, arguments), path + " holds something else than this command writes"));
      CHECK(read_file(path) == "{\"mine\": 1}\n");
      std::filesystem::remove(path);
      std::filesystem::create_directory(path);
      CHECK(contains(refusal(verb, arguments), path + " is a directory"));
      CHECK(list_directory(dir.path()).size() == 1);  // no blocks, nothing half written
      arguments.back() = dir / "new/";
      CHECK(contains(refusal(verb, arguments), "new/ ends in a slash, and this command writes a file"));
    }
}

TEST_CASE("output: a file beside OUT that is also read is refused") {
  const ScratchDirectory dir;
  write_durably(dir / "out.rejects.jsonl", "{\"source\": \"a\", \"record\": 1}\n");
  const Strings arguments = {"--data", dir / "out.rejects.jsonl", "--out", dir / "out"};
  CHECK(contains(refusal("concepts", arguments), "out.rejects.jsonl is also read"));
}

TEST_CASE("output: keys of an endpoint without its address have no effect, and are refused") {
  const ScratchDirectory dir;
  write_durably(dir / "m.json", "{\"sources\": [], \"sources\": []}");
  const auto said = [&](const Strings& more) {
    Strings arguments = {"--manifest", dir / "m.json", "--out", dir / "out"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return refusal("curate", arguments);
  };
  CHECK(contains(said({"--rewrite.share", "0.5"}), "rewrite.share"));
  CHECK(contains(said({"--bilingual.by", "endpoint"}), "needs rewrite.url"));
  CHECK(contains(said({"--url", "localhost:80"}), "rewrite.url: expected http://host:port/v1"));
  write_durably(dir / "a.json",
                R"([{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}])");
  write_durably(dir / "good.json",
                R"({"sources": [{"name": "a", "path": "a.json", "licence": "cc0-1.0", "category": "vqa"}]})");
  for (const char* inside : {"", "/", "/answers"}) {
    const Strings cached = {"--manifest", dir / "good.json",       "--out",           dir / "out",
                            "--url",      "http://127.0.0.1:1/v1", "--rewrite.cache", dir / "out" + inside};
    CHECK(contains(refusal("curate", cached), "rewrite.cache: "));
  }
  CHECK(!path_exists(dir / "out"));
  const std::string out = cat("no-such-directory-", ::getpid());  // below this one, spelt in other ways
  for (const std::string& inside : {"./" + out + "/answers", std::filesystem::current_path().string() + "/" + out})
    CHECK(contains(refusal("curate", {"--manifest", dir / "good.json", "--out", out, "--url", "http://127.0.0.1:1/v1",
                                      "--rewrite.cache", inside}),
                   "rewrite.cache: "));
  CHECK(!path_exists(out));
  CHECK(contains(said({}), "m.json:1:17: the key \"sources\" stands twice"));
}
