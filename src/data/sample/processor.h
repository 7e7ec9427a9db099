// What stands between files and the model's inputs: the tokenizer, how pictures become patches, and the chat format.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "image/patches.h"
#include "tensor/tensor.h"
#include "text/tokenizer.h"

namespace ov {

// Limits on a picture's area that replace the processor's own; absent ones stay. fast: the other arithmetic
// (image/patches.h).
struct PixelLimits {
  std::optional<std::int64_t> min_pixels, max_pixels;
  bool fast = false;
};

// What a model is asked to continue.
struct Prompt {
  std::vector<std::int64_t> input_ids;             // [T], each picture as its image tokens
  Tensor pixel_values;                             // [P, 3 patch²] f32, null without pictures
  std::vector<std::array<std::int64_t, 3>> grids;  // t, h, w in patches, one a picture
};

class Processor {
 public:
  Processor(Tokenizer tokenizer, ProcessorConfig images) : tokenizer_(std::move(tokenizer)), images_(images) {}

  // A Hugging Face directory: tokenizer files, and preprocessor_config.json or the image_processor of Transformers 5's
  // processor_config.json. Throws input_error that names file and key.
  static Processor read(const std::string& model_dir);

  // The same files into an existing directory, the chat template with them, as Transformers reads them (the slow
  // Qwen2VLImageProcessor). Throws machine_error when a write fails.
  void write(const std::string& dir) const;

  const Tokenizer& tokenizer() const { return tokenizer_; }
  // What ends an answer where no generation_config.json says so: the tokenizer's eos, then its pad.
  std::vector<std::int64_t> stop_ids() const;
  const ProcessorConfig& images() const { return images_; }

  // Throws input_error unless 1 <= min_pixels <= max_pixels.
  Processor with_limits(const PixelLimits& limits) const;

  // Whether a prompt puts a line end between a picture and what follows, as the chat template of the model's directory
  // says (text/chat.h). A directory without a template, and a model that this program trains, has it: its data had.
  bool line_after_picture = true;

  // One user message as Transformers' processor renders and tokenises it with the chat template of write():
  //   system block, <|im_start|>user\n, <|vision_start|> image tokens <|vision_end|> for each file, text, <|im_end|>\n,
  //   <|im_start|>assistant\n
  // Where `text` has <image> tags, the pictures stand there and nowhere else, as in training data.
  // Throws input_error: tags and pictures differ in number; a picture is missing, damaged, or a side is more than 200
  // times the other.
  Prompt prompt(const std::vector<std::string>& image_files, const std::string& text,
                const PixelLimits& limits = {}) const;

 private:
  Tokenizer tokenizer_;
  ProcessorConfig images_;
};

// make_patches with errors that name the picture.
Patches named_patches(const Image& image, const ProcessorConfig& config, const std::string& name);

// The rows of all one below the other; null when there is none, the tensor itself when there is one.
Tensor join_rows(const std::vector<Tensor>& parts);

}  // namespace ov
