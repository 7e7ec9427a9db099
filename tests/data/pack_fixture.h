// Data to pack: the ten records of the loader's fixture, pictures in tar shards, and ways to ask what came out.
#pragma once
#include <map>

#include "data/load/packed_loader.h"
#include "data/pack/pack.h"
#include "store/tar.h"
#include "tests/data/loader_fixture.h"

namespace ov::loader_test {

inline PackOptions pack_options(const DataSet& d, const std::string& data, std::int64_t capacity = 600) {
  PackOptions o;
  o.sources = {{data, ""}};
  o.out = d.path("packs.safetensors");
  o.capacity = capacity;
  return o;
}

// `n` captions of different lengths in one shard: sample i is "s<i>".
inline std::string caption_shard(const DataSet& d, const std::string& name, int n) {
  TarWriter tar(d.path(name));
  for (int i = 0; i < n; ++i) {
    tar.add(cat("s", i, ".png"), read_file(d.png("p.png", 28 + 14 * (i % 5), 30, i)));
    tar.add(cat("s", i, ".txt"), std::string(static_cast<std::size_t>(1 + i * 7 % 40), 'c'));
  }
  tar.finish();
  return d.path(name);
}

inline Json report_file(const PackOptions& o) { return Json::read(o.out + ".report.json"); }

inline std::vector<Json> reject_lines(const PackOptions& o) {
  std::vector<Json> out;
  JsonlReader reader(o.out + ".rejects.jsonl");
  for (Json line; reader.next(&line);) out.push_back(line);
  return out;
}

}  // namespace ov::loader_test
