// One function a command. Each fills the library's options from the configuration, calls the library, and prints the
// answer; stdout carries nothing else. They throw; main.cpp turns that into exit codes.
#pragma once
#include <string>

#include "base/config.h"
#include "base/error.h"
#include "data/sample/processor.h"
#include "model/files/hf_directory.h"
#include "nn/init.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace ov::cli {

Exit synth(const Config&);
Exit tokenizer(const Config&);
Exit pretrain(const Config&);
Exit merge(const Config&);
Exit pack(const Config&);
Exit train(const Config&);
Exit generate(const Config&);
Exit recall(const Config&);
Exit eval(const Config&);
Exit report(const Config&);
Exit inspect(const Config&);
Exit trace(const Config&);
Exit diff(const Config&);
Exit plan(const Config&);
Exit bench(const Config&);
Exit help(const Config&);

// Keys that several commands share.
void use_threads(const Config&);                    // threads
PixelLimits pixel_limits(const Config&);            // data.min_pixels, data.max_pixels
LoadOptions load_options(const Config&);            // numerics.*
ModelConfig described_model(const Config&);         // vision.*, text.*
InitOptions init_options(const Config&);            // init.*
OptimizerOptions optimizer_options(const Config&);  // optimizer.* without lr, min_lr, lr_scale
Schedule schedule_options(const Config&);           // of train.steps
Dtype dtype_named(const std::string& name);         // "f32", "f64"

// To stdout, to the last byte: machine_error when it cannot be written.
void print(const std::string& text);

}  // namespace ov::cli
