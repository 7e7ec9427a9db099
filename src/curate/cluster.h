// `cluster`: embedded pictures or regions in K clusters, as RICE makes its classes (Xie et al. 2025, 3.1: 2 B regions,
// K = 1 M, "hierarchical k-means"; the label is the nearest centre of all K).
//
//   cells    k-means of all rows (curate/kmeans.h) in about √K cells
//   inside   k-means of each cell's rows, with its share of the K centres
//   all      a few iterations over all rows and all K centres; the last assignment is the label, no cluster is empty
//
// With one cell the first two fall away. Each iteration is cut into blocks (curate/blocks.h), a part of the pool or a
// cell, so shards, threads and kills do not change a bit. Of shards a run makes its share of the present iteration, and
// `--shard merge` joins it: they take turns until the merge says that all is done. Memory is that of the centres' sums,
// of a part's rows and of the largest cell's, and 8 bytes a row while cells are divided.
//
// The manifest is Parquet, a row for every row of the embeddings, in their order:
//
//   id, source, record, region   which; region: of its picture's objects, null for a whole picture
//   cluster, distance            0 .. K - 1, and |x - c|² of the row's direction
//
// OUT.centres.safetensors holds "centres" [K,C] f32 and "counts" [K] i64, OUT.report.json what came in and out, J of
// every iteration, how even clusters are, and with `names` how far they agree with a region file's own classes.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "curate/blocks.h"

namespace ov {

struct ClusteringOptions {
  std::vector<std::string> embeddings;  // files of curate/embeddings.h, one pool
  std::string names, out;               // names: a region file (data/raw/regions.h); "": no agreement is reported
  std::int64_t k = 8, cells = 0;        // cells 0: √K from 4096 clusters on, else 1
  std::int64_t iterations = 20, polish = 2;
  double tolerance = 1e-4;
  std::uint64_t seed = 1;
  Shard shard;
};

// The report, or null: of a shard, where others' blocks are still to come; of a merge, where the shards have another
// turn. Throws input_error: widths
// that differ, more clusters than rows or than different rows, names that a row has no region in.
Json cluster(const ClusteringOptions& options);

}  // namespace ov
