// Parquet files, written: rows as JSON values in, a file that Apache Arrow, DuckDB and Polars read out.
//
// Every node may be null. Values are PLAIN, in data pages of version 1 that end with a row and carry checksums; lists
// have the three levels of LogicalTypes.md. The same rows give the same bytes. Durable: nothing stands under the path
// before finish().
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/io/file.h"
#include "base/json.h"
#include "store/parquet/schema.h"

namespace ov {

struct ParquetField {
  enum class Kind { boolean, integer, real, text, binary, structure, list };  // integer: 64 bits, real: a double
  std::string name;  // of a list's one child it does not matter
  Kind kind = Kind::text;
  std::vector<ParquetField> children = {};
};

// struct<bytes: binary, path: string>, the Image feature of Hugging Face's `datasets`.
ParquetField parquet_image(const std::string& name);

struct ParquetWriterOptions {
  ParquetCodec codec = ParquetCodec::snappy;  // none, snappy, gzip, zstd
  std::int64_t group_rows = 1000, group_bytes = 64 << 20, page_bytes = 1 << 20;
  std::vector<std::pair<std::string, std::string>> metadata = {};  // keys and values of the whole file
};

class ParquetWriter {
 public:
  ParquetWriter(const std::string& path, std::vector<ParquetField> columns, ParquetWriterOptions options = {});

  // An object whose members are columns; one that is missing is null. Binary values are strings of any bytes. Throws
  // input_error for a value of another kind; then the row is not written.
  void add(const Json& row);
  void finish();

 private:
  struct Leaf {
    std::vector<std::string> path;
    ParquetField::Kind kind{};
    int max_definition = 0, max_repetition = 0;
    std::vector<std::uint8_t> defined, repeated;  // of the page that is being filled
    std::string values;
    std::string pages;                           // of the row group, as they go to disk
    std::int64_t entries = 0, uncompressed = 0;  // of the row group; bytes with headers
  };
  struct Chunk {
    std::int64_t begin = 0, size = 0, uncompressed = 0, entries = 0;
  };
  struct Group {
    std::int64_t rows = 0;
    std::vector<Chunk> chunks;
  };

  void list_leaves(const ParquetField& field, std::vector<std::string> path, int definition, int repetition);
  void shred(const ParquetField& field, const Json* value, int repeated, int defined, int lists, std::size_t* leaf);
  void end_page(Leaf& leaf);
  void end_group();
  std::string footer() const;

  const std::vector<ParquetField> columns_;
  const ParquetWriterOptions options_;
  DurableWriter file_;
  std::vector<Leaf> leaves_;
  std::vector<Group> groups_;
  std::int64_t offset_ = 0, rows_ = 0, group_rows_ = 0;  // rows_ of the file, group_rows_ not yet on disk
};

}  // namespace ov
