// `embed`: pictures, or a vocabulary of concepts, as directions in the space of a CLIP model (model/clip.h), in a file
// of curate/embeddings.h. A row's bits are a function of the model and the picture or text alone.
//
// Of a region file (data/raw/regions.h) every object is a row: the box cut out at whole pixels around it, without what
// surrounds it, scaled to the model's square whatever its shape, so that nothing of it is cut away. RICE says neither;
// it leaves out boxes whose shorter edge is below 128 pixels (`min_edge`).
#pragma once
#include "base/json.h"
#include "curate/blocks.h"
#include "tensor/tensor.h"

namespace ov {

struct EmbedOptions {
  std::string model;                 // a directory of a CLIPModel and its tokenizer
  std::vector<std::string> sources;  // pictures: data/raw/records.h, one picture a record
  std::string image_dir;
  std::string regions;          // or, in place of sources: a region file
  std::int64_t min_edge = 0;    // pixels
  std::string concepts;         // or: read_concepts
  std::string sentence = "{}";  // that {} of which a concept stands in
  std::string out;
  std::int64_t max_rejects = 0;
  Dtype dtype = Dtype::f32;
  Device* device = nullptr;
  Shard shard;
};

// Writes OUT and OUT.report.json, of pictures OUT.rejects.jsonl; returns the report, or null when other shards are
// still to come. What stands already, made from the same, is left as it is (curate/result.h).
Json embed(const EmbedOptions& options);

}  // namespace ov
