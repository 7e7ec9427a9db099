// Pieces of the mathematical tasks that have reference values of their own.
#pragma once
#include "eval/scorers/task.h"

namespace ov::public_tasks {

Rows mathvista_tasks();
Rows mathvision_tasks();
Rows reasoning_tasks();  // wemath, logicvista and whatever ends in _reasoning; vl_rewardbench

// mathvista: the extracted answer in the form of the gold. No value: Python's None.
std::optional<Text> mathvista_form(Text extraction, const std::vector<Text>& choices, const std::string& question_type,
                                   const std::string& answer_type, const Json& precision);

// mathvision: the answer in a reply, its LaTeX in one spelling; and whether two answers are equal.
Text find_math_answer(View reply);
bool mathvision_equal(View gold, View answer, Compat compat);

// reasoning: the letter a text names, the last \boxed{}, the answer of a reply, and how well formed the reply is.
Text parse_mcq(View text);
Text boxed_answer(View reply);
Text answer_tag(View reply);
double format_reward(View reply);

}  // namespace ov::public_tasks
