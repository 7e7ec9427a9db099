// Every known trap has a test or a reason; the script that says so finds each kind of fault.
#include <doctest/doctest.h>

#include <cstdlib>

TEST_CASE("traps: every line of tests/traps.md has a test that carries its id, or says why not") {
  CHECK(std::system("sh tests/tools/traps.sh --self-test >/dev/null") == 0);
  CHECK(std::system("sh tests/tools/traps.sh --check >/dev/null") == 0);
}
