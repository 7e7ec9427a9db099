#include "serve/batch.h"

#include <filesystem>

#include "base/hash.h"
#include "base/io/mapped_file.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "cli/service.h"
#include "train/checksums.h"
#include "train/stages/job.h"

namespace ov::cli {
namespace {

// All that answers depend on beside their lines.
std::string asked_of(const ServedModel& served, const Config& config) {
  std::string all = cat(model_fingerprint(served.files.config), processor_fingerprint(served.processor));
  for (const char* name :
       {"chat_template.jinja", "chat_template.json", "tokenizer_config.json", "generation_config.json"})
    if (const std::string path = served.directory + "/" + name; path_exists(path)) all += sha256_file(path);
  const Json keys = config.dump();
  for (const auto& [section, values] : keys.members())
    if (section != "in" && section != "out" && section != "threads" && section != "batch" && section != "model")
      all += cat(section, values.dump());
  return cat(hex16(weights_checksum(served.model->parameters())), " ", sha256(all).substr(0, 16));
}

}  // namespace

Exit batch(const Config& config) {
  use_threads(config);
  const std::string& in = config.required("in");
  const std::string& out = output(config, "");
  ServedModel served(config);
  // The input is the user's own: pictures beside it need no key.
  const std::filesystem::path beside = std::filesystem::path(in).parent_path();
  if (served.service.media.media_path.empty()) served.service.media.media_path = beside.empty() ? "." : beside.string();
  served.service.media.own_files = true;
  Engine engine(*served.model, engine_options(config));
  std::optional<Progress> bar;
  serve::BatchOptions options{.in = in, .out = out, .fail_fast = config.flag("batch.fail_fast")};
  options.model = asked_of(served, config);
  options.progress = [&](std::int64_t done, std::int64_t total) {
    if (!bar) bar.emplace("batch", total, "line", done);
    bar->update(done);
  };
  const serve::BatchCounts counts = run_batch(served.service, engine, options);
  if (bar) bar->finish();
  const std::int64_t failed = counts.failed + counts.failed_before;
  print(cat(counts.answered, " answered, ", counts.failed, " with errors",
            counts.before ? cat(", ", counts.before, " were there") : "",
            counts.failed_before ? cat(", ", counts.failed_before, " of them with an error") : "",
            failed ? cat("; mend their lines and name another output, or remove ", out, " to ask all again") : "",
            "\n"));
  return failed ? Exit::answer_is_no : Exit::done;
}

}  // namespace ov::cli
