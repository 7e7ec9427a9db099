#include "eval/recall.h"

#include <cstdio>

#include "cli/verbs.h"
#include "generate/generate.h"

namespace ov::cli {

Exit recall(const Config& config) {
  use_threads(config);
  const std::string& directory = config.required("model.dir");
  const ConversationFile file(config.required("data.json"), config.text("data.image_dir"));
  const Processor processor = Processor::read(directory);
  const auto model = load_model(directory, load_options(config));
  std::int64_t asked = 0, right = 0;
  ov::recall(*model, processor, file,
             {.limits = pixel_limits(config),
              .max_new_tokens = config.integer("generate.max_new_tokens"),
              .stop = read_stop_ids(directory)},
             [&](const Recalled& r) {
               ++asked;
               right += r.right;
               const std::string picture = r.image.substr(r.image.rfind('/') + 1);
               char line[512];
               std::snprintf(line, sizeof line, "%-5s %-14s %-42s taught: %-14s answered: %s\n",
                             r.right ? "right" : "WRONG", picture.c_str(), r.question.c_str(), r.taught.c_str(),
                             r.answer.c_str());
               print(line);
             });
  print(cat(right, " of ", asked, " right\n"));
  return right == asked ? Exit::done : Exit::answer_is_no;
}

}  // namespace ov::cli
