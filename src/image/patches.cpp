#include "image/patches.h"

#include "base/parallel.h"
#include "image/smart_resize.h"

namespace ov {
namespace {

std::int64_t positive(const Json& json, const char* key, std::int64_t missing, const std::string& where) {
  const Json* value = json.find(key);
  if (!value || value->is_null()) return missing;
  if (!value->is_integer() || value->as_int() < 1)
    input_error(where, ": ", key, ": expected a positive integer, found ", value->dump());
  return value->as_int();
}

std::array<double, 3> three(const Json& json, const char* key, const std::array<double, 3>& missing, bool divisor,
                            const std::string& where) {
  const Json* value = json.find(key);
  if (!value || value->is_null()) return missing;
  bool good = value->is_array() && value->size() == 3;
  std::array<double, 3> out{};
  for (std::size_t c = 0; good && c < 3; ++c) {
    good = (*value)[c].is_number() && !(divisor && (*value)[c].as_double() <= 0);
    if (good) out[c] = (*value)[c].as_double();
  }
  if (!good)
    input_error(where, ": ", key, ": expected three ", divisor ? "positive " : "", "numbers, found ", value->dump());
  return out;
}

void check_size_object(const Json& json, const std::string& where) {
  const Json* size = json.find("size");
  if (!size || size->is_null()) return;
  if (!size->is_object() || !size->find("shortest_edge") || !size->find("longest_edge"))
    input_error(where, ": size: expected an object with shortest_edge and longest_edge, found ", size->dump());
}

}  // namespace

ProcessorConfig processor_config(const Json& json, const std::string& where) {
  if (!json.is_object()) input_error(where, ": expected an object, found ", kind_name(json.kind()));
  check_size_object(json, where);
  for (const char* step : {"do_resize", "do_rescale", "do_normalize", "do_convert_rgb"})
    if (const Json* on = json.find(step); on && !(on->is_boolean() && on->as_bool()))
      input_error(where, ": ", step, ": only true is supported, found ", on->dump());
  if (positive(json, "temporal_patch_size", 1, where) != 1)
    input_error(where, ": temporal_patch_size: expected 1 (a patch row is 3 x patch x patch), found ",
                json.at("temporal_patch_size").dump());
  if (const Json* resample = json.find("resample"); resample && !(resample->is_integer() && resample->as_int() == 3))
    input_error(where, ": resample: only 3 (bicubic) is supported, found ", resample->dump());

  ProcessorConfig config;
  config.min_pixels = positive(json, "min_pixels", 56 * 56, where);
  config.max_pixels = positive(json, "max_pixels", 28 * 28 * 1280, where);
  if (config.min_pixels > config.max_pixels)
    input_error(where, ": min_pixels ", config.min_pixels, " is above max_pixels ", config.max_pixels);
  config.patch = positive(json, "patch_size", config.patch, where);
  config.merge = positive(json, "merge_size", config.merge, where);
  if (config.patch > 1024 || config.merge > 1024)
    input_error(where, ": patch_size ", config.patch, " and merge_size ", config.merge, ": expected at most 1024 each");
  if (const Json* rescale = json.find("rescale_factor"); rescale && !rescale->is_null()) {
    if (!rescale->is_number()) input_error(where, ": rescale_factor: expected a number, found ", rescale->dump());
    config.rescale = rescale->as_double();
  }
  config.mean = three(json, "image_mean", config.mean, false, where);
  config.std = three(json, "image_std", config.std, true, where);
  return config;
}

ProcessorConfig read_processor_config(const std::string& path) { return processor_config(Json::read(path), path); }

std::array<std::array<float, 256>, 3> normalized_values(const ProcessorConfig& config) {
  std::array<std::array<float, 256>, 3> table;
  for (std::size_t c = 0; c < 3; ++c) {
    const auto mean = static_cast<float>(config.mean[c]), deviation = static_cast<float>(config.std[c]);
    for (std::size_t byte = 0; byte < 256; ++byte)
      table[c][byte] = (static_cast<float>(static_cast<double>(byte) * config.rescale) - mean) / deviation;
  }
  return table;
}

Patches cut_patches(const Image& image, const ProcessorConfig& config) {
  const std::int64_t p = config.patch, m = config.merge;
  if (image.width < 1 || image.height < 1 || image.width % config.factor() || image.height % config.factor())
    input_error("cut_patches: a picture of ", image.width, " x ", image.height,
                " pixels; both sides must be multiples of ", config.factor());
  const std::int64_t grid_h = image.height / p, grid_w = image.width / p, blocks_w = grid_w / m;
  const auto table = normalized_values(config);

  Patches out{Tensor({grid_h * grid_w, config.row_size()}, Dtype::f32, cpu(), Segment::data), {1, grid_h, grid_w}};
  parallel_for(grid_h * grid_w, 32, [&](std::int64_t n) {
    const std::int64_t block = n / (m * m), inside = n % (m * m);
    const std::int64_t top = (block / blocks_w * m + inside / m) * p, left = (block % blocks_w * m + inside % m) * p;
    float* to = out.pixel_values.row<float>(n);
    for (std::int64_t c = 0; c < 3; ++c) {
      const auto& value = table[static_cast<std::size_t>(c)];
      for (std::int64_t y = 0; y < p; ++y) {
        const std::uint8_t* from = image.row(top + y) + 3 * left + c;
        for (std::int64_t x = 0; x < p; ++x) *to++ = value[from[3 * x]];
      }
    }
  });
  return out;
}

Patches make_patches(const Image& image, const ProcessorConfig& config) {
  const ImageSize size = smart_resize(image.size(), config.factor(), config.min_pixels, config.max_pixels);
  return cut_patches(resize_bicubic(image, size.width, size.height, config.order), config);
}

std::array<std::int64_t, 3> patch_grid(ImageSize size, const ProcessorConfig& config) {
  const ImageSize resized = smart_resize(size, config.factor(), config.min_pixels, config.max_pixels);
  return {1, resized.height / config.patch, resized.width / config.patch};
}

std::int64_t merged_tokens(ImageSize size, const ProcessorConfig& config) {
  const auto [t, h, w] = patch_grid(size, config);
  return t * (h / config.merge) * (w / config.merge);
}

}  // namespace ov
