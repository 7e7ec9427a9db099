// How a page's bytes are compressed, by the systems' libraries: snappy (raw), gzip, zstd, lz4 (raw block, and the older
// framing of Hadoop), brotli.
//
// A page says how long it becomes. Memory grows with what really comes out, so that a page which lies about its length
// costs no more than it holds, and one that becomes longer is refused at that length.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "store/parquet/schema.h"

namespace ov {

// `memory` keeps `bytes`; it is null where they are the input itself.
struct ParquetBytes {
  std::string_view bytes;
  std::shared_ptr<const void> memory;
};

// Throws input_error, without the file's name, when the input is not what makes exactly `size` bytes.
ParquetBytes decompress(ParquetCodec codec, std::string_view input, std::size_t size);

// none, snappy, gzip or zstd.
std::string compress(ParquetCodec codec, std::string_view input);

}  // namespace ov
