#include <doctest/doctest.h>

#include "base/io/file.h"
#include "tests/fuzz/targets.h"

using namespace ov;

TEST_CASE("fuzzing: every file of the corpus is read or refused, and every target has some") {
  const std::string corpus = "tests/fuzz/corpus/";
  std::size_t targets = 0, bytes = 0;
  for (const FuzzTarget& target : fuzz_targets()) {
    const std::vector<std::string> files = list_directory(corpus + target.name);
    CHECK_MESSAGE(files.size() >= 2, target.name);
    for (const std::string& file : files) {
      CAPTURE(target.name);
      CAPTURE(file);
      const std::string input = read_file(corpus + target.name + "/" + file);
      bytes += input.size();
      CHECK_NOTHROW(fuzz(target, input));
    }
    ++targets;
  }
  CHECK(list_directory(corpus).size() == targets);  // no corpus is left without a target
  CHECK(bytes < 1'000'000);
}
