// What a packing came to, in numbers.
#pragma once
#include <vector>

#include "data/pack/pack.h"

namespace ov {

// rejects[i] belong to set i of the sources; all_rejects are their sum.
PackReport report_of(const PackIndex& index, const Sources& sources, const std::vector<RejectCounts>& rejects,
                     const RejectCounts& all_rejects);

}  // namespace ov
