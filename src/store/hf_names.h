// The spellings of parameter names. In memory a parameter has the name transformers gives it in memory (model.visual.*,
// model.language_model.*, lm_head.weight); released checkpoints spell it visual.*, model.*, lm_head.weight; the native
// transformers port names the merger's layers linear_fc1 and linear_fc2. All are read, the released one is written:
// transformers (4.53 - 4.57) maps it to its own on load and writes it on save.
#pragma once
#include <string>

#include "tensor/dtype.h"

namespace ov {

inline const std::string head_name = "lm_head.weight", table_name = "model.language_model.embed_tokens.weight";

// The parameter that a checkpoint's tensor holds. Empty: a buffer to ignore (*.inv_freq, computed from the config, and
// the two position_ids of older CLIP files, 0, 1, 2, ...).
// A name of no rule is returned as it is.
std::string name_in_memory(const std::string& on_disk);

std::string name_on_disk(const std::string& in_memory);

// A floating type as config.json calls it: "bfloat16".
const char* torch_name(Dtype dtype);

}  // namespace ov
