// What the engine keeps of an answer, for its own two files.
#pragma once
#include "generate/engine.h"

namespace ov {

struct Engine::Answer {
  std::uint64_t number;
  Request request;
  std::vector<int64_t> ids = request.prompt;  // and the answer so far
  std::size_t prompt = ids.size();
  int64_t run = 0;  // of ids: their keys are there
  bool prepared = false;
  std::vector<Seen> seen = {};
  std::vector<std::pair<int64_t, int64_t>> source =
      {};                          // by token of the prompt: which of `seen`, and its row; -1: text
  std::vector<int64_t> keys = {};  // what stands in the pages that may be shared
  std::vector<int64_t> tail = {};  // and behind them, up to the last token, which always runs
  PageTable::Lease lease = {};
  bool leased = false;
  Finish finish = {};
  Clock::time_point arrived = Clock::now(), admitted = arrived, read = arrived;

  bool writes() const { return ids.size() > prompt; }
};

// Logits of one row of a pass, and what they became.
struct Engine::Row {
  Answer* answer;
  int64_t at;          // the row of the pass
  int64_t token;       // of the answer's ids that this row was
  int64_t watch = -1;  // of the pass, if what it attends to is wanted
  Token next = {};     // sampled, or told of the prompt
  std::exception_ptr error = nullptr;
};

}  // namespace ov
