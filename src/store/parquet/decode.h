// Parquet's encodings (apache/parquet-format, Encodings.md): bytes of a page in, levels or values out.
//
// Nothing is read beyond the bytes given, and no more is made than the page's number of values asks for. Errors:
// input_error without the file's name.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "store/parquet/schema.h"

namespace ov {

// Values of one leaf without its nulls, in the one of these that its type asks for: boolean, int32 and int64 are
// integers, real32 (widened) and real64 reals, the others bytes. What the views look into is in `memory`.
struct ParquetValues {
  std::vector<std::int64_t> integers;
  std::vector<double> reals;
  std::vector<std::string_view> bytes;
  std::vector<std::shared_ptr<const void>> memory;
  std::size_t size() const { return integers.size() + reals.size() + bytes.size(); }
};

// Appends `n` levels of 0 to `max`, of the RLE and bit-packing hybrid.
void decode_levels(std::string_view bytes, std::int64_t n, int max, std::vector<std::uint8_t>* out);

// Appends `n` values. `dictionary` is what indices choose from, null where the chunk has none. `spare`: bytes that
// DELTA_BYTE_ARRAY may still make out of shared beginnings; what it makes is taken off.
void decode_values(ParquetEncoding encoding, std::string_view bytes, std::int64_t n, const ParquetLeaf& leaf,
                   const ParquetValues* dictionary, std::size_t* spare, ParquetValues* out);

}  // namespace ov
