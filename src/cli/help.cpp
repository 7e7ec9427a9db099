#include "cli/keys.h"
#include "cli/verbs.h"

namespace ov::cli {

Exit help(const Config& config) {
  if (config.flag("help.markdown")) print(keys().markdown());
  else if (config.operands().empty()) print(keys().help());
  else print(keys().help(config.operands()[0]));
  return Exit::done;
}

}  // namespace ov::cli
