// What a Parquet file says about itself (apache/parquet-format, parquet.thrift): columns, row groups, column chunks.
//
//   "PAR1" | column chunks | FileMetaData, in Thrift | its length, u32 | "PAR1"
//
// Rows are trees of structs, lists and maps; what is stored is the leaves, column by column. A leaf's value comes with
// two levels (Melnik et al. 2010, "Dremel"): the definition level counts the optional and repeated nodes on its path
// that are there, the repetition level says which list it goes on with, 0 beginning a row.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/io/mapped_file.h"

namespace ov {

// Numbers as parquet.thrift has them.
enum class ParquetType { boolean, int32, int64, int96, real32, real64, bytes, fixed };
enum class ParquetCodec { none, snappy, gzip, lzo, brotli, lz4, zstd, lz4_raw };
enum class ParquetEncoding {
  plain = 0,
  plain_dictionary = 2,
  rle,
  bit_packed,
  delta_binary_packed,
  delta_length_byte_array,
  delta_byte_array,
  rle_dictionary,
  byte_stream_split
};

// What a leaf's values mean.
enum class ParquetMeaning { nothing, boolean, integer, unsigned_integer, real, half, decimal, text, binary, int96 };

struct ParquetNode {
  enum class Kind { leaf, structure, list, map };
  std::string name;
  Kind kind = Kind::leaf;
  bool optional = false;
  int defined = 0;   // from this definition level on it is not null
  int repeated = 0;  // lists and maps around it; a higher repetition level goes on inside of it
  // Of a list or a map: from this definition level on it has an element, and one of this repetition level goes on.
  int element_defined = 0, element_repeated = 0;
  std::vector<ParquetNode> children;  // of a list its element, of a map key and value
  int first_leaf = 0, leaves = 0;     // those beneath, in the order of the column chunks
};

struct ParquetLeaf {
  std::vector<std::string> path;  // names from the root on, those of the groups between a list and its elements too
  ParquetType type = ParquetType::int32;
  ParquetMeaning meaning = ParquetMeaning::integer;
  int width = 0;  // bytes of a fixed value, else of a number
  int scale = 0;  // of a decimal: digits behind the point
  int max_definition = 0, max_repetition = 0;
  std::string dotted() const;
};

struct ParquetChunkInfo {
  ParquetCodec codec = ParquetCodec::none;
  std::int64_t values = 0, begin = 0, size = 0;  // nulls count as values; bytes in the file
  std::string fault;                             // why it cannot be read; "" when nothing is known against it
};

struct ParquetGroup {
  std::int64_t rows = 0, first_row = 0;
  std::vector<ParquetChunkInfo> chunks;  // of each leaf
};

class ParquetFile {
 public:
  // Throws input_error for what is no Parquet file, and for a footer that cannot be or that contradicts itself. A
  // column chunk's own faults are told when it is read, so that the other columns can be.
  explicit ParquetFile(const std::string& path) : ParquetFile(MappedFile::open(path)) {}
  explicit ParquetFile(std::shared_ptr<const MappedFile> file);

  const std::string& path() const { return file_->path(); }
  const std::shared_ptr<const MappedFile>& file() const { return file_; }
  std::string_view footer() const { return footer_; }
  const ParquetNode& root() const { return root_; }  // a structure
  const std::vector<ParquetLeaf>& leaves() const { return leaves_; }
  const std::vector<ParquetGroup>& groups() const { return groups_; }
  std::string_view metadata(std::string_view key) const;  // a value of the whole file; empty where it has none
  std::int64_t rows() const { return groups_.empty() ? 0 : groups_.back().first_row + groups_.back().rows; }

 private:
  void read_footer();

  std::shared_ptr<const MappedFile> file_;
  std::string_view footer_;
  ParquetNode root_;
  std::vector<ParquetLeaf> leaves_;
  std::vector<ParquetGroup> groups_;
  std::vector<std::pair<std::string_view, std::string_view>> metadata_;
};

}  // namespace ov
