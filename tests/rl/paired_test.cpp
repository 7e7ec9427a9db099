// Errors of rl-table: the file, its line and the key.
#include "rl/paired.h"

#include <doctest/doctest.h>

#include "base/io/file.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

TEST_CASE("rl-table: a line without what is compared is named by file, line and key, in either file") {
  const ScratchDirectory dir;
  const std::string good = R"({"id":"a","category":"c","template":"t","question":"?","score":1})"
                           "\n";
  write_durably(dir / "good", good + good);
  const auto told = [&](const std::string& second, bool swapped) {
    write_durably(dir / "bad", good + second + "\n");
    return thrown([&] { rl::paired_scores({dir / (swapped ? "bad" : "good")}, {dir / (swapped ? "good" : "bad")}); });
  };
  for (const bool swapped : {false, true}) {
    CHECK(contains(told(R"({"category":"c","template":"t","question":"?","score":1})", swapped), "bad:2: id: "));
    CHECK(contains(told(R"({"id":"a","category":7,"template":"t","question":"?","score":1})", swapped),
                   "bad:2: category: expected a string"));
    CHECK(contains(told(R"({"id":"a","category":"c","template":"t","question":"?","score":"1"})", swapped),
                   "bad:2: score: expected"));
    CHECK(contains(told("[]", swapped), "bad:2: id: "));
    CHECK(contains(told("{", swapped), "bad:2"));
  }
  make_directories(dir / "eval");
  write_durably(dir / "eval/predictions.jsonl", good + good);
  CHECK(rl::paired_scores({dir / "eval"}, {dir / "good"}).at("c").questions == 2);  // the directory that eval wrote
  CHECK(contains(told(R"({"id":"b","category":"c","template":"t","question":"?","score":1})", false),
                 "bad:2: id: expected 'a'"));
}
