// preprocessor_config.json, as Transformers' Qwen2VLImageProcessor reads it.
#include "base/json_section.h"
#include "image/patches.h"

namespace ov {
namespace {

constexpr std::int64_t most_min_pixels = std::int64_t{1} << 28, most_pixels = std::int64_t{1} << 40;

// What means nothing for one still picture.
constexpr const char* harmless =
    " feature_extractor_type processor_class auto_map crop_size data_format input_data_format default_to_square device "
    "disable_grouping return_tensors pad_size min_frames max_frames fps video_processor_type _valid_processor_keys ";

void whole(JsonSection& s, const char* key, std::int64_t most, std::int64_t& value) {
  if (!s.find(key)) return;
  value = s.integer(key);
  if (value < 1 || value > most) input_error(s.where(), ": ", key, " is ", value, ", expected 1 to ", most);
}

// Three numbers, or one for all three.
void three(JsonSection& s, const char* key, double least, double most, std::array<double, 3>& values) {
  const Json* v = s.find(key);
  for (std::size_t c = 0; v && c < 3; ++c) {
    const Json& item = v->is_array() && v->size() == 3 ? (*v)[c] : *v;
    if (!item.is_number() || !(item.as_double() >= least && item.as_double() <= most))
      input_error(s.where(), ": ", key, ": expected three numbers from ", least, " to ", most, ", found ",
                  JsonSection::shown(*v));
    values[c] = item.as_double();
  }
}

}  // namespace

void check_limits(const ProcessorConfig& c, const std::string& where) {
  if (c.min_pixels < 1 || c.min_pixels > c.max_pixels || c.min_pixels > most_min_pixels || c.max_pixels > most_pixels)
    input_error(where, "min_pixels ", c.min_pixels, ", max_pixels ", c.max_pixels,
                ": expected 1 <= min_pixels <= max_pixels, at most ", most_min_pixels, " and ", most_pixels);
}

ProcessorConfig processor_config(const Json& json, const std::string& where) {
  JsonSection s(json, where);
  for (const char* step : {"do_resize", "do_rescale", "do_normalize", "do_convert_rgb"}) s.only(step, {true}, false);
  s.only("temporal_patch_size", {1});  // a patch row is 3 x patch x patch
  s.only("resample", {3}, false);      // bicubic
  const std::string type = s.text("image_processor_type");
  if (!type.empty() && !(type.starts_with("Qwen2") && type.find("VLImageProcessor") != type.npos))
    input_error(where, ": image_processor_type is ", type, "; only Qwen2VLImageProcessor is built");

  ProcessorConfig config;
  config.min_pixels = 56 * 56, config.max_pixels = 28 * 28 * 1280;
  if (const Json* size = s.find("size")) {
    if (!size->is_object() || !size->find("shortest_edge") || !size->find("longest_edge"))
      input_error(where, ": size: expected shortest_edge and longest_edge, areas in pixels, found ",
                  JsonSection::shown(*size));
    JsonSection edges(*size, where + ": size");
    config.min_pixels = edges.integer("shortest_edge"), config.max_pixels = edges.integer("longest_edge");
  }
  whole(s, "min_pixels", most_min_pixels, config.min_pixels);
  whole(s, "max_pixels", most_pixels, config.max_pixels);
  check_limits(config, where + ": ");
  whole(s, "patch_size", 1024, config.patch);
  whole(s, "merge_size", 1024, config.merge);
  if (config.factor() > 1024)
    input_error(where, ": patch_size ", config.patch, " times merge_size ", config.merge, ": expected at most 1024");
  if (s.find("rescale_factor")) config.rescale = s.number("rescale_factor");
  if (!(config.rescale >= 1e-9 && config.rescale <= 1e6))
    input_error(where, ": rescale_factor is ", config.rescale, ", expected 1e-9 to 1e6");
  three(s, "image_mean", -1e6, 1e6, config.mean);
  three(s, "image_std", 1e-6, 1e6, config.std);
  s.finish(harmless, {"do_"});
  return config;
}

ProcessorConfig read_processor_config(const std::string& path) { return processor_config(Json::read(path), path); }

}  // namespace ov
