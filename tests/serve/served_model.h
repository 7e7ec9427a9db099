// A small random model behind the API, for tests of requests and of the server.
#pragma once
#include <memory>

#include "nn/init.h"
#include "serve/reply.h"
#include "text/chat.h"

namespace ov::test {

struct SmallService {
  SmallService() : processor(Tokenizer::read("data/tokenizer"), ProcessorConfig{.min_pixels = 784}) {
    ModelConfig c;
    c.vision = {.depth = 1, .hidden = 24, .heads = 2, .intermediate = 48};
    c.text = {.vocabulary = 278,
              .hidden = 32,
              .intermediate = 48,
              .layers = 2,
              .heads = 2,
              .kv_heads = 1,
              .head_dim = 16,
              .max_positions = 512,
              .rope_theta = 1e4};
    c.text.tied = true;
    c.image_token = ChatTokens::of(processor.tokenizer()).image_pad;
    model = std::make_unique<Onevision>(c);
    model->parameters().allocate(Dtype::f32, cpu());
    initialize(model->parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.5, .embedding_std = 0.5}, 3);
  }
  serve::Service service() const {
    return {.model = *model, .processor = processor, .stop = processor.stop_ids(), .max_tokens = 24};
  }
  EngineOptions engine() const { return {.cache_bytes = 4 << 20, .fitted = false}; }

  Processor processor;
  std::unique_ptr<Onevision> model;
};

inline std::string user(const std::string& content) {
  return R"({"messages":[{"role":"user","content":)" + content + "}]";
}

}  // namespace ov::test
