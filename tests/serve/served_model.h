// A small random model behind the API, for tests of requests and of the server.
#pragma once
#include <memory>

#include "serve/reply.h"
#include "tests/model/small_model.h"
#include "text/chat.h"

namespace ov::test {

struct SmallService {
  SmallService()
      : processor(Tokenizer::read("data/tokenizer"), ProcessorConfig{.min_pixels = 784}),
        model(answering_model(ChatTokens::of(processor.tokenizer()).image_pad)) {}
  serve::Service service() const {
    return {.config = model->config(), .processor = processor, .stop = processor.stop_ids(), .max_tokens = 24};
  }
  EngineOptions engine() const { return {.cache_bytes = 4 << 20, .fitted = false}; }

  Processor processor;
  std::unique_ptr<Onevision> model;
};

inline std::string user(const std::string& content) {
  return R"({"messages":[{"role":"user","content":)" + content + "}]";
}

}  // namespace ov::test
