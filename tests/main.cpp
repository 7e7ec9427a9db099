// Runs every TEST_CASE in tests/. The last line says 'N passed, N failed'; the exit status is 1 when any failed.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <csignal>
#include <cstdio>

namespace {

// Counts test cases, so that the closing line can be read by people and by machines.
struct Count : doctest::IReporter {
  static inline unsigned ran = 0, failed = 0;
  explicit Count(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& s) override {
    ran = s.numTestCasesPassingFilters;
    failed = s.numTestCasesFailed;
  }
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("count", 1, Count);

}  // namespace

int main(int argc, char** argv) {
  // A shell's background job, or nohup, leaves signals ignored, and so would the programs that tests start and stop.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(signal, SIG_DFL);
  doctest::Context context(argc, argv);
  context.setOption("no-intro", true);
  const int result = context.run();
  if (context.shouldExit()) return result;
  std::printf("%u passed, %u failed\n", Count::ran - Count::failed, Count::failed);
  return result;
}
