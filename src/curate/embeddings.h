// Embeddings in a safetensors file: directions of pictures or of concepts in the space that they share.
//
//   embeddings  [N,E] f32      rows; read from files of others in F16 or BF16 too
//   id_text     [bytes] u8     the ids one behind the other, UTF-8
//   id_ends     [N] i64        where each ends
//   record      [N] i64        of pictures: the record in its source, from 0
//   source      [N] i64        and which of metadata "sources" that is, a JSON list of names
//   region      [N] i64        of regions: which of its picture's objects (data/raw/regions.h)
//
// A file without ids has the rows' numbers for them. metadata "made_from" is a digest of the content and of what it
// was made from, "model" names the CLIP that made it, "kind" is pictures or concepts, "fingerprints" are those of the
// sources; files of others lack them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/safetensors.h"

namespace ov {

class Embeddings {
 public:
  // Throws input_error: what the file lacks, another shape, ids that do not fit.
  static Embeddings open(const std::string& path);

  const std::string& path() const { return path_; }
  std::int64_t size() const { return rows_.dim(0); }
  std::int64_t width() const { return rows_.dim(1); }
  std::string id(std::int64_t i) const;
  std::string source(std::int64_t i) const;  // "" where the file does not say
  std::int64_t record(std::int64_t i) const { return record_ ? record_.data<std::int64_t>()[i] : i; }
  std::int64_t region(std::int64_t i) const { return region_ ? region_.data<std::int64_t>()[i] : -1; }
  const std::string& made_from() const { return made_from_; }
  const std::string& model() const { return model_; }  // "" where the file does not say, as the next
  const std::string& kind() const { return kind_; }
  // Name and fingerprint of each source that the file says both of.
  const std::vector<std::pair<std::string, std::string>>& fingerprints() const { return fingerprints_; }
  // Rows [begin, end), f32, each divided by its length. input_error that names a row without one (zero, infinite, NaN).
  Tensor directions(std::int64_t begin, std::int64_t end) const;

 private:
  static Embeddings read(const std::string& path);

  std::string path_, made_from_, model_, kind_;
  Tensor rows_, id_text_, id_ends_, record_, source_, region_;
  std::vector<std::string> sources_;
  std::vector<std::pair<std::string, std::string>> fingerprints_;
};

// Rows of several files, one behind the other, cut into parts that do not cross from file to file.
struct EmbeddingPool {
  struct Part {
    std::size_t file;
    std::int64_t begin, end, first;  // rows of the file; first: the row of the pool that `begin` is
  };
  std::vector<Embeddings> files;
  std::vector<Part> parts;
  std::int64_t size = 0;

  static constexpr std::int64_t part_rows = 16384;
  explicit EmbeddingPool(const std::vector<std::string>& paths);
  // What a manifest of these rows says of its sources (data/raw/drawn_records.h). input_error when two files were made
  // of two versions of one.
  std::vector<std::pair<std::string, std::string>> sources() const;
};

// What is known of some rows; `write` puts it into a file of the form above.
struct EmbeddingRows {
  std::vector<float> values;  // [N,E]
  std::vector<std::string> ids;
  std::vector<std::int64_t> records, sources;  // of pictures
  std::vector<std::int64_t> regions = {};      // of their regions
  void write(const std::string& path, std::int64_t width, Metadata metadata) const;
};

// One file of several, in their order; made_from and the sources are the same in all.
void join_embeddings(const std::string& path, const std::vector<std::string>& parts, std::int64_t width,
                     const Metadata& metadata);

}  // namespace ov
