// What the loader hands to the trainer: packed rows of tokens with their segment tables and pictures. Knows no model.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tensor/tensor.h"
#include "text/conversation.h"

namespace ov {

// One sub-sample of a packed row: tokens [begin, begin + length). With a prefix (the index of an earlier segment of the
// same row) it attends to that segment and to itself, and its positions go on from the prefix's end; without, its
// positions start at 0.
struct TokenSegment {
  std::int64_t begin = 0, length = 0, prefix = -1;
  bool operator==(const TokenSegment&) const = default;
};

// A micro-batch: one packed row. It has no token when all its records are faulty; its loss and gradient are then 0.
struct MicroBatch {
  std::vector<std::int64_t> input_ids;  // [T], images expanded to one placeholder a merged token
  // [T], the id itself where it is to be learned, else -100. Token t is predicted from t - 1 of its segment; the first
  // token of a segment has no label.
  std::vector<std::int64_t> labels;
  std::vector<std::int64_t> positions;  // [T]
  std::vector<TokenSegment> segments;
  Tensor pixel_values;                             // [P, 3 patch²] f32, null without pictures
  std::vector<std::array<std::int64_t, 3>> grids;  // t, h, w in patches, one a picture, in order of their placeholders
  std::vector<std::int64_t> sample_of_segment;     // [segments] which sample of the micro-batch a segment belongs to
  std::int64_t samples = 0;                        // faulty ones included, which have no segment
  std::vector<std::string> source_of_sample = {};  // [samples] the data set each comes from, "" where it is faulty

  std::int64_t tokens() const { return static_cast<std::int64_t>(input_ids.size()); }
  std::int64_t patches() const { return pixel_values ? pixel_values.dim(0) : 0; }
};

// Everything one optimiser step learns from.
struct GlobalStep {
  std::vector<MicroBatch> micro_batches;
  std::int64_t samples = 0, tokens = 0, labelled_tokens = 0, patches = 0;
};

}  // namespace ov
