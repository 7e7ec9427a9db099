#include "model/grids.h"

namespace ov {

void check_patches(const std::vector<Grid>& grids, std::int64_t rows) {
  std::int64_t total = 0;
  for (const Grid& g : grids) {
    std::int64_t frame = 0, patches = 0;
    if (g.t < 1 || g.h < 1 || g.w < 1 || __builtin_mul_overflow(g.h, g.w, &frame) ||
        __builtin_mul_overflow(g.t, frame, &patches) || __builtin_add_overflow(total, patches, &total))
      input_error("image_grid_thw: an image of ", g.t, " x ", g.h, " x ", g.w, " patches; pixel_values has ", rows,
                  " rows");
  }
  if (total != rows) input_error("pixel_values has ", rows, " rows, image_grid_thw asks for ", total);
}

VisionLayout::VisionLayout(const std::vector<Grid>& grids, std::int64_t merge, bool hf_shift_bug, Device& device,
                           bool per_frame) {
  kernels::SegmentTable table;
  std::vector<std::int64_t> class_row, patch_row;
  std::int64_t row = 0;
  for (std::size_t g = 0; g < grids.size(); ++g) {
    const Grid& grid = grids[g];
    if (grid.t < 1 || grid.h < merge || grid.w < merge || grid.h % merge || grid.w % merge)
      input_error("image_grid_thw: image ", g, " is ", grid.t, " x ", grid.h, " x ", grid.w,
                  "; rows and columns must be multiples of ", merge);
    for (std::int64_t t = 0; t < grid.t; ++t) {
      if (t == 0 || per_frame) {
        const std::int64_t length = (per_frame ? 1 : grid.t) * grid.h * grid.w + 1;
        table.push_back({row, length, row, length});
        class_row.push_back(row++);
        places.insert(places.end(), {-1, -1});
      }
      // Merge-block order: the patches that become one token are neighbours.
      for (std::int64_t by = 0; by < grid.h; by += merge)
        for (std::int64_t bx = 0; bx < grid.w; bx += merge)
          for (std::int64_t y = by; y < by + merge; ++y)
            for (std::int64_t x = bx; x < bx + merge; ++x) {
              places.insert(places.end(), {y, x});
              patch_row.push_back(row++);
            }
    }
  }
  // The released HF code drops one row too few before every image after the first: patch p is read from packed row p
  // + 1.
  if (hf_shift_bug)
    for (std::size_t p = 0; p < patch_row.size(); ++p) patch_row[p] = static_cast<std::int64_t>(p) + 1;

  patches = static_cast<std::int64_t>(patch_row.size());
  segments = std::make_shared<kernels::Segments>(std::move(table), row, row, false, device);
  positions = index_tensor("patch positions", places, {row, 2}, -1, row, device);
  class_rows = index_tensor("class rows", class_row, {std::ssize(class_row)}, 0, row, device);
  patch_rows = index_tensor("patch rows", patch_row, {patches}, 0, row, device);
}

}  // namespace ov
