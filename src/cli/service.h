// What `batch` and `serve` have in common: a model, and how its requests are read.
#pragma once
#include "cli/verbs.h"
#include "generate/generate.h"
#include "serve/api.h"
#include "train/stages/model_directory.h"

namespace ov::cli {

struct ServedModel {
  explicit ServedModel(const Config& config)
      : directory(config.required("model.dir")),
        files(open_model_files(directory, load_options(config))),
        processor(files.processor.with_limits(picture_options(config))),
        stop(read_stop_ids(directory, processor.stop_ids(), files.config.text.vocabulary)),
        model(load_model(files.config, directory, load_options(config))),
        service{.config = files.config,
                .processor = processor,
                .stop = stop,
                .otherwise = read_sampling(directory),
                .name = config.required("serve.name"),
                .max_tokens = config.integer("serve.max_tokens"),
                .max_images = config.integer("serve.max_images"),
                .media = {.media_path = config.text("serve.media_path"),
                          .remote = config.flag("serve.allow_remote_images"),
                          .max_pixels = config.integer("serve.max_picture_pixels"),
                          .max_request_pixels = config.integer("serve.max_request_pixels")}} {}

  std::string directory;
  ModelFiles files;
  Processor processor;
  std::vector<std::int64_t> stop;
  std::unique_ptr<Onevision> model;
  serve::Service service;
};

}  // namespace ov::cli
