#include "audit/diff.h"

#include "cli/verbs.h"

namespace ov::cli {

Exit diff(const Config& config) {
  std::string report;
  const bool agree = diff_files(config.operands()[0], config.operands()[1], config.number("diff.rtol"), report);
  print(report);
  return agree ? Exit::done : Exit::answer_is_no;
}

}  // namespace ov::cli
