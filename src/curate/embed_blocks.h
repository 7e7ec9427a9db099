// What the ways of `embed` share: who made a row, batches, and the join of blocks.
#pragma once
#include <algorithm>

#include "autograd/tape.h"
#include "curate/embed.h"
#include "curate/embeddings.h"
#include "curate/result.h"
#include "curate/share_counts.h"
#include "curate/sources.h"

namespace ov {

constexpr std::int64_t embed_batch = 32;  // rows that pass through the model together

// A model by the content of the files that say what a direction is; they are read once.
struct ClipIdentity {
  std::string towers, with_texts;  // with_texts: the tokenizer's files too
  static ClipIdentity of(const std::string& directory);
};
void append_rows(std::vector<float>& values, const Var& rows);

// Consecutive rows of a block, a batch at a time.
template <class F>
void in_batches(std::int64_t n, F&& f) {
  for (std::int64_t begin = 0; begin < n; begin += embed_batch) f(begin, std::min(begin + embed_batch, n));
}

// Joins blocks, each with "records", how many it was made of, and "rejects" in its metadata: OUT, OUT.rejects.jsonl,
// OUT.report.json. `sources` and `fingerprints` are null of texts.
Json join_embedded(const EmbedOptions& options, const Blocks& blocks, const std::string& made_from,
                   const ClipIdentity& clip, std::int64_t width, const Json& sources, const Json& fingerprints);

// Takes a block's counts from its file.
void count_block(ShareCounts& counts, const Blocks& blocks, std::int64_t block);

// `embed` of a region file.
Json embed_regions(const EmbedOptions& options);

}  // namespace ov
