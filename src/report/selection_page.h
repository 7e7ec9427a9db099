// One page about a selection by discrepancy (rl/selection.h), made from its manifest: rates of every source and
// template, what guessing earns beside them, how the records' mean rewards are spread, what was dropped.
#pragma once
#include <string>

#include "base/json.h"

namespace ov {

void write_selection_page(const std::string& path, const Json& manifest);

}  // namespace ov
