// The reward of a completion: the verifier of its answer type, and half a point for a box in the thinking of spatial
// questions. No length term, no format term, no KL.
//
//   reward = accuracy(answer_type; completion, answer) + 0.5 box_in_think [problem_type is spatial-reasoning]
#pragma once
#include <map>
#include <string>
#include <vector>

#include "rl/verifiers/verifier.h"

namespace ov::rl {

struct Reward {
  double reward = 0, accuracy = 0;
  std::optional<double> box_in_think = {};  // for spatial questions
  std::string extracted = {};
  Json parts = Json::object();
  std::string raised = {};  // why a verifier gave up: the reward is 0
};

// The verifier of a type. One that has none is `any`'s, as in the original. "math-expression" and "bool" are the
// README's spellings of "math-expressions" and "boolean".
Verifier verifier_of(const std::string& answer_type);
std::vector<std::string> answer_types();  // that have one, in the order of the alphabet
// What to tell people of types that have none, and which have one; "" where all of `counts` (of each type, how many)
// have one. A misspelt type is compared as a text, and no other sign shows it.
std::string said_of_unknown_types(const std::map<std::string, std::int64_t>& counts);

// `answer`: a text, a list of texts or null.
Reward reward(const std::string& completion, const Json& answer, const std::string& answer_type,
              const std::string& problem_type = "");

// The same by a verifier. One that throws, whatever it throws, gives 0 and says why in `raised`.
Reward reward_by(Verifier verifier, const std::string& completion, const Json& answer,
                 const std::string& problem_type = "");

// Lines {"completion", "answer", "answer_type", "problem_type"?} in; each line comes out with
// `reward`, `extracted` and what else its verifier says. A line that is not so is an input_error with
// its number, and nothing is written.
struct RewardCounts {
  std::int64_t lines = 0, raised = 0;
  std::map<std::string, std::int64_t> raised_of;  // by reason
  std::map<std::string, std::int64_t> types;      // lines by answer_type
};
RewardCounts reward_lines(const std::string& in, const std::string& out);

}  // namespace ov::rl
