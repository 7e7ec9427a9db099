// Public tasks put to a model through the OpenAI API: their documents become requests as lmms-eval sends them, replies
// are scored, and both go into the two kinds of files that lmms-eval writes with --log_samples.
//
//   OUT/<model>/<date>_results.json           eval/score_file.h
//   OUT/<model>/<date>_samples_<task>.jsonl   {"doc_id", "input", "target", "resps", "filtered_resps", "token_counts",
//                                             "doc", and what scoring adds}, one a document
//   OUT/<model>/<task>.unfinished/            answers, as they come (eval/answer_log.h): a run that was cut is gone on
//                                             with by the same command. Kept while a request has no answer
//
// Which tasks: their public names; or a file that describes tasks on data of one's own,
//
//   {"tasks": {NAME: {"data", "split", "scorer", "prompt", "interleave", "max_tokens"}}}
//
// of which "scorer" is the public task that scores, "prompt" the one that asks so (the scorer's, if missing), and
// "interleave" puts pictures where a question says <image>. A document's "system" is a message of its own.
#pragma once
#include <functional>
#include <string>

#include "eval/prompts.h"
#include "eval/scorers/task.h"

namespace ov {

// Answers `n` bodies, several at once: `take` gets the API's answer to each, or {"error": {"message"}}, in any order
// but never two at a time; `body` may be called from any thread.
using Asker = std::function<void(std::size_t n, const std::function<Json(std::size_t)>& body,
                                 const std::function<void(std::size_t, const Json&)>& take)>;

struct AskOptions {
  std::string tasks;  // names with commas between, or a file
  std::string data;   // a file or directory; of several tasks a directory with one of each name; "": the file says it
  std::string split;  // of a directory with several
  std::string out, model = "default";
  std::int64_t limit = 0;  // documents of each task; 0: all
  public_tasks::Compat compat = public_tasks::Compat::lmms;
  std::string compare = {};  // lines of another run of the same task
  std::string from = {};     // who answers: an address, or a model's directory and hash
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
};

// What the results file holds, of which "failed" counts requests without an answer, "resumed" those that a run before
// had paid for. Throws input_error: tasks or data that are not there, a document without what its task asks for, and
// without a picture where lmms-eval would raise; what was answered till then is kept.
Json ask_tasks(const Asker& asker, const AskOptions& options);

// The body of one document. `picture`: base64 of a picture's file.
Json request_body(const public_tasks::Prompt& prompt, const Json& doc, const std::string& model,
                  const std::function<std::string(const Json&)>& picture);

}  // namespace ov
