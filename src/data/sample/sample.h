// One record of a conversation file as the model sees it: ids, labels, segments, pictures; and samples side by side in
// one packed row.
//
// turns: conversation    all turns in one causal segment, every answer labelled (the original's multi-turn path)
//   segments             [ system, pictures, question 1, answer 1, question 2, answer 2, ... ]
// turns: shared_prefix   every question by itself on the same pictures, the common part computed once: exactly the
//                        single-turn samples with the prefix repeated (text/conversation.h)
//   segments             [ system, pictures ] [ question 1, answer 1 ] [ question 2, answer 2 ] ...
//                        the first is the prefix of all others
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/raw/conversations.h"
#include "data/reject.h"
#include "data/sample/processor.h"

namespace ov {

enum class TurnLayout { conversation, shared_prefix };
TurnLayout turn_layout(const std::string& name);  // throws input_error on another name

struct SampleOptions {
  TurnLayout turns = TurnLayout::conversation;
  std::int64_t max_tokens = 32768;  // of all segments together, image tokens counted
  LiteralTokens literal_tokens = LiteralTokens::as_tokens;
  const char* limit_key = "train.max_tokens";  // what an over-long sample's message names
};

struct Sample {
  std::vector<std::int64_t> ids, labels;           // [T]; labels[t] is ids[t] or ignored_label
  std::vector<TokenSegment> segments;              // begin and prefix count within this sample
  Tensor pixel_values;                             // [P, 3 patch²] f32, null without pictures
  std::vector<std::array<std::int64_t, 3>> grids;  // one a picture, in order of their placeholders
  std::string source = "";                         // the data set it comes from (data/raw/conversations.h)

  std::int64_t bytes() const;  // what keeping it costs, about
};

// All of a sample but pixel_values, from the pictures' headers and the text: what a packer needs. Throws Rejected.
Sample measure_sample(const Conversation& conversation, const Processor& processor, const SampleOptions& options);

// Throws Rejected. Cheap checks come first: pictures are decoded when headers and text show that the sample fits.
Sample make_sample(const Conversation& conversation, const Processor& processor, const SampleOptions& options);

// The samples' segments one after another in one row, without padding. Positions start at 0 in every segment without a
// prefix and go on from the prefix's end in one with. An empty sample is counted and has no segment. Throws input_error
// without samples.
MicroBatch packed_micro_batch(std::span<const Sample> samples);

std::int64_t count_labels(const MicroBatch& batch);

}  // namespace ov
