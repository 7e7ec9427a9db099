// Whether a text may take the place of another and leave every answer right: what rules can tell, without a model.
//
//   numbers     the same digits, whatever their order
//   verbatim    what stands in quotes, code, formulas, addresses; lines and marks of options, "B." and "(B)"
//   names       words with a capital letter inside of a sentence; of a translation, those of capitals alone
//   negation    "not" and its like in both or in neither (not asked of a translation)
//   leak        a question holds no answer that it did not hold before
//   answers     a translated yes is a yes; a letter, a number, a box are as they were
//   length      in words, a Chinese character being one
#pragma once
#include <string>
#include <vector>

#include "instruct/record.h"

namespace ov::instruct {

struct WordBounds {
  double shortest = 0.3, longest = 3;  // times the words before
  std::int64_t slack = 8;              // and so many more or fewer
};

// Why not, as a word that is counted, and what was found; "" when it may. `from` and `to`: languages, which are the
// same unless `after` is a translation.
Note against_question(const std::string& before, const std::string& after, const std::vector<std::string>& answers,
                      const std::string& from, const std::string& to, const WordBounds& bounds);
Note against_answer(const std::string& before, const std::string& after, const std::string& from, const std::string& to,
                    const WordBounds& bounds);

enum class YesNo { neither, yes, no };
YesNo yes_or_no(const std::string& answer);  // of an answer that is nothing else, in either language

}  // namespace ov::instruct
