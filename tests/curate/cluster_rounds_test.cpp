// Clustering by rounds of shards and merges, on sets so small that centres soon stay where they are.
#include <doctest/doctest.h>

#include "base/io/file.h"
#include "curate/cluster.h"
#include "curate/embeddings.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;

TEST_CASE("cluster: rounds of shards and merges end as one run does, also where centres stay as they were") {
  const ScratchDirectory dir;
  for (const int n : {10, 40})
    for (const int k : {3, 7})
      for (const int cells : {1, 2}) {
        CAPTURE(n);
        CAPTURE(k);
        CAPTURE(cells);
        EmbeddingRows rows;
        for (int i = 0; i < n; ++i) {
          for (int c = 0; c < 8; ++c)
            rows.values.push_back(static_cast<float>((i * i * 7 + c * c * 3 + i * c) % 23 - 11));
          rows.ids.push_back(cat("row ", i));
        }
        rows.write(dir / "rows", 8, {{"made_from", cat(n)}});
        ClusteringOptions o;
        o.embeddings = {dir / "rows"}, o.k = k, o.cells = cells, o.out = dir / cat("one ", n, " ", k, " ", cells);
        const Json whole = silently([&] { return cluster(o); });
        const std::string manifest = read_file(o.out);
        o.out = dir / cat("rounds ", n, " ", k, " ", cells);
        Json report;
        int rounds = 0;
        for (; !report.is_object() && rounds < 60; ++rounds)
          for (const char* shard : {"1/2", "2/2", "merge"}) {
            o.shard = Shard::parse(shard);
            report = silently([&] { return cluster(o); });
          }
        CHECK(rounds < 60);
        CHECK(read_file(o.out) == manifest);
        CHECK(report.at("objective").as_double() == whole.at("objective").as_double());
        CHECK(!path_exists(o.out + ".blocks"));
      }
}
