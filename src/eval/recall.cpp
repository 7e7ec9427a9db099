#include "eval/recall.h"

#include "base/text.h"
#include "data/sample/sample.h"
#include "generate/generate.h"

namespace ov {
namespace {

std::string without_tag(std::string text) {
  for (std::size_t at; (at = text.find("<image>")) != text.npos;) text.erase(at, 7);
  return std::string(trimmed(text));
}

}  // namespace

std::vector<Recalled> recall(const Onevision& model, const Processor& with_defaults, const ConversationFile& file,
                             const RecallOptions& options, const std::function<void(const Recalled&)>& each) {
  const Processor processor = with_defaults.with_limits(options.limits);
  std::vector<Recalled> results;
  std::vector<std::shared_ptr<std::vector<std::int64_t>>> answers;
  std::exception_ptr error;
  Engine engine(model, {});
  for (std::int64_t i = 0; i < file.size(); ++i) {
    const Conversation record = file.read(i);
    for (const std::vector<Turn>& turns : single_turns(record.turns)) {
      Conversation single = record;
      single.turns = turns;
      const Sample sample = make_sample(single, processor, {.turns = TurnLayout::conversation});
      const auto first =
          std::find_if(sample.labels.begin(), sample.labels.end(), [](auto l) { return l != ignored_label; });
      std::vector<Grid> grids;
      for (const auto& g : sample.grids) grids.push_back({g[0], g[1], g[2]});
      results.push_back({record.images.empty() ? "" : record.images.front(), without_tag(turns[turns.size() - 2].text),
                         std::string(trimmed(turns.back().text)), "", false});
      answers.push_back(std::make_shared<std::vector<std::int64_t>>());
      engine.submit({.prompt = std::vector<std::int64_t>(sample.ids.begin(),
                                                         sample.ids.begin() + (first - sample.labels.begin())),
                     .pictures = split_pictures(sample.pixel_values, grids),
                     .max_new_tokens = options.max_new_tokens,
                     .stop = options.stop,
                     .token = [ids = answers.back()](const Token& t) { return ids->push_back(t.id), true; },
                     .done = [&](const Finish& f) { error = error ? error : f.error; }});
      while (!error && engine.stats().waiting > 64) engine.step();  // as many pictures in memory
    }
  }
  while (!error && engine.step()) {}
  if (error) std::rethrow_exception(error);
  for (std::size_t i = 0; i < results.size(); ++i) {
    Recalled& r = results[i];
    r.answer = trimmed(processor.tokenizer().decode(*answers[i]));
    r.right = r.answer == r.taught;
    if (each) each(r);
  }
  return results;
}

}  // namespace ov
