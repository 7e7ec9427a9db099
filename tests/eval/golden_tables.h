// What the golden scorers' tests share: comparing values, and the tables that have a shape of their own.
#pragma once
#include <string>

#include "eval/scorers/task.h"
#include "tests/check.h"

namespace ov::test {

// Values of their files: numbers by value, whatever their type; lists of an open question's answers in any order.
inline bool same(const Json& ours, const Json& theirs) {
  if (ours.is_number() && theirs.is_number()) return ours.as_double() == theirs.as_double();
  if (ours.kind() != theirs.kind()) return false;
  if (ours.is_array()) {
    if (ours.size() != theirs.size()) return false;
    for (std::size_t i = 0; i < ours.size(); ++i)
      if (!same(ours[i], theirs[i])) return false;
    return true;
  }
  if (ours.is_object()) {
    for (const auto& [key, value] : theirs.members()) {
      const Json* own = ours.find(key);
      if (!own || !same(*own, value)) return false;
    }
    return true;
  }
  return ours.dump() == theirs.dump();
}

struct Count {
  std::size_t compared = 0, wrong = 0;
};

inline void compare(Count& count, const std::string& file, const Json& line, const std::string& key, const Json* ours,
                    const Json& theirs) {
  ++count.compared;
  if (ours && same(*ours, theirs)) return;
  ++count.wrong;
  MESSAGE(file, ": ", key, ": expected ", theirs.shown(), ", found ", ours ? ours->shown() : "nothing", " in ",
          line.shown(300));
}

// Checks the table at "file/name"; false when it is none of these tables.
bool check_table(Count& count, const std::string& place, const Json& table, const Json& golden,
                 const public_tasks::Lines& lines);

}  // namespace ov::test
