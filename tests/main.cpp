// Runs every TEST_CASE in tests/. What failed is named once more at the end, where a reader of a long log looks; the last line says
// 'N passed, N failed'; the exit status is 1 when any failed.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <csignal>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

namespace {

// Counts test cases, so that the closing line can be read by people and by machines.
struct Count : doctest::IReporter {
  static inline unsigned ran = 0, failed = 0;
  static inline std::vector<std::string> names;
  std::mutex mutex;  // checks of several threads
  std::string name, first_fault;
  const char* file = "";
  int line = 0;
  void fault(const char* file, int line, const std::string& what) {
    std::lock_guard lock(mutex);
    if (first_fault.empty()) first_fault = std::string(file) + ":" + std::to_string(line) + ": " + what;
  }
  explicit Count(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& s) override {
    ran = s.numTestCasesPassingFilters;
    failed = s.numTestCasesFailed;
  }
  void test_case_start(const doctest::TestCaseData& t) override {
    name = t.m_name;
    first_fault.clear();
    file = t.m_file.c_str();
    line = static_cast<int>(t.m_line);
  }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats& s) override {
    if (!s.testCaseSuccess) names.push_back(name + "\n    " + first_fault);
  }
  void test_case_exception(const doctest::TestCaseException& e) override {
    fault(file, line, std::string("threw: ") + e.error_string.c_str());
  }
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData& a) override {
    if (a.m_failed) fault(a.m_file, a.m_line, a.m_expr);
  }
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
  for (const std::string& f : Count::names) std::printf("failed: %s\n", f.c_str());
  std::printf("%u passed, %u failed\n", Count::ran - Count::failed, Count::failed);
  return result;
}
