#include "cli/verbs.h"
#include "nn/init.h"
#include "text/chat.h"
#include "train/job.h"

namespace ov::cli {
namespace {

InitOptions init_options(const Config& config) {
  return {.matrix = config.text("init.matrix"),
          .matrix_std = config.number("init.matrix_std"),
          .projection_out_std = config.number("init.projection_out_std"),
          .embedding_std = config.number("init.embedding_std"),
          .patch_embedding_std = config.number("init.patch_embedding_std"),
          .class_vector_std = config.number("init.class_vector_std"),
          .class_angles_std = config.number("init.class_angles_std")};
}

}  // namespace

Exit merge(const Config& config) {
  const std::string& out = config.required("out");
  const std::string& directory = config.required("tokenizer");
  const Tokenizer tokenizer = Tokenizer::read(directory);
  const ChatTokens chat = ChatTokens::of(tokenizer);

  ModelConfig described = described_model(config);
  described.image_token = chat.image_pad;
  described.video_token = chat.video_pad;
  described.vision_start_token = chat.vision_start;
  if (described.text.vocabulary == 0) described.text.vocabulary = tokenizer.vocab_size();
  if (described.text.vocabulary < tokenizer.vocab_size())
    input_error("text.vocabulary is ", described.text.vocabulary, ", the tokenizer in ", directory, " has ",
                tokenizer.vocab_size(), " tokens");
  described.check();

  Onevision model(described);
  model.parameters().allocate(Dtype::f32, cpu());
  initialize(model.parameters(), init_options(config), static_cast<std::uint64_t>(config.integer("init.seed")));
  ProcessorConfig images;
  images.patch = described.vision.patch;
  images.merge = described.vision.merge;
  export_model(out, model, Processor(tokenizer, images));
  return Exit::done;
}

}  // namespace ov::cli
