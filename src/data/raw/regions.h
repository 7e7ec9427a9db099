// Region annotations: what RICE-ViT is pre-trained on (RICE, Xie et al. 2025, 3.1 and 3.2).
//
// A JSON-lines file beside its pictures, one picture a line:
//
//   {"image": "0001.png",                                      path relative to the file
//    "objects": [{"box": [x1, y1, x2, y2], "class": "large red circle"}],
//    "ocr":     [{"box": [x1, y1, x2, y2], "text": "7A"}]}
//
// Boxes are in pixels of the file's picture, half open: 0 <= x1 < x2 <= width. An object region has one label, the
// cluster it belongs to; an OCR region has a set of labels, its string's characters. Either list may be left out.
// Classes and characters are numbered in the order of their sorted strings, over the whole file.
//
// In place of the names a manifest of `cluster` may say which class an object is of, as RICE has it (3.1): Parquet rows
// with source, the file's path, record, the line from 0, region, the object from 0, and cluster. Then the names do not
// count, and an object that has no row is left out.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"
#include "image/image.h"
#include "tensor/tensor.h"

namespace ov {

struct Box {
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;
};

// What a region is called: a class, or the characters of a string, of which one may come several times.
struct RegionLabel {
  std::int64_t object = -1;  // class; -1 for an OCR region
  std::vector<std::int64_t> characters;
  bool is_text() const { return object < 0; }
};

struct AnnotatedRegion {
  Box box;  // pixels of the picture as it is stored
  RegionLabel label;
};

struct AnnotatedPicture {
  std::string where;  // "regions.jsonl:12"
  std::string image;  // path
  std::vector<AnnotatedRegion> regions;
};

class RegionFile {
 public:
  // Reads all annotations. Throws input_error when the file is missing or has no lines; a faulty line is kept as its
  // fault and takes no part in the lists of classes and characters.
  // `clusters`: the manifest; "": names are classes. It must have a row of this file, and no row that fits no object.
  explicit RegionFile(const std::string& path, const std::string& clusters = "");

  const std::string& path() const { return path_; }
  std::int64_t size() const { return static_cast<std::int64_t>(lines_.size()); }
  const std::string& fingerprint() const { return fingerprint_; }  // of the file's bytes, and the manifest's
  // Throws Rejected (data/reject.h): malformed_record, region_box (no area), empty_text, no_region.
  const AnnotatedPicture& read(std::int64_t index) const;
  const std::vector<std::string>& classes() const { return classes_; }
  const std::vector<std::string>& characters() const { return characters_; }  // UTF-8, one code point each

 private:
  struct Line {
    AnnotatedPicture picture;
    int fault = -1;  // a RejectReason
    std::string message;
  };
  std::string path_, fingerprint_;
  std::vector<Line> lines_;
  std::vector<std::string> classes_, characters_;
};

// Throws Rejected (region_box) when a box reaches out of a picture of this size.
void check_boxes(const AnnotatedPicture& picture, ImageSize size);

// Which of a picture's `available` regions stand in its N slots (RICE 3.2, "Region Sampling"):
//   available > N   N different ones, uniformly      available < N   all, then N - available more with repetition
//   available = N   all
// N = 0: all, as many as there are. There are no empty slots, so the loss needs no mask. Uses elements
// [first, first + N) of the stream.
std::vector<std::int64_t> sample_regions(std::int64_t available, std::int64_t slots, const Philox& random,
                                         std::uint64_t first);

// At most `most` labels of a string, a uniform choice of positions when it has more; 0: all. Uses elements
// [first, first + most).
std::vector<std::int64_t> sample_labels(const std::vector<std::int64_t>& labels, std::int64_t most,
                                        const Philox& random, std::uint64_t first);

// A region in its slot, as the model sees it.
struct Region {
  std::int64_t picture = 0;  // of the batch
  std::int64_t slot = 0;     // of its picture
  Box box;                   // in patches: x 1.5 is the middle of the second column
  RegionLabel label;
};

// Pictures that pass through the tower together, and their regions in order of the pictures.
struct RegionBatch {
  Tensor pixel_values;                             // [P, 3 patch²] f32
  std::vector<std::array<std::int64_t, 3>> grids;  // t, h, w in patches
  std::vector<Region> regions;
};

// Everything one optimiser step learns from.
struct RegionStep {
  std::vector<RegionBatch> micro_batches;
  std::int64_t pictures = 0, patches = 0, objects = 0, texts = 0;
};

}  // namespace ov
