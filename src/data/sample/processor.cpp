#include "data/sample/processor.h"

#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/io/file.h"
#include "image/decode.h"
#include "text/chat.h"
#include "text/chat_template.h"
#include "text/conversation.h"

namespace ov {
namespace {

Json three(const std::array<double, 3>& v) { return Json(std::vector<double>(v.begin(), v.end())); }

bool is_file(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// Transformers 5 keeps it in processor_config.json, and looks there first.
ProcessorConfig read_images(const std::string& dir) {
  const std::string own = dir + "/preprocessor_config.json", shared = dir + "/processor_config.json";
  const Json json = is_file(shared) ? Json::read(shared) : Json();
  const Json* part = json.is_object() ? json.find("image_processor") : nullptr;
  if (!part || part->is_null()) return read_processor_config(own);
  const ProcessorConfig config = processor_config(*part, shared + ": image_processor");
  if (is_file(own) && read_processor_config(own) != config)
    input_error(shared, ": image_processor differs from ", own, "; one of the two has to go");
  return config;
}

// The chat template in a model's directory, wherever a version of Transformers puts it; "" where there is none.
std::string read_chat_template(const std::string& dir) {
  if (const std::string path = dir + "/chat_template.jinja"; is_file(path)) return read_file(path);
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const std::string path = dir + "/" + name;
    const Json json = is_file(path) ? Json::read(path) : Json();
    const Json* found = json.is_object() ? json.find("chat_template") : nullptr;
    if (found && !found->is_null()) return found->is_string() ? found->as_string() : found->dump();
  }
  return "";
}

}  // namespace

Processor Processor::read(const std::string& model_dir) {
  Processor out(Tokenizer::read(model_dir), read_images(model_dir));
  const std::string text = read_chat_template(model_dir);
  out.line_after_picture = text.empty() || text.find(line_after_picture_mark) != text.npos;
  return out;
}

std::vector<std::int64_t> Processor::stop_ids() const {
  std::vector<std::int64_t> ids;
  for (const auto& id : {tokenizer_.eos(), tokenizer_.pad()})
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  return ids;
}

void Processor::write(const std::string& dir) const {
  tokenizer_.write(dir);
  write_durably(dir + "/chat_template.jinja", chat_template(line_after_picture));
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
      {"processor_class", "Qwen2_5_VLProcessor"},
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
  if (limits.fast) out.images_.order = PassOrder::torch;
  check_limits(out.images_, "");
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
  std::vector<Tensor> pixels;
  std::vector<std::int64_t> image_tokens;
  for (const std::string& file : image_files) {
    const Patches patches = named_patches(read_image(file), config, file);
    pixels.push_back(patches.pixel_values);
    out.grids.push_back(patches.grid);
    image_tokens.push_back(patches.pixel_values.dim(0) / (config.merge * config.merge));
  }
  std::vector<Content> parts;
  const std::string_view tag = image_tag;
  std::string_view rest = text;
  for (std::size_t at; (at = rest.find(tag)) != rest.npos; rest.remove_prefix(at + tag.size())) {
    parts.push_back({Content::Kind::text, std::string(rest.substr(0, at))});
    parts.push_back({Content::Kind::image, ""});
  }
  const bool tagged = !parts.empty();
  if (tagged && parts.size() / 2 != image_files.size())
    input_error("the prompt holds ", parts.size() / 2, " <image> tag(s), but ", image_files.size(),
                " picture(s) were given; without a tag they are shown first");
  if (!tagged) parts.resize(image_files.size(), {Content::Kind::image, ""});
  parts.push_back({Content::Kind::text, std::string(rest)});
  out.input_ids = encode_chat(tokenizer_, std::vector{Message{"user", std::move(parts)}}, image_tokens,
                              {.add_generation_prompt = true, .line_after_picture = line_after_picture && !tagged});
  out.pixel_values = join_rows(pixels);
  return out;
}

}  // namespace ov
