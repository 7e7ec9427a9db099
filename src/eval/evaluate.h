// A model on held-out questions, beside two baselines that see nothing:
//
//   commonest   the commonest training answer of the question's template
//   grey        the same trained model, shown one constant grey of the picture's size
//
// Every question is asked by itself, its ids those of training up to the answer (text/conversation.h), decoded
// greedily. Each picture is encoded once. Questions run side by side in one engine: the same bits as one by one, so
// eval.json and predictions.jsonl are the same bytes for any number of threads and any batch.
//
//   eval.json          {"categories": {NAME: {"n", "accuracy", "stderr", "blind_accuracy", "blind_commonest",
//                       "blind_grey"}}, "mean", "mean_stderr", "templates": {NAME: {"category", "n", "accuracy",
//                       "stderr"}}, "rejects", "model_sha256", "expected_sha256", "same_as_expected"}; blind_accuracy
//                       is the larger of the two baselines, mean that of the categories' accuracies, stderr null for
//                       one question; the last two are there when a value was expected
//   predictions.jsonl  {"id", "category", "template", "image", "question", "answer", "prediction", "grey_prediction",
//                       "scorer", "score"}, in the order of the questions
#pragma once
#include <functional>
#include <string>

#include "data/sample/processor.h"
#include "eval/questions.h"
#include "generate/engine.h"

namespace ov {

struct EvalOptions {
  std::string data;   // directory of questions
  std::string tasks;  // file of categories and scorers
  PixelLimits limits = {};
  std::int64_t max_new_tokens = 128;
  std::vector<std::int64_t> stop = {};  // read_stop_ids(model directory)
  std::int64_t limit = 0;               // questions of each category; 0: all
  std::int64_t max_rejects = 0;         // questions that may be passed over for faults
  EngineOptions engine = {};
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
};

struct Answered {
  Question question;
  std::string prediction, grey_prediction, commonest;
  double score = 0, grey_score = 0, commonest_score = 0;
};

struct Evaluation {
  std::vector<Answered> answers;
  RejectCounts rejects;

  Json json() const;  // of eval.json, what the answers say; categories in their order of appearance
};

// Throws input_error: those of read_questions, and the first reject beyond max_rejects.
Evaluation evaluate(const Onevision& model, const Processor& processor, const EvalOptions& options);

// SHA-256 of the model's weight files, model*.safetensors in order of their names: of model.safetensors itself when
// that is the only one. Throws input_error when there is none.
std::string model_sha256(const std::string& model_dir);
// "model_sha256" of a JSON file: 64 hex digits, or "" where the file says null. Throws input_error on anything else.
std::string read_expected_sha256(const std::string& path);

// eval.json and predictions.jsonl into `out`, which is made if need be. `expected`: "" when there is nothing to
// compare with. Returns what eval.json holds.
Json write_evaluation(const Evaluation& evaluation, const std::string& model_sha256, const std::string& expected,
                      const std::string& out);

// For a terminal: the categories as a table, what was passed over, and the model's hash, beside the expected one if
// there was one. Throws input_error for anything that is not eval.json.
std::string evaluation_text(const Json& eval);

}  // namespace ov
