#include "audit/inspect.h"
#include "base/text.h"
#include "cli/verbs.h"
#include "model/files/convert.h"

namespace ov::cli {

Exit checkpoint(const Config& config) {
  const auto& given = config.operands();
  const std::string& what = given[0];
  const auto directories = [&](std::size_t n) {
    if (given.size() != n + 1)
      input_error("checkpoint ", what, ": expected ", n, n == 1 ? " model directory" : " model directories", ", got ",
                  given.size() - 1);
  };
  if (what == "check") {
    directories(1);
    config.refuse_unread("on check");
    const CheckpointReport report = inspect_checkpoint(given[1]);
    print(report.text());
    return report.problems.empty() ? Exit::done : Exit::answer_is_no;
  }
  if (what == "diff") {
    directories(2);
    config.refuse_unread("on diff");
    std::string report;
    const bool same = diff_weights(given[1], given[2], report);
    print(report);
    return same ? Exit::done : Exit::answer_is_no;
  }
  if (what == "convert") {
    directories(1);
    ConvertOptions options{.dtype = {},
                           .max_shard_bytes = static_cast<std::int64_t>(config.number("convert.shard_gb") * 1e9),
                           .untied_head = config.flag("export.untied_head"),
                           .adapter = config.text("model.adapter")};
    if (const std::string& type = config.text("convert.dtype"); type != "stored")
      options.dtype = type == "bf16" ? Dtype::bf16 : Dtype::f32;
    convert_model(given[1], output_directory(config, "checkpoint"), options);
    return Exit::done;
  }
  input_error("checkpoint: expected check, convert or diff, got '", what, "'",
              did_you_mean(what, {"check", "convert", "diff"}));
}

}  // namespace ov::cli
