#include "comm/communicator.h"

#include <doctest/doctest.h>

using namespace ov;

TEST_CASE("one rank: sums are there already, parts are the whole, and there is nobody to send to") {
  Communicator& ranks = one_rank();
  CHECK(ranks.rank() == 0);
  CHECK(ranks.ranks() == 1);
  const std::vector<std::int64_t> values = {3, -1, 4, 1};
  const Tensor t = Tensor::of(values, {2, 2}), to = Tensor::like(t);
  ranks.all_reduce(t), ranks.broadcast(t, 0), ranks.barrier();
  CHECK(t.to_vector<std::int64_t>() == values);
  for (const int call : {0, 1, 2}) {
    to.zero();
    call == 0 ? ranks.reduce_scatter(to, t) : call == 1 ? ranks.all_gather(to, t) : ranks.all_to_all(to, t);
    CHECK(to.to_vector<std::int64_t>() == values);
  }
  CHECK_THROWS_AS(ranks.all_gather(Tensor({4, 2}, Dtype::i64, cpu()), t), Error);  // no second part to fill it
  CHECK_THROWS_AS(ranks.send(t, 0), Error);
  CHECK_THROWS_AS(ranks.recv(t, 1), Error);
  CHECK_THROWS_AS(ranks.broadcast(t, 1), Error);
}
