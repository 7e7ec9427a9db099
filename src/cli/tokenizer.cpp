#include "base/io/durable_directory.h"
#include "base/io/file.h"
#include "cli/verbs.h"
#include "data/learn_tokenizer.h"

namespace ov::cli {

Exit tokenizer(const Config& config) {
  const std::string& out = output_directory(config, "tokenizer");
  const Tokenizer learnt = learn_tokenizer({.files = config.required_list("data.text"),
                                            .vocabulary = config.integer("bpe.vocabulary"),
                                            .min_count = config.integer("bpe.min_count"),
                                            .added = config.list("bpe.added")});
  make_directories(parent_directory(out));
  DurableDirectory directory(out, "tokenizer");
  learnt.write(directory.path());
  directory.commit();
  return Exit::done;
}

}  // namespace ov::cli
