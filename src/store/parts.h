// A checkpoint that several ranks wrote: a file of each, and one index that says how tensors lie in them.
//
//   part-00001-of-00004.safetensors   what rank 0 wrote: pieces, flat, under their tensor's name on disk; those of the
//                                     moments of what is trained as "m/NAME" and "v/NAME"; "step" in its metadata
//   parts.json    {"step": 40, "trained": "names, one a line",
//                  "parts":   [{"file": "part-00001-of-00004.safetensors", "bytes": 91232, "sha256": "..."}, ...],
//                  "tensors": [{"name": "lm_head.weight", "shape": [278, 40], "trained": true, "blocks": 1,
//                               "pieces": [[0, 0, 11120, 0, 8192], [1, 0, 11120, 8192, 11120]]}, ...]}
//
// A piece [part, first, width, begin, end]: the tensor, row-major, is `blocks` rows of equal length; elements first to
// first + width of each row, one row after another, are what one rank holds (parallel/tensor.h), and elements begin to
// end of these are in that part. The pieces of a tensor cover it, and do not overlap.
//
// Errors: input_error, one line that names the file and the tensor.
#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "store/safetensors.h"

namespace ov {

// File i of n, which people count from 1: "part-00002-of-00004.safetensors".
std::string numbered_file(const std::string& stem, std::int64_t i, std::int64_t n);

class SavedParts {
 public:
  static constexpr const char* index_file = "parts.json";
  static constexpr const char* moments[] = {"m/", "v/"};  // before a name: the first and the second

  struct Part {
    std::string file;
    std::int64_t bytes = 0;
    std::string sha256;
  };
  struct Piece {
    std::int64_t part = 0, first = 0, width = 0, begin = 0, end = 0;
    std::int64_t size() const { return end - begin; }
  };
  struct Entry {
    std::string name;  // on disk
    Shape shape;
    bool trained = false;
    std::int64_t blocks = 1;
    std::vector<Piece> pieces;
  };
  struct Index {
    std::int64_t step = 0;
    std::string trained;
    std::vector<Part> parts;
    std::vector<Entry> tensors;
  };

  static std::string file_of(std::int64_t part, std::int64_t parts);
  static void write_index(const std::string& directory, const Index& index);
  // Refused: an index that is none, a part that is missing, of another length or of another step, a piece that is not
  // in its part as the index says. Digests are not computed here (base/io/durable_directory.h does).
  static SavedParts open(const std::string& directory);

  const std::string& path() const { return path_; }  // of the index
  const Index& index() const { return index_; }
  const std::vector<Safetensors>& files() const { return files_; }  // by part
  // The whole tensor, or its moment; mapped where one part has all of it, else put together on the host. `name`: on
  // disk, one of the index.
  Tensor tensor(const std::string& name, const std::string& prefix = "") const;
  Dtype dtype(const Entry& entry, const std::string& prefix = "") const;

 private:
  std::string path_;
  Index index_;
  std::unordered_map<std::string, std::size_t> by_name_;  // of index_.tensors
  std::vector<Safetensors> files_;
};

}  // namespace ov
