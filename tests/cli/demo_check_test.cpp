// The recipe of `make demo` at its smallest, through its script: the same bits undisturbed, on one core, and killed
// in every stage.
#include <doctest/doctest.h>

#include <filesystem>

#include "tests/cli/program.h"

using namespace ov;

TEST_CASE("demo-check: the whole recipe ends with the same model on one core and when it is killed in every stage") {
  const ScratchDirectory dir;
  const std::string build = std::filesystem::path(program_path()).parent_path();
  const int status = std::system(("sh tests/tools/demo_check.sh " + build + " > " + dir / "said").c_str());
  INFO(read_file(dir / "said"));
  CHECK(status == 0);
}
