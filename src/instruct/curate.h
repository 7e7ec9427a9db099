// `curate`: instruction data from many sets, made one.
//
//   aggregate     the manifest's sources; what its caps and licences leave out
//   standardise   eight layouts and more into one record (instruct/standardise.h)
//   rewrite       stock instructions in other words (instruct/templates.h), and questions, by an endpoint
//   bilingual     records in the other language (instruct/bilingual.h)
//   templates     an instruction for questions that have none
//   safety        rules for what must not be learnt, with an audit log (instruct/safety.h)
//   filter        lengths, repetition, language, pictures (instruct/filter.h)
//   deduplicate   records whose texts and pictures came before
//   balance       shares of categories and difficulties (instruct/balance.h)
//
// The first seven look at one record at a time, in blocks (curate/blocks.h) of 1024; the last two know all of them, by
// passes over 56 bytes a record on disk. So memory holds one block and one bit a record, whatever the size of the data,
// and the result is a function of the sources, the rules and the seed.
//
// OUT is a directory that `train --data OUT/records.jsonl` reads:
//   records.jsonl   the records; pictures that lie in files are named relative to it
//   images/         those that came inside of Parquet files and tar shards
//   audit.jsonl     what was rejected or changed, and why (instruct/audit.h)
//   card.json       counts of every step and of what is left, card.html: the same to be looked at (instruct/card.h)
#pragma once
#include <cstdint>
#include <string>

#include "base/json.h"
#include "curate/blocks.h"
#include "instruct/bilingual.h"

namespace ov::instruct {

struct CurateOptions {
  std::string manifest, out;
  std::string rules = "data/instruct";  // templates.json and others
  std::uint64_t seed = 1;
  Shard shard;
  WriterOptions writer;  // cache: "": OUT.answers
  BilingualOptions bilingual;
};

// The card, or null where a shard has made its blocks and others are still to come. Throws input_error as Manifest
// does, and when no record is left; OUT.audit.jsonl says why then.
Json curate(const CurateOptions& options);

}  // namespace ov::instruct
