// One page about a selection by discrepancy (rl/selection.h), made from its manifest: rates of every source and
// template, what guessing earns beside them, how the records' mean rewards are spread, what was dropped.
#pragma once
#include <string>

#include "base/json.h"

namespace ov {

// "templates with latent ability (pass@n - pass@1 at least 10.0, pass@n at least 50.0): think, blind pass@n 0.0; ..."
std::string latent_note(const Json& manifest);

void write_selection_page(const std::string& path, const Json& manifest);

}  // namespace ov
