#include "audit/inspect.h"

#include <algorithm>

#include "base/progress.h"
#include "base/text.h"
#include "cli/verbs.h"
#include "eval/evaluate.h"
#include "eval/score_file.h"
#include "rl/reward.h"

namespace ov::cli {

Exit inspect(const Config& config) {
  const std::string& kind = config.operands()[0];
  const Strings kinds = {"tokens", "image", "parquet", "webdataset", "checkpoint", "eval", "reward"};
  if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
    input_error("inspect: expected tokens, image, parquet, webdataset, checkpoint, eval or reward, got '", kind, "'",
                did_you_mean(kind, kinds));
  const auto file = [&](const char* what) -> const std::string& {
    if (config.operands().size() < 2) input_error("inspect ", kind, ": expected ", what, "; it is missing");
    return config.operands()[1];
  };
  if (kind == "tokens") {
    if (config.operands().size() > 1)
      input_error("inspect tokens: unexpected argument '", config.operands()[1], "'; the texts come with --in");
    const std::string &tokenizer = config.required("tokenizer"), &in = config.required("in"),
                      &out = output(config, "{\"ids\":[");
    config.refuse_unread("on tokens");
    inspect_tokens(tokenizer, in, out);
    return Exit::done;
  }
  if (kind == "reward") {
    if (config.operands().size() > 1)
      input_error("inspect reward: unexpected argument '", config.operands()[1], "'; the cases come with --in");
    const std::string &in = config.required("in"), &out = output(config, "\"reward\"");
    config.refuse_unread("on reward");
    const rl::RewardCounts counts = rl::reward_lines(in, out);
    std::string text = cat(out, ": ", counts.lines, " rewards\n");
    for (const auto& [reason, n] : counts.raised_of)
      text += cat("  0 for ", n, " that the verifier gave up: ", reason, "\n");
    print(text);
    if (const std::string said = rl::said_of_unknown_types(counts.types); !said.empty()) tell(said);
    return Exit::done;
  }
  if (kind == "image") {
    const ProcessorConfig images = processor_limits(config);
    const std::string& out = output(config, "\"pixel_values\"");
    config.refuse_unread("on a picture");
    inspect_image(file("a picture"), images, out);
    return Exit::done;
  }
  if (kind == "parquet" || kind == "webdataset") {
    const std::string& out = output(config, "{\"");
    config.refuse_unread(cat("on ", kind));
    const std::string& path = file(kind == "parquet" ? "a Parquet file" : "a shard or a directory of shards");
    kind == "parquet" ? inspect_parquet(path, out) : inspect_webdataset(path, out);
    return Exit::done;
  }
  config.refuse_unread(cat("on ", kind));
  if (kind == "checkpoint") {
    const CheckpointReport report = inspect_checkpoint(file("a model directory"));
    print(report.text());
    return report.problems.empty() ? Exit::done : Exit::answer_is_no;
  }
  const std::string& path = file("an eval.json, or the results of public tasks");
  const Json eval = Json::read(path);
  try {
    print(eval.is_object() && eval.find("results") ? score_text(eval) : evaluation_text(eval));
  } catch (const Error& e) { input_error(path, ": not what eval writes: ", e.what()); }
  const Json* same = eval.find("same_as_expected");
  return !same || same->as_bool() ? Exit::done : Exit::answer_is_no;
}

}  // namespace ov::cli
