// The command line of a run that is small and makes its own model: text, in the mesh's shapes.
#pragma once
#include <string>

#include "base/config.h"

namespace ov::test {

// For `run`, or behind launch's "--". more: further keys.
inline Strings text_run(const std::string& corpus, const std::string& out, int micro_batches, int steps,
                        const Strings& more = {}) {
  Strings all = {"pretrain",
                 "--what",
                 "text",
                 "--config",
                 "configs/model/mesh.json",
                 "--tokenizer",
                 "data/tokenizer",
                 "--text",
                 corpus,
                 "--train.micro_batches",
                 std::to_string(micro_batches),
                 "--steps",
                 std::to_string(steps),
                 "--out",
                 out};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

// The same in ranks of this machine.
inline Strings launched_text_run(int ranks, const Strings& run) {
  Strings all = {"launch", "-n", std::to_string(ranks), "--"};
  all.insert(all.end(), run.begin(), run.end());
  return all;
}

}  // namespace ov::test
