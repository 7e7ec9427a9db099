// The loop that every training run shares: goes on from the newest whole checkpoint in `out`, if there is one, to the
// last step; writes out/run.jsonl, TensorBoard events and out/checkpoints/ on the way and shows its progress.
//
// A resumed run is the same run: model, data and every key but those in `may_change` must be as they were. SIGINT,
// SIGTERM and SIGHUP, whichever rank gets them, end it after the step under way, saved.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/io/directory_lock.h"
#include "train/checkpoint.h"

namespace ov {

// How a run goes, whatever it trains: what the `train` and `pretrain` verbs have in common.
struct RunOptions {
  std::string out;                      // run.jsonl, rejects.jsonl, checkpoints/ and the result
  std::int64_t save_every = 0;          // steps; 0: at the end only
  std::int64_t keep = 2;                // checkpoints
  std::int64_t log_every = 1;           // steps
  Dtype export_dtype = Dtype::f32;      // of the result: write_model (model/files/hf_directory.h)
  std::string license = {};             // of the result: CardFacts (model/files/model_card.h)
  std::string from = {};                // out of another run, whose weights a new one begins with; "": its own
  bool resume = true;                   // from the newest whole checkpoint in out, if there is one
  Json config;                          // the whole configuration, for the log and the checkpoints
  std::vector<std::string> may_change;  // keys of it that may have another value when the run is resumed
  std::vector<std::string> defaults;    // keys of it that nobody gave: a run that did not know them is the same run
  Device* device = &cpu();              // where the model is trained
  Communicator* ranks = &one_rank();    // that share the run; rank 0 alone writes
  int ranks_here = 1;                   // of them, on this machine
  int cores_here = 0;                   // that those keep busy; 0: as many as this one has threads
  StepTrace* trace = nullptr;           // whose ranks() they are, if one step is to be traced

  bool writes() const { return ranks->rank() == 0; }
  std::string rejects_path() const { return writes() ? out + "/rejects.jsonl" : ""; }
};

// `out` while a run works in it: made, locked, and known to take the result. Rank 0 does that for all.
class RunDirectory {
 public:
  // `result`: the directory in out that `command` writes at the end. input_error when another process works there, when
  // the result could not be written (base/io/durable_directory.h), or when it would replace one of `sources`.
  RunDirectory(const RunOptions& options, const std::string& result, const std::string& command,
               const std::vector<std::string>& sources);
  const std::string& result() const { return result_; }

 private:
  std::string result_;
  std::unique_ptr<DirectoryLock> lock_;
};

// What a kind of run says about itself.
struct RunFacts {
  std::string name = "train";     // before the progress bar
  Json counts = Json::object();   // for the log's first line and the checkpoints
  Json sources = Json::object();  // fingerprints of what it starts from, beside the model and the data
};

// The signal that asks this run to stop, whichever rank it came to (base/stop_signals.h); the same answer on all ranks,
// which call it together. 0: none.
int stop_asked(Communicator& ranks);

// `finish`, called after the last step, exports what was trained and returns the members of the log's last line.
// Throws input_error when there is a checkpoint and options.resume is false, when it is of another run, or when none is
// whole; an Error that ends the process with 129, 130 or 143 when a signal stopped the run.
StepReport run_to_end(StepEngine& engine, const RunOptions& options, const RunFacts& facts,
                      const std::function<Json()>& finish);

}  // namespace ov
