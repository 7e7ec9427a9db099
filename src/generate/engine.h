// Many answers at once: requests come and go between passes, each pass runs one token of every answer that is being
// written and a piece of the prompts that wait to be read.
//
// The bits of an answer depend on the weights, its prompt, pictures, options and seed alone: every operation works row
// by row in a fixed order, attention walks a row's own keys in blocks of 64, and random numbers are keyed by the
// answer's seed and the token's own position. What else is in the batch, when it came, how prompts are cut, which
// prefixes are shared and how many threads there are changes nothing.
//
//   submit, cancel, stats   from any thread
//   step, run               from one thread at a time; `token` and `done` are called there, without a lock held
#pragma once
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

#include "generate/pages.h"
#include "generate/sampling.h"
#include "model/onevision.h"

namespace ov {

struct EngineOptions {
  std::int64_t chunk = 512;                          // prompt tokens of one pass, of all prompts together
  std::int64_t max_running = 32;                     // answers that are read or written at once
  std::int64_t max_waiting = 0;                      // beyond them; 0: any number
  std::int64_t cache_bytes = std::int64_t{1} << 30;  // of keys and values
  // Makes the cache at the first pass, as small as what waits then allows, and never too small for one answer.
  // Otherwise it is as large as said from the start.
  bool fitted = true;
  bool share = true;            // prefixes
  bool count_products = false;  // EngineStats::products
};

// A picture: its patches, or the features that encode_images made of them.
struct Picture {
  Tensor pixel_values = {};  // [P, 3 patch²]
  Grid grid = {};
  Var features = {};
  std::string name = {};  // of the content: equal names, equal pictures. "": the engine finds out, or is not to know
};

enum class Ended { stop, length, cancelled, failed };

struct Finish {
  Ended why = Ended::stop;
  std::exception_ptr error = nullptr;  // of what failed
  std::int64_t shared_tokens = 0;      // of the prompt, whose keys were there already
  double wait_s = 0, vision_s = 0;     // till admitted; of that the tower
  double read_s = 0, write_s = 0;      // then till the prompt is read, and till the end
};

struct Request {
  std::vector<std::int64_t> prompt;  // with one placeholder for each merged patch
  std::int64_t written = 0;          // of its last tokens: an answer that was broken off and goes on
  std::vector<Picture> pictures = {};
  Sampling sampling = {};
  std::int64_t max_new_tokens = 128;
  std::vector<std::int64_t> stop = {};  // ids that end the answer; the one that came is told too
  bool prompt_logprobs = false;         // `token` first gets every token of the prompt but the first
  bool attention = false;               // Token::attention: by token of the pictures (generate/attention_map.h)
  std::function<bool(const Token&)> token = {};  // returns whether to go on
  std::function<void(const Finish&)> done = {};  // once, whatever happens
};

struct EngineStats {
  std::int64_t waiting = 0, running = 0;
  std::int64_t pages = 0, used_pages = 0, kept_pages = 0, evicted_pages = 0;
  std::int64_t prompt_tokens = 0, shared_tokens = 0, new_tokens = 0, pictures = 0, passes = 0;
  std::int64_t products = 0;  // multiply-adds, as the operations' costs say (autograd/cost.h); counted when asked for
};

class EngineFull : public Error {
 public:
  using Error::Error;
};

class Engine {
 public:
  Engine(const Onevision& model, const EngineOptions& options);
  ~Engine();

  // Returns a number for cancel(). Throws input_error for what can never be answered: an empty prompt, placeholders
  // that do not match the pictures, ids outside the vocabulary, more tokens than the model has positions or the cache
  // room; EngineFull when too many wait.
  std::uint64_t submit(Request request);
  void cancel(std::uint64_t number);
  bool step();  // one pass; false when there was nothing to do
  void run() {
    while (step()) {}
  }
  bool wait(std::chrono::milliseconds most);  // until there may be something to do
  EngineStats stats() const;

 private:
  struct Answer;
  struct Row;
  struct Seen {
    Var features;
    std::int64_t number;  // of the content, in the keys of pages
  };
  using Clock = std::chrono::steady_clock;

  void end_cancelled();
  void admit();
  bool prepare(Answer& answer);
  Seen look_at(std::span<const Picture> pictures);
  void make_cache();
  std::int64_t readable(Answer& answer, std::int64_t budget);
  bool copy_tail(Answer& answer);
  void pass();
  std::vector<Row> run_model(std::span<const PagePool::Part> parts, std::span<Answer* const> answers);
  bool deliver(Answer& answer, const Row& row, Ended& why, std::exception_ptr& error);
  void end(std::unique_ptr<Answer> answer, Ended why, std::exception_ptr error = nullptr);
  void count();

  const Onevision& model_;
  const EngineOptions options_;
  std::optional<PageTable> table_;
  std::optional<PagePool> pool_;
  std::vector<std::unique_ptr<Answer>> running_;  // in order of arrival
  std::unique_ptr<Answer> next_up_;               // the first that waits, while it finds no room
  EngineStats tally_;

  std::list<std::pair<std::string, Seen>> seen_;  // pictures by their content, the last used first
  std::int64_t seen_bytes_ = 0, next_picture_ = 0;

  mutable std::mutex lock_;
  std::condition_variable arrived_;
  std::deque<std::unique_ptr<Answer>> waiting_;
  std::set<std::uint64_t> cancelled_;
  std::uint64_t next_ = 1;
  EngineStats stats_;  // tally_ after the last pass
};

// input_error unless this many new tokens fit behind the prompt.
void check_prompt(const Onevision& model, const std::vector<std::int64_t>& prompt, std::int64_t max_new_tokens);
// As training does, an answer stops at the first number that is none, and says where it came from.
void check_finite(const Onevision& model, std::span<const double> logits, std::int64_t position);

}  // namespace ov
