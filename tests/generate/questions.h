// Questions that are asked of an engine one by one and together, and what came of them.
#pragma once
#include <cstring>
#include <memory>

#include "base/rng.h"
#include "generate/engine.h"
#include "tests/model/small_model.h"

namespace ov::test {

inline std::unique_ptr<Onevision> engine_model(bool mixture, Dtype dtype = Dtype::f32, Device& device = cpu(),
                                               std::int64_t head_dim = 8) {
  ModelConfig c = answering_config(90, 2048);
  c.text.vocabulary = 96, c.text.heads = 4, c.text.kv_heads = 2, c.text.head_dim = head_dim;
  if (mixture) c.text.experts = 4, c.text.experts_per_token = 2, c.text.expert_intermediate = 24;
  return answering_model(c, dtype, device);
}

// What came of a request. Bits, so log-probabilities are compared as such.
struct Answer {
  std::vector<std::int64_t> ids;
  std::vector<double> logprobs;
  Finish finish;
  int ended = 0;
  bool operator==(const Answer& o) const {
    return ids == o.ids && logprobs.size() == o.logprobs.size() && finish.why == o.finish.why &&
           std::memcmp(logprobs.data(), o.logprobs.data(), logprobs.size() * sizeof(double)) == 0;
  }
};

// Questions on five pictures with a long system text in common: prompts of up to system + 220 tokens, half of them
// sampled.
class Questions {
 public:
  explicit Questions(const Onevision& model, int n, int length = 150) {
    const Philox random(11, "questions");
    std::uint64_t at = 0;
    for (int i = 0; i < 5; ++i) {
      const Grid grid{1, 4 + 2 * (i % 3), 4 + 2 * (i / 2)};
      const Tensor pixels({grid.patches(), model.config().vision.patch_values()}, Dtype::f32, cpu());
      for (std::int64_t k = 0; k < pixels.numel(); ++k) pixels.data<float>()[k] = random.normal(at++);
      pictures_.push_back({.pixel_values = pixels, .grid = grid});
    }
    const auto word = [&] { return static_cast<std::int64_t>(random.below(at++, 90)); };
    std::vector<std::int64_t> system;
    for (int i = 0; i < length; ++i) system.push_back(word());
    for (int i = 0; i < n; ++i) {
      Request r{.prompt = i % 5 == 4 ? std::vector<std::int64_t>{word()} : system, .max_new_tokens = 1 + i % 13};
      for (int p = 0; p < i % 3; ++p) {
        r.pictures.push_back(pictures_[static_cast<std::size_t>(i / 3 + p) % 5]);
        r.prompt.insert(r.prompt.end(), static_cast<std::size_t>(r.pictures.back().grid.patches() / 4), 90);
        r.prompt.push_back(word());
      }
      const std::uint64_t more = random.below(at++, static_cast<std::uint64_t>(length + 10));
      for (std::uint64_t k = 0; k < more; ++k) r.prompt.push_back(word());
      r.sampling.top_logprobs = 2;
      if (i % 2)
        r.sampling = {.temperature = 1.3,
                      .top_k = 40,
                      .top_p = 0.95,
                      .repetition_penalty = 1.1,
                      .seed = 5 + i % 4u,
                      .top_logprobs = 2};
      r.stop = {7};
      all_.push_back(std::move(r));
    }
  }
  const std::vector<Request>& all() const { return all_; }

 private:
  std::vector<Picture> pictures_;
  std::vector<Request> all_;
};

inline std::uint64_t ask(Engine& engine, Request r, Answer& answer) {
  r.token = [&answer](const Token& t) {
    answer.ids.push_back(t.id), answer.logprobs.push_back(t.logprob);
    for (const auto& [id, logprob] : t.top) answer.logprobs.push_back(logprob);
    return true;
  };
  r.done = [&answer](const Finish& f) { answer.finish = f, ++answer.ended; };
  return engine.submit(std::move(r));
}

inline std::vector<Answer> one_by_one(const Onevision& model, const std::vector<Request>& requests) {
  std::vector<Answer> answers(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    Engine engine(model, {.max_running = 1, .share = false});
    ask(engine, requests[i], answers[i]);
    engine.run();
  }
  return answers;
}

}  // namespace ov::test
