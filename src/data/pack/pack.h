// Offline packing: every record's exact length, then which records share a row (data/pack/length_packer.h), written as
// an index (data/pack/index.h) with two files beside it:
//
//   <out>.report.json    records, rejects by reason, packs and their lower bound, fill, distributions over the packs
//   <out>.rejects.jsonl  {"record", "reason", "message"} for each record that is left out
//
// A length is that of make_sample: the text tokenised, the pictures' tokens from their headers and the closed form; no
// picture is decoded. The same data, options and seed give the same bytes, whatever the number of threads.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "data/pack/index.h"
#include "data/reject.h"

namespace ov {

struct PackOptions {
  std::vector<PackSource> sources;
  std::string out;               // the index
  std::int64_t capacity = 8192;  // tokens of a pack; a longer sample is left out (over_length)
  // Patches of a pack, 0: no limit. A sample then takes max(tokens, ⌈patches · capacity / max_patches⌉) of a
  // pack's room, so that both sums stay within their limits; the fill in tokens is lower where patches decide.
  std::int64_t max_patches = 0;
  // Of samples as long as each other, which goes where: drawn, or what evens out the packs' patches (evenly_placed).
  bool even_patches = false;
  std::int64_t seed = 1234;
  TurnLayout turns = TurnLayout::conversation;
  LiteralTokens literal_tokens = LiteralTokens::as_tokens;
  PixelLimits limits;                                                        // in place of the processor's
  std::int64_t max_rejects = 100;                                            // one more is an error
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};  // records measured, called now and then
};

struct PackReport {
  std::int64_t records = 0, samples = 0, packs = 0;
  std::int64_t fewest_packs = 0;  // ⌈Σ tokens / capacity⌉
  std::int64_t tokens = 0, labelled_tokens = 0, patches = 0;
  RejectCounts rejects;
  double fill = 0;  // tokens / (packs · capacity)
  Json json;        // what report.json holds
};

// Throws input_error: a source, an option out of range, more than max_rejects rejects or nothing else (the index is
// then not written, rejects.jsonl is), machine_error when a file cannot be written.
PackReport pack_data(const PackOptions& options, const Processor& processor);

}  // namespace ov
