// A model's directory is opened here: config.json, tokenizer and image processor, compared with each other before any
// weight is read.
#pragma once
#include <string>
#include <vector>

#include "data/sample/processor.h"
#include "model/files/hf_directory.h"

namespace ov {

struct ModelFiles {
  ModelConfig config;
  Processor processor;
};

// Throws input_error: those of its files, and the first of directory_faults.
ModelFiles open_model_files(const std::string& directory, const LoadOptions& options = {});

// One line for each number that two files of the directory state differently: sizes of patches and tokens, the ids that
// stand for pictures, more tokens than the embedding has rows.
std::vector<std::string> directory_faults(const std::string& directory, const ModelConfig& config,
                                          const Processor& processor);

}  // namespace ov
