// The images of a batch as the vision tower sees them: grids of patches, a class token before every frame, one
// segment each; or one of both for all frames of a grid.
#pragma once
#include <memory>
#include <vector>

#include "kernels/attention.h"
#include "tensor/transfer.h"

namespace ov {

struct Grid {
  std::int64_t t = 1, h = 0, w = 0;  // frames, rows and columns of patches; h and w are multiples of the merge size
  std::int64_t patches() const { return t * h * w; }
};

// input_error when the grids do not ask for exactly `rows` rows of pixel_values; nothing is laid out for it.
void check_patches(const std::vector<Grid>& grids, std::int64_t rows);

// Index lists over the packed rows [class, patches..., class, patches...]; N = patches + segments.
struct VisionLayout {
  VisionLayout(const std::vector<Grid>& grids, std::int64_t merge, bool hf_shift_bug, Device& device,
               bool per_frame = true);

  std::int64_t patches = 0;          // P
  std::vector<std::int64_t> places;  // [N,2]: row and column of each patch in its image; -1 for a class token
  Tensor positions;                  // the same on the device, i64
  Tensor class_rows;                 // [segments] i64: where the class tokens stand
  Tensor patch_rows;                 // [P] i64: where the patches stand, in input order
  std::shared_ptr<const kernels::Segments> segments;  // full attention within each
};

}  // namespace ov
