// Runs every TEST_CASE in tests/; --jobs=N: in N processes at once. What failed is named once more at the end, where a
// reader of a long log looks; the last line says 'N passed, N failed'; the exit status is 1 when any failed.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <iterator>
#include <mutex>
#include <string>
#include <vector>

#include "tests/workers.h"

namespace {

using ov::test::CaseRange;
using ov::test::Outcome;
using ov::test::Workers;

struct Case {
  std::string file, name;
};
// Rooms whose files take longest, most of it waiting for processes: they begin first, and short files fill the end.
const char* const long_rooms[] = {"tests/cli/", "tests/parallel/", "tests/rl/"};
std::vector<Case> listed;    // what the filters leave, in the order of the run
Workers* workers = nullptr;  // whom the listener tells, while cases run

// What stands in the listing and what becomes of each case.
struct Listener : doctest::IReporter {
  std::mutex mutex;  // checks of several threads
  std::string fault;
  const doctest::TestCaseData* now = nullptr;
  void first_fault(const char* file, int line, const std::string& what) {
    std::lock_guard lock(mutex);
    if (fault.empty()) fault = std::string(file) + ":" + std::to_string(line) + ": " + what;
  }

  explicit Listener(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData& q) override {
    for (unsigned i = 0; i < q.num_data; ++i) listed.push_back({q.data[i]->m_file.c_str(), q.data[i]->m_name});
  }
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_start(const doctest::TestCaseData& t) override {
    now = &t;
    fault.clear();
    if (workers) workers->begins();
  }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats& s) override {
    if (workers) workers->ended(s.testCaseSuccess, fault);
  }
  void test_case_exception(const doctest::TestCaseException& e) override {
    first_fault(now->m_file.c_str(), static_cast<int>(now->m_line), std::string("threw: ") + e.error_string.c_str());
  }
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData& a) override {
    if (a.m_failed) first_fault(a.m_file, a.m_line, a.m_expr);
  }
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("outcomes", 1, Listener);

// The console's, without a count of a part after each part.
struct Plain : doctest::ConsoleReporter {
  using ConsoleReporter::ConsoleReporter;
  void test_run_end(const doctest::TestRunStats&) override {}
};
REGISTER_REPORTER("plain", 1, Plain);

int jobs_asked(int argc, char** argv) {
  int jobs = 1;
  for (int i = 1; i < argc; ++i) {
    if (std::sscanf(argv[i], "--jobs=%d", &jobs) == 1 && jobs < 1) jobs = 1;
  }
  return jobs;
}

}  // namespace

int main(int argc, char** argv) {
  // A shell's background job, or nohup, leaves signals ignored, and so would the programs that tests start and stop.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(signal, SIG_DFL);
  {
    doctest::Context questions(argc, argv);  // --help, --list-test-cases and the like are answered by themselves
    if (questions.shouldExit()) return questions.run();
  }
  {
    std::vector<const char*> words(argv, argv + argc);
    words.push_back("--list-test-cases");
    doctest::Context listing(static_cast<int>(words.size()), words.data());
    listing.setOption("quiet", true);
    listing.run();
  }
  std::vector<CaseRange> files;
  for (int i = 0; i < static_cast<int>(listed.size()); ++i) {
    if (files.empty() || listed[static_cast<std::size_t>(i)].file != listed[static_cast<std::size_t>(i - 1)].file) {
      files.push_back({i, i});
    }
    files.back().last = i;
  }
  std::stable_partition(files.begin(), files.end(), [](CaseRange f) {
    const std::string& file = listed[static_cast<std::size_t>(f.first)].file;
    return std::any_of(std::begin(long_rooms), std::end(long_rooms),
                       [&](const char* room) { return file.find(room) != file.npos; });
  });
  Workers all(files, static_cast<int>(listed.size()), [&](CaseRange range) {
    workers = &all;
    doctest::Context context(argc, argv);
    context.setOption("no-intro", true);
    context.setOption("reporters", "plain");
    context.setOption("first", range.first + 1);
    context.setOption("last", range.last + 1);
    context.run();
  });
  const int odd = all(jobs_asked(argc, argv));
  int passed = 0, failed = odd;
  for (int i = 0; i < static_cast<int>(listed.size()); ++i) {
    if (all[i].state == Outcome::passed) {
      ++passed;
      continue;
    }
    ++failed;
    std::printf("failed: %s\n    %s\n", listed[static_cast<std::size_t>(i)].name.c_str(), all[i].fault);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
