// Held-out questions, and the file that says how each category is scored.
//
// A directory of questions is what data/synth/write.h puts under test/:
//   *.jsonl                 {"id", "image", "category", "template", "question", "answer", "scorer"}, one a line; images
//                           are relative to the directory; "scorer" may be absent
//   commonest_answers.json  {template: {"answer", ...}}: the commonest answer of each template's training questions,
//                           where they are known: what a model that sees nothing could say
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "data/reject.h"
#include "eval/scorers.h"

namespace ov {

// {"categories": {NAME: {"scorer": S, "templates": {TEMPLATE: S}}}, "grey": 0..255}; see configs/demo/eval.json.
struct EvalTasks {
  struct Category {
    std::string name;
    const Scorer* scorer = nullptr;
    std::map<std::string, const Scorer*> templates = {};  // those that are scored otherwise
  };
  std::vector<Category> categories;  // in file order
  int grey = 156;                    // of the constant picture that the blind model is shown
  std::string path;

  // Throws input_error that names file and place: an unknown scorer or key, no categories, a value out of range.
  static EvalTasks read(const std::string& path);
};

struct Question {
  std::string id, image, category, from_template, question, answer;  // image: a path, ready to open
  const Scorer* scorer = nullptr;
};

struct Questions {
  std::vector<Question> all;                     // by category in the tasks' order, within it in file order
  std::map<std::string, std::string> commonest;  // by template
};

// At most `limit` questions of each category (0: all). Questions that cannot be asked are handed to `rejected`, which
// decides whether to go on: a line that is not JSON or lacks a key (malformed_record), an empty question (empty_text),
// an answer that its scorer cannot take (no_answer), no such picture (image_missing), an id that came before
// (duplicate_key).
// Throws input_error: no such directory, a category that the tasks do not list, one that no question belongs to, a
// question whose own scorer is another than the tasks'.
Questions read_questions(const std::string& directory, const EvalTasks& tasks, std::int64_t limit,
                         const std::function<void(const Rejected&)>& rejected);

}  // namespace ov
