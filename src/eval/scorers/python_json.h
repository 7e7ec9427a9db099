// What Python's json.loads makes of a model's reply. It is not base/json.h: NaN and Infinity are numbers, the last of
// equal keys counts in the place of the first, an integer may have any length, half a surrogate pair is a character.
#pragma once
#include "text/python.h"

namespace ov::public_tasks {

struct PythonJson {
  enum class Kind { null, number, string, list, dict };
  Kind kind = Kind::null;
  double number = 0;       // true and false too: float(True) is 1
  bool too_large = false;  // an integer that float() refuses
  python::Text string;
  std::vector<PythonJson> items;
  std::vector<std::pair<python::Text, PythonJson>> members;

  const PythonJson* find(python::View key) const;
  static std::optional<PythonJson> parse(python::View text);  // no value where json.loads raises
};

}  // namespace ov::public_tasks
