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
  for (std::int64_t i = 0; i < file.size(); ++i) {
    const Conversation record = file.read(i);
    for (const std::vector<Turn>& turns : single_turns(record.turns)) {
      Conversation single = record;
      single.turns = turns;
      const Sample sample = make_sample(single, processor, {.turns = TurnLayout::conversation});
      const auto first =
          std::find_if(sample.labels.begin(), sample.labels.end(), [](auto l) { return l != ignored_label; });
      const std::vector<std::int64_t> prompt(sample.ids.begin(), sample.ids.begin() + (first - sample.labels.begin()));
      std::vector<Grid> grids;
      for (const auto& g : sample.grids) grids.push_back({g[0], g[1], g[2]});
      const auto ids = generate(model, prompt, sample.pixel_values, grids,
                                {.max_new_tokens = options.max_new_tokens, .stop = options.stop});

      Recalled r{record.images.empty() ? "" : record.images.front(), without_tag(turns[turns.size() - 2].text),
                 std::string(trimmed(turns.back().text)), std::string(trimmed(processor.tokenizer().decode(ids))),
                 false};
      r.right = r.answer == r.taught;
      if (each) each(r);
      results.push_back(std::move(r));
    }
  }
  return results;
}

}  // namespace ov
