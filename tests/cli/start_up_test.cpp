// What the program costs before a verb begins, on a machine without a GPU: at most 20 ms and 10 MB of resident memory.
// And what it loads only when a verb needs it.
#include <doctest/doctest.h>
#include <sys/ptrace.h>

#include <algorithm>
#include <chrono>
#include <sstream>

#include "base/error.h"
#include "base/sanitizer.h"
#include "tests/cli/program.h"

using namespace ov;

namespace {

constexpr double most_ms = 20, most_mb = 10;  // of 10^6 bytes

// The program with its output thrown away, stopped before its first instruction for the one who traces it.
pid_t traced(const std::vector<std::string>& arguments) {
  const std::string program = program_path();
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child != 0) return child;
  const int nowhere = ::open("/dev/null", O_RDWR);
  if (::dup2(nowhere, 1) < 0 || ::dup2(nowhere, 2) < 0 || ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0)
    ::_exit(126);
  ::execv(program.c_str(), argv.data());
  ::_exit(127);
}

// A line of /proc/PID/status in MB of 10^6 bytes; 0 when there is none.
double mb_of(pid_t process, const std::string& name) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string word; status >> word;)
    if (word == name) {
      double kib = 0;
      status >> kib;
      return kib * 1024e-6;
    }
  return 0;
}

// The most memory that was resident while it ran. The process is stopped on its way out, when it still has its memory:
// what wait4 tells would count the test's own, from which the child was forked.
double most_resident_mb(const std::vector<std::string>& arguments) {
  const pid_t child = traced(arguments);
  const auto next_stop = [&] {
    int status = 0;
    return ::waitpid(child, &status, 0) == child ? status : 0;
  };
  int status = next_stop();
  REQUIRE_MESSAGE(WIFSTOPPED(status), "the program cannot be traced here");
  ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACEEXIT);
  while (WIFSTOPPED(status) && status >> 8 != (SIGTRAP | PTRACE_EVENT_EXIT << 8)) {
    ::ptrace(PTRACE_CONT, child, nullptr, nullptr);
    status = next_stop();
  }
  const double mb = mb_of(child, "VmHWM:");
  ::ptrace(PTRACE_CONT, child, nullptr, nullptr);
  next_stop();
  return mb;
}

}  // namespace

TEST_CASE("cli: without a GPU the program is there in 20 ms and 10 MB of resident memory" * doctest::skip(sanitized)) {
  for (const std::vector<std::string>& call : {std::vector<std::string>{"--help"}, {"help", "train"}}) {
    const double mb = most_resident_mb(call);
    CHECK(mb > 1);
    CHECK(mb <= most_mb);
    double least = 1e9;  // other tests run beside this one
    for (int i = 0; i < 50 && least > most_ms; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      CHECK(run(call).exit == 0);
      const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
      least = std::min(least, took.count());
    }
    CHECK(least <= most_ms);
  }
}

// A call into the library before it is loaded goes nowhere. The tests of src/serve are linked with it, so only the
// program can show one.
TEST_CASE("cli: verbs that speak HTTP load its library first, which the program starts without") {
  const Outcome served = run({"serve", "--model", "tests/golden/dense/checkpoint", "--serve.host", "256.0.0.1"});
  CHECK(served.exit == 3);
  CHECK(served.err.find("serve: cannot listen on 256.0.0.1") != std::string::npos);
  const Outcome talked = run({"chat", "--url", "http://127.0.0.1:1/v1"}, [] {  // where no server runs
    int ends[2];
    if (::pipe(ends) == 0 && ::write(ends[1], "hello\n", 6) == 6) ::dup2(ends[0], 0), ::close(ends[1]);
  });
  CHECK(talked.exit == 2);
  CHECK((talked.out + talked.err).find("cannot reach http://127.0.0.1:1: Connection refused; does") !=
        std::string::npos);
  int clients = 0;
  for (const std::string& name : list_directory("src/serve")) {
    std::istringstream text(read_file("src/serve/" + name));
    for (std::string line, before; std::getline(text, line); before = line) {
      if (line.find(" httplib::Client client(") == line.npos) continue;
      CHECK_MESSAGE(before.find(" load_http();") != before.npos, name, ": ", line);
      ++clients;
    }
  }
  CHECK(clients > 0);
}
