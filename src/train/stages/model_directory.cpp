#include "train/stages/model_directory.h"

#include "base/error.h"
#include "text/chat.h"

namespace ov {

std::vector<std::string> directory_faults(const std::string& directory, const ModelConfig& config,
                                          const Processor& processor) {
  std::vector<std::string> faults;
  const auto same = [&](const char* key, std::int64_t ours, const char* other, std::int64_t theirs) {
    if (ours != theirs) faults.push_back(cat(directory, "/config.json: ", key, " is ", ours, ", ", other, " ", theirs));
  };
  same("vision_config.patch_size", config.vision.patch, "the image processor's patch_size (preprocessor_config.json)",
       processor.images().patch);
  same("vision_config.spatial_merge_size", config.vision.merge,
       "the image processor's merge_size (preprocessor_config.json)", processor.images().merge);
  const Tokenizer& tokenizer = processor.tokenizer();
  const auto id = [&](const char* key, std::int64_t ours, const char* token) {
    const auto theirs = tokenizer.token_id(token);
    if (theirs) same(key, ours, cat("the tokenizer's ", token).c_str(), *theirs);
    else faults.push_back(cat(directory, ": the tokenizer has no token ", token));
  };
  id("image_token_id", config.image_token, "<|image_pad|>");
  // The original's config.json does not have these two in every version.
  const auto states = [&](const char* key) { return config.source.is_object() && config.source.find(key); };
  if (states("video_token_id")) id("video_token_id", config.video_token, "<|video_pad|>");
  if (states("vision_start_token_id")) id("vision_start_token_id", config.vision_start_token, "<|vision_start|>");
  if (tokenizer.vocab_size() > config.text.vocabulary)
    faults.push_back(cat(directory, "/config.json: text_config.vocab_size is ", config.text.vocabulary,
                         ", the tokenizer has ", tokenizer.vocab_size(), " tokens"));
  return faults;
}

ModelFiles open_model_files(const std::string& directory, const LoadOptions& options) {
  ModelFiles files{read_model_config(directory, options), Processor::read(directory)};
  const auto faults = directory_faults(directory, files.config, files.processor);
  if (!faults.empty())
    input_error(faults[0], faults.size() > 1 ? cat(" (and ", faults.size() - 1, " more like it)") : "");
  return files;
}

}  // namespace ov
