// What `plan` says of keys that were written for other verbs, and of what nobody wrote.
#pragma once
#include "base/config.h"

namespace ov::cli {

// text.vocabulary, or where it is 0 the tokenizer's; input_error where there is none, or where it has more tokens.
std::int64_t planned_vocabulary(const Config&, std::int64_t described);

// input_error where the description is of a CLIP model, which is planned with --what clip alone.
void refuse_clip(const Config&);

// To stderr: which part is planned as the keys' defaults have it, because nobody describes it.
void tell_defaults(const Config&);

// To stderr: keys of files that say what a micro-batch of training holds, such as train.micro_batch_samples; plan does
// not use them. `own`: plan's keys for this, separated by blanks; who gave one has said how large the micro-batch is.
void tell_unused(const Config&, const std::string& own);

}  // namespace ov::cli
