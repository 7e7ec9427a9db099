// A column chunk: pages, each a header in Thrift and what it holds, compressed. A dictionary page may come first.
//
// The list of pages is checked before any page is opened: each lies in the chunk, and their values are as many as the
// footer promises. A page's checksum (CRC-32 of what is on disk) is verified wherever a writer put one: zlib sums
// about a gigabyte a second, and a flipped bit in a picture would else be learnt from.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "store/parquet/codec.h"
#include "store/parquet/decode.h"
#include "store/parquet/schema.h"

namespace ov {

// Rows of one leaf, some or all of a row group's.
struct ParquetColumn {
  std::int64_t first_row = 0, rows = 0;         // within the group
  std::vector<std::uint8_t> defined, repeated;  // a level for each value and null; empty where the maximum is 0
  std::vector<std::uint32_t> row_entry;         // [rows + 1] where a row's levels begin; empty when every row has one
  std::vector<std::uint32_t> row_value;         // [rows + 1] where its values begin; empty when every row has one
  ParquetValues values;
};

class ParquetChunk {
 public:
  // Reads the page headers. Throws input_error that names file, row group, column and page, as the other calls do.
  ParquetChunk(const ParquetFile& file, std::size_t group, int leaf);

  ParquetColumn read() const { return read_pages(0, pages_.size()); }
  // The page that holds this row of the group; the whole chunk when rows hold lists, since only levels tell them apart.
  ParquetColumn read_around(std::int64_t row) const;

 private:
  struct Page {
    std::string_view body;    // on disk
    std::int64_t values = 0;  // nulls count
    std::int64_t size = 0;    // bytes when decompressed
    ParquetEncoding encoding = ParquetEncoding::plain, level_encoding = ParquetEncoding::rle;
    bool v2 = false, compressed = true;
    std::int64_t defined_size = 0, repeated_size = 0;  // bytes of levels in front of the body, of v2
    bool has_checksum = false;
    std::uint32_t checksum = 0;
  };
  enum class PageKind { data = 0, index, dictionary, data_v2 };

  void list_pages();
  PageKind read_header(std::string_view bytes, Page* page, std::size_t* header) const;
  ParquetColumn read_pages(std::size_t begin, std::size_t end) const;
  void read_page(const Page& page, const ParquetValues* dictionary, std::size_t* spare, ParquetColumn* out) const;
  ParquetBytes open(const Page& page) const;
  void find_rows(std::int64_t entries, ParquetColumn* out) const;
  [[noreturn]] void fail(const std::string& what) const;

  const ParquetFile& file_;
  const std::size_t group_;
  const ParquetLeaf& leaf_;
  const ParquetChunkInfo& info_;
  std::vector<Page> pages_;       // of data
  std::vector<Page> dictionary_;  // one or none
};

}  // namespace ov
