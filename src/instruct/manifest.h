// What `curate` is told about its data: a JSON file with // comments.
//
//   {"sources": [{"name": "docs", "path": "docs/train.jsonl", "licence": "cc-by-4.0", "category": "ocr",
//                 "cap": 50000, "lang": "en", "difficulty": 2, "image_dir": "docs/pictures"}],
//    "licences": ["cc-by-4.0", "apache-2.0"],
//    "balance": {"records": 20000, "categories": {"ocr": 11.1, "text": 28}, "difficulty": [1, 1, 1]}}
//
//   name        unique; the start of every id. Without it, the path's last part
//   path        as src/data/raw reads it, relative to the manifest. A * in its last part stands for the parts that a
//               large set was cut into, NAME-part-03-of-10: they are one source
//   licence     of the source, as it is to stand on the card; must be given
//   category    of its records, unless a record has one of its own
//   cap         most records of the source, drawn evenly; absent: all
//   lang, difficulty, image_dir   may be absent: told from the records; beside the file
//   licences    those that may be used; a source of another is left out, record by record in the audit. Absent: any
//   balance     how many records of what (instruct/balance.h); absent: all that remain. Where categories have shares,
//               one without is left out
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "instruct/record.h"

namespace ov::instruct {

struct SourceFile {
  std::string path;
  std::string refused;  // a reason why none of its records is taken, "duplicate_part" or "licence"; else ""
};

struct SourceEntry {
  std::string name, licence, category, lang, image_dir;
  std::int64_t cap = -1;  // -1: none
  int difficulty = 0;     // 0: told from the records
  std::vector<SourceFile> files;
  std::vector<std::int64_t> missing_parts;  // of those that the names count to
};

struct BalanceTarget {
  std::int64_t records = 0;        // 0: all
  std::vector<double> category;    // [9] shares; all 0: as they come
  std::vector<double> difficulty;  // [3]
};

struct Manifest {
  std::vector<SourceEntry> sources;
  BalanceTarget balance;
  std::string text;  // of the file

  // Throws input_error that names file and key: what is unknown, missing or out of range, a source that is not there.
  static Manifest read(const std::string& path);
};

}  // namespace ov::instruct
