#include "data/sample/processor.h"

#include <algorithm>

#include "base/error.h"
#include "base/io/file.h"
#include "image/decode.h"
#include "text/chat.h"

namespace ov {
namespace {

Json three(const std::array<double, 3>& v) { return Json(std::vector<double>(v.begin(), v.end())); }

}  // namespace

Processor Processor::read(const std::string& model_dir) {
  return {Tokenizer::read(model_dir), read_processor_config(model_dir + "/preprocessor_config.json")};
}

void Processor::write(const std::string& dir) const {
  tokenizer_.write(dir);
  const Json config = Json::object({
      {"do_convert_rgb", true},
      {"do_normalize", true},
      {"do_rescale", true},
      {"do_resize", true},
      {"image_mean", three(images_.mean)},
      {"image_processor_type", "Qwen2VLImageProcessor"},
      {"image_std", three(images_.std)},
      {"max_pixels", images_.max_pixels},
      {"merge_size", images_.merge},
      {"min_pixels", images_.min_pixels},
      {"patch_size", images_.patch},
      {"resample", 3},
      {"rescale_factor", images_.rescale},
      {"size", Json::object({{"longest_edge", images_.max_pixels}, {"shortest_edge", images_.min_pixels}})},
      {"temporal_patch_size", 1},
  });
  write_durably(dir + "/preprocessor_config.json", config.dump(2) + "\n");
}

Processor Processor::with_limits(const PixelLimits& limits) const {
  Processor out = *this;
  out.images_.min_pixels = limits.min_pixels.value_or(images_.min_pixels);
  out.images_.max_pixels = limits.max_pixels.value_or(images_.max_pixels);
  if (out.images_.min_pixels < 1 || out.images_.min_pixels > out.images_.max_pixels)
    input_error("min_pixels ", out.images_.min_pixels, ", max_pixels ", out.images_.max_pixels,
                ": expected 1 <= min_pixels <= max_pixels");
  return out;
}

Patches named_patches(const Image& image, const ProcessorConfig& config, const std::string& name) {
  try {
    return make_patches(image, config);
  } catch (const Error& e) { throw Error(e.exit(), cat(name, ": ", e.what())); }
}

Tensor join_rows(const std::vector<Tensor>& parts) {
  if (parts.size() < 2) return parts.empty() ? Tensor() : parts[0];
  std::int64_t rows = 0;
  for (const Tensor& t : parts) rows += t.dim(0);
  Tensor out({rows, parts[0].dim(1)}, parts[0].dtype(), parts[0].device(), Segment::data);
  rows = 0;
  for (const Tensor& t : parts) {
    out.slice(0, rows, rows + t.dim(0)).copy_from(t);
    rows += t.dim(0);
  }
  return out;
}

Prompt Processor::prompt(const std::vector<std::string>& image_files, const std::string& text,
                         const PixelLimits& limits) const {
  const ProcessorConfig config = with_limits(limits).images_;
  Prompt out;
  Message message{"user", {}};
  std::vector<Tensor> pixels;
  std::vector<std::int64_t> image_tokens;
  for (const std::string& file : image_files) {
    const Patches patches = named_patches(read_image(file), config, file);
    message.content.push_back({Content::Kind::image, ""});
    pixels.push_back(patches.pixel_values);
    out.grids.push_back(patches.grid);
    image_tokens.push_back(patches.pixel_values.dim(0) / (config.merge * config.merge));
  }
  message.content.push_back({Content::Kind::text, text});
  out.input_ids = encode_chat(tokenizer_, std::vector{message}, image_tokens, {.add_generation_prompt = true});
  out.pixel_values = join_rows(pixels);
  return out;
}

}  // namespace ov
