#include "eval/recall.h"

#include <iomanip>

#include "cli/verbs.h"
#include "generate/generate.h"
#include "train/stages/model_directory.h"

namespace ov::cli {

Exit recall(const Config& config) {
  use_threads(config);
  const std::string& directory = config.required("model.dir");
  const ConversationFile file(config.required("data.json"), config.text("data.image_dir"));
  const ModelFiles files = open_model_files(directory, load_options(config));
  const auto stop = read_stop_ids(directory, files.processor.stop_ids(), files.config.text.vocabulary);
  const auto model = load_model(files.config, directory, load_options(config));
  std::int64_t asked = 0, right = 0;
  ov::recall(
      *model, files.processor, file,
      {.limits = picture_options(config), .max_new_tokens = config.integer("generate.max_new_tokens"), .stop = stop},
      [&](const Recalled& r) {
        ++asked;
        right += r.right;
        const std::string picture = r.image.substr(r.image.rfind('/') + 1);
        print(cat(std::left, std::setw(5), r.right ? "right" : "WRONG", " ", std::setw(14), picture, " ", std::setw(42),
                  r.question, " taught: ", std::setw(14), r.taught, " answered: ", r.answer, "\n"));
      });
  print(cat(right, " of ", asked, " right\n"));
  return right == asked ? Exit::done : Exit::answer_is_no;
}

}  // namespace ov::cli
