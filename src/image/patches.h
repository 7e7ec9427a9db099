// A picture as the rows that the vision tower reads, bit for bit as Transformers' Qwen2VLImageProcessor makes them: the
// slow one, on which models were trained, or the fast one, which newer versions take (numerics.processor).
//
//   size      smart_resize to multiples of patch · merge; bicubic, Pillow's or (fast) torchvision's
//   value     slow: f32(f64(byte) · f64(1/255)), then (value - f32(mean)) / f32(std) in f32
//             fast: (byte - f32(mean) · f32(255)) / (f32(std) · f32(255)) in f32, 255 being 1 / rescale
//   order     one row per patch; the merge x merge patches that become one token are neighbours: (block row, block
//             column, row in block, column in block). In a row: channel, y, x
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "base/json.h"
#include "image/image.h"
#include "image/resize.h"
#include "tensor/tensor.h"

namespace ov {

// Defaults are the released processor's; mean and std are those of CLIP.
struct ProcessorConfig {
  std::int64_t min_pixels = 3136, max_pixels = 2560000;
  std::int64_t patch = 14;  // pixels on each side of a patch
  std::int64_t merge = 2;   // patches on each side of a token
  double rescale = 1.0 / 255;
  std::array<double, 3> mean = {0.48145466, 0.4578275, 0.40821073};
  std::array<double, 3> std = {0.26862954, 0.26130258, 0.27577711};
  PassOrder order = PassOrder::pillow_13;  // no key in the file: it belongs to the Pillow that ran; torch: fast

  bool fast() const { return order == PassOrder::torch; }

  bool operator==(const ProcessorConfig&) const = default;
  std::int64_t factor() const { return patch * merge; }
  std::int64_t row_size() const { return 3 * patch * patch; }
};

// preprocessor_config.json. The limits are size's shortest_edge and longest_edge (areas, in spite of their names), over
// which min_pixels and max_pixels go where they are set; without either they are the class's, 3136 and 1 003 520.
// Refused (input_error): temporal_patch_size other than 1 (its rows would be twice as wide), a resample other than 3
// (bicubic), a do_* step turned off or one that is not built turned on, another image processor, values out of range.
ProcessorConfig processor_config(const Json& json, const std::string& where);
// input_error that starts with `where`, unless 1 <= min_pixels <= max_pixels and a picture can be as large.
void check_limits(const ProcessorConfig& config, const std::string& where);
ProcessorConfig read_processor_config(const std::string& path);

struct Patches {
  Tensor pixel_values;                 // [P, 3 · patch · patch] f32 on the CPU, P = t h w
  std::array<std::int64_t, 3> grid{};  // t, h, w in patches; t = 1
};

// The whole way: resize, normalise, cut. Errors: those of smart_resize.
Patches make_patches(const Image& image, const ProcessorConfig& config);

// Normalises and cuts a picture whose sides are multiples of config.factor() already (else input_error).
Patches cut_patches(const Image& image, const ProcessorConfig& config);

// From the picture's size alone: the grid it will have, and how many tokens it takes in the decoder.
std::array<std::int64_t, 3> patch_grid(ImageSize size, const ProcessorConfig& config);
std::int64_t merged_tokens(ImageSize size, const ProcessorConfig& config);

// [channel][byte] -> normalised value.
std::array<std::array<float, 256>, 3> normalized_values(const ProcessorConfig& config);

}  // namespace ov
