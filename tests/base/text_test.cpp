#include "base/text.h"

#include <doctest/doctest.h>

using namespace ov;

TEST_CASE("edit distance counts insertions, deletions, substitutions and swaps") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("weight", "wieght") == 1);
  CHECK(edit_distance("abc", "ca") == 3);  // optimal string alignment: no edit inside a swap
}

TEST_CASE("a misspelt name finds its neighbour, a far one finds none") {
  const std::vector<std::string> keys = {"optimizer.lr", "optimizer.clip_grad", "loss.normalise_by"};
  CHECK(nearest_name("optimiser.lr", keys) == "optimizer.lr");
  CHECK(nearest_name("loss.normalize_by", keys) == "loss.normalise_by");
  CHECK(nearest_name("data.images", keys) == "");
  CHECK(nearest_name("x", {}) == "");
  CHECK(did_you_mean("optimiser.lr", keys) == "; did you mean 'optimizer.lr'?");
  CHECK(did_you_mean("qqqqqqqqqqqqqqqqq", keys) == "");
}
