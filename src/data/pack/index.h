// A packing as an index: which records stand side by side in which pack. No text and no picture is copied, so packing
// again for another capacity takes seconds.
//
// The file is safetensors, S samples in P packs:
//   sample.record   i64 [S]      number of the sample's record in the sources, ascending; rejected records are left out
//   sample.tokens   i32 [S]      length, all segments and image tokens
//   sample.labels   i32 [S]      labelled tokens among them
//   sample.patches  i32 [S]      of its pictures
//   sample.turns    i32 [S]      messages, and
//   sample.images   i32 [S]      pictures; older files have neither
//   pack.begin      i64 [P + 1]  pack p is item[begin[p]] .. item[begin[p + 1] - 1]
//   pack.item       i64 [S]      indices of samples, each once
// and in __metadata__ all other fields of PackIndex and a checksum over everything. Source and place of a sample follow
// from its record: sources stand with their numbers of records. Reading maps the file, so that its pages are shared by
// all that train from it and given back when memory is short.
//
// The lengths hold for one tokenizer, one set of pixel limits, one layout of turns and one state of the data; both
// fingerprints are compared when training starts.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/column.h"
#include "data/pack/length_packer.h"
#include "data/pack/sources.h"
#include "data/sample/processor.h"
#include "data/sample/sample.h"
#include "tensor/tensor.h"

namespace ov {

// Packs as they stand in an index.
struct PackTable {
  Column<std::int64_t> begin, item;

  PackTable() = default;
  PackTable(Packs packs) : begin(std::move(packs.begin)), item(std::move(packs.item)) {}
  std::int64_t size() const { return static_cast<std::int64_t>(begin.size()) - 1; }
  std::span<const std::int64_t> operator[](std::int64_t p) const {
    const auto first = static_cast<std::size_t>(begin[static_cast<std::size_t>(p)]);
    const auto end = static_cast<std::size_t>(begin[static_cast<std::size_t>(p) + 1]);
    return {item.data() + first, end - first};
  }
};

struct PackIndex {
  std::int64_t capacity = 0;     // tokens of a pack
  std::int64_t max_patches = 0;  // of a pack; 0: no limit
  std::int64_t seed = 0;
  TurnLayout turn_layout = TurnLayout::conversation;
  LiteralTokens literal_tokens = LiteralTokens::as_tokens;
  std::string processor, data;      // fingerprints
  std::vector<PackSource> sources;  // as they were given
  Column<std::int64_t> record;
  Column<std::int32_t> tokens, labels, patches;
  Column<std::int32_t> turns, images;  // empty: the file is an older one
  PackTable packs;

  std::int64_t samples() const { return static_cast<std::int64_t>(record.size()); }
  SampleOptions sample_options() const { return {turn_layout, capacity, literal_tokens, "pack.capacity"}; }
  // 16 hex digits, over all that decides what is trained on: all fields but sources, turns and images.
  std::string checksum() const;

  void write(const std::string& path) const;
  // Throws input_error that names the file: not an index, damaged, a pack above its capacity, a sample missing or
  // twice.
  static PackIndex read(const std::string& path);
};

// 64 hex digits over all that a sample's length depends on beside its data: vocabulary, merges, added tokens, limits
// and sizes of pictures.
std::string length_fingerprint(const Processor& processor);

}  // namespace ov
