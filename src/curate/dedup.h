// `dedup`: records whose pictures are the same, or nearly, and records that show what an evaluation asks about.
//
//   exact        equal digests (curate/prints.h)
//   perceptual   hashes of at most `distance` different bits, of records with one picture
//   embedding    cosine of at least `cosine`, of records that have a row in a file of `embed`; every pair is compared
//
// Pairs make groups (union-find), and of a group the record with the most pixels is kept, of equal ones the first. A
// group that holds an evaluation's record is left out as a whole; towards those the cosine is `against_cosine`. Records
// without a picture, or whose picture cannot be read, are no part of a group.
//
// The manifest is Parquet, a row for every record of the data:
//
//   id, source, record    as in balance's manifest, so that a run can draw from it (data/raw/drawn_records.h)
//   draws                 1: kept, 0: left out
//   reason                why: "exact", "perceptual", "embedding", "evaluation", or what makes it unreadable; else ""
//   kept                  id of the record that stands for it; of "evaluation" the first of those records
//   digest, hash, pixels  of its pictures
//
// OUT.report.json counts in, out and why, and shows some groups. With embeddings it and the manifest's metadata
// "onevision.random_pairs" say how similar random pairs are (curate/random_pairs.h), and it warns where the thresholds
// lie within that.
#pragma once
#include "base/json.h"
#include "curate/blocks.h"

namespace ov {

struct DedupOptions {
  std::vector<std::string> sources, against;  // data/raw/records.h
  std::string image_dir;
  std::vector<std::string> embeddings;  // rows of both
  std::string out;
  bool of_bytes = false;
  int distance = 3;  // of 64 bits; -1: not compared
  double cosine = 0.96, against_cosine = 0.95;
  std::int64_t max_rejects = 0;
  Shard shard;
};

// The report, or null where a shard has made its blocks and others are still to come.
Json dedup(const DedupOptions& options);

}  // namespace ov
