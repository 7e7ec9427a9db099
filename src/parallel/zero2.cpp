#include "parallel/zero2.h"

#include <algorithm>
#include <bit>

namespace ov {

Zero2::Zero2(Communicator& ranks, Parameters& parameters, int stage) : Zero1(ranks, parameters) {
  if (!std::has_single_bit(static_cast<unsigned>(ranks.ranks())))
    input_error("parallel.zero ", stage, " with ", ranks.ranks(),
                " ranks: expected a power of two, so that every sum over ranks "
                "is a node of one rank's; parallel.zero 1 takes any number");
}

std::vector<DataParallel::Round> Zero2::rounds(std::int64_t leaves, int rank) const {
  std::vector<Round> all;
  const std::int64_t n = ranks_.ranks();
  for (std::int64_t first = 0; first < leaves; first += n)
    all.push_back({{std::min(leaves, first + rank), std::min(leaves, first + rank + 1)},
                   static_cast<int>(std::min(n, leaves - first))});
  return all;
}

}  // namespace ov
