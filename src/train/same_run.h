// Is the run that a checkpoint is of the one that is asked for?
#pragma once
#include <string>
#include <vector>

#include "base/json.h"

namespace ov {

// Members "config" and "sources" of both. One input_error that starts with `checkpoint` and lists old and new of every
// key that differs and is not in `may_change`, and every source. Returns the keys that do differ: {KEY: [OLD, NEW]}.
Json check_same_run(const std::string& checkpoint, const Json& stored, const Json& now,
                    const std::vector<std::string>& may_change);

}  // namespace ov
