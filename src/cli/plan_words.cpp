#include "cli/plan_words.h"

#include <algorithm>
#include <cstdio>

#include "base/config_words.h"
#include "text/tokenizer.h"

namespace ov::cli {

std::int64_t planned_vocabulary(const Config& config, std::int64_t described) {
  const std::string& directory = config.text("tokenizer");
  const std::int64_t tokens = directory.empty() ? 0 : Tokenizer::read(directory).vocab_size();
  if (described == 0 && tokens == 0)
    input_error(
        "plan: text.vocabulary is 0, as many as the tokenizer has, and plan has none: give --text.vocabulary N, or "
        "--tokenizer DIRECTORY");
  if (described > 0 && described < tokens)
    input_error("text.vocabulary is ", described, ", the tokenizer in ", directory, " has ", tokens, " tokens");
  return described > 0 ? described : tokens;
}

void refuse_clip(const Config& config) {
  if (!config.text("pretrain.what").empty() || !config.given("clip")) return;
  const std::vector<Config::Filed> said = config.in_files("clip");
  input_error("plan: ", said.empty() ? "the keys of section clip" : cat(said[0].file, ": ", said[0].key),
              ": describes a CLIP model, which --what clip plans; without it a whole vision-language model is planned");
}

void tell_defaults(const Config& config) {
  const bool text = config.given("text"), vision = config.given("vision");
  if (!text && !vision)
    std::fputs("note: neither --model nor a shape is given (configs/model has some): the keys' defaults, the 4B's\n",
               stderr);
  else if (!text)
    std::fputs(
        "note: no key of section text is given: the decoder is the keys' defaults, the 4B's; --what vision plans a "
        "tower alone\n",
        stderr);
}

void tell_unused(const Config& config, const std::string& own) {
  constexpr std::pair<const char*, const char*> meant[] = {{"train.micro_batch_samples", "plan.segments plan.images"},
                                                           {"train.max_tokens", "plan.text_tokens"},
                                                           {"pack.capacity", "plan.text_tokens"},
                                                           {"pack.max_patches", "plan.images"},
                                                           {"data.min_pixels", "plan.width plan.height"},
                                                           {"data.max_pixels", "plan.width plan.height"}};
  std::string unused, files, planned;
  for (const auto& [key, by] : meant) {
    Strings ours;
    for (const std::string& k : words(by))
      if (has_word(own, k)) ours.push_back(k);
    const bool said = std::any_of(ours.begin(), ours.end(), [&](const auto& k) { return config.given(k); });
    if (ours.empty() || said) continue;
    for (const Config::Filed& f : config.in_files(key)) {
      if (f.value == Value(config.integer(ours[0]))) continue;  // as planned
      unused += cat(unused.empty() ? "" : ", ", key, " ", to_text(f.value));
      if (files.find(f.file) == files.npos) files += cat(files.empty() ? "" : ", ", f.file);
    }
  }
  if (unused.empty()) return;
  for (const std::string& k : words(own)) planned += cat(planned.empty() ? "" : ", ", k, " ", config.integer(k));
  std::fprintf(stderr, "note: plan does not use %s of %s; a micro-batch is planned as %s say: set these\n",
               unused.c_str(), files.c_str(), planned.c_str());
}

}  // namespace ov::cli
