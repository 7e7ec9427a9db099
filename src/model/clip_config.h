// What a CLIP model is: the shapes and constants of config.json, as Transformers' CLIPConfig has them.
#pragma once
#include <string>

#include "base/json.h"
#include "kernels/gelu.h"

namespace ov {

// One of the two transformers.
struct ClipTowerConfig {
  std::int64_t layers = 12, hidden = 768, heads = 12, intermediate = 3072;
  double norm_eps = 1e-5;
  kernels::GeluForm act = kernels::GeluForm::quick;
};

struct ClipConfig {
  ClipTowerConfig vision, text{.hidden = 512, .heads = 8, .intermediate = 2048};
  std::int64_t image = 224, patch = 32, channels = 3;  // pixels a side of a picture and of a patch; colours
  std::int64_t vocabulary = 49408, max_positions = 77;
  std::int64_t eos = 49407;       // a text is read at its first eos; 2: at its largest id (pooled_token)
  std::int64_t projection = 512;  // width of what the towers are compared by
  double logit_scale = 2.6592;    // what training starts from: log(1 / 0.07)
  Json source;                    // the config.json it came from: json() repeats the keys that mean nothing here

  std::int64_t side() const { return image / patch; }  // patches; pixels beyond them are not looked at
  std::int64_t patch_values() const { return channels * patch * patch; }

  // `where` names the file in errors. A key that is absent has the class's default. text_config_dict and
  // vision_config_dict of older files stand in place of text_config and vision_config, as Transformers takes them.
  static ClipConfig read(const Json& json, const std::string& where);
  Json json() const;                           // as Transformers writes it
  void check(const std::string& where) const;  // input_error when a number is out of range or does not fit the others
};

}  // namespace ov
