// What every step took in and gave out, and why. The counts of parts add up to the counts of the whole.
//
//   in = out + Σ rejected           asserted where counts are joined
//
// The audit log is JSON lines, one for each rejected record, and one for each change that a step has something to say
// about: {"id", "step", "rejected" or "changed": a word, "message"}.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data/first_reasons.h"
#include "instruct/record.h"

namespace ov::instruct {

class Audit {
 public:
  static constexpr std::size_t examples = 3;  // of each word
  explicit Audit(const std::vector<std::string>& steps);

  // Each counts and adds the line that the log gets, if it gets one.
  void in(std::size_t step) { ++steps_[step].in; }
  void out(std::size_t step) { ++steps_[step].out; }
  void rejected(std::size_t step, const std::string& id, const Refused& why, std::string* log);
  void changed(std::size_t step, const std::string& id, const Note& note, std::string* log);

  void add(const Json& part, const std::string& where);  // json() of a part; input_error that names the damage
  // [{"step", "in", "out", "rejected": {word: {"n", "examples": [{"id", "message"}]}}, "changed": {...}}]. Throws
  // machine_error when in is not out and rejected.
  Json json() const;
  std::int64_t left() const { return steps_.back().out; }
  std::int64_t entered(std::size_t step) const { return steps_[step].in; }
  std::int64_t passed(std::size_t step) const { return steps_[step].out; }
  FirstReasons refused() const;  // step by step, "safety: email"
  std::string text() const;      // a table for a terminal

 private:
  struct Count {
    std::int64_t n = 0;
    Json examples = Json::array();
  };
  struct Step {
    std::string name;
    std::int64_t in = 0, out = 0;
    std::map<std::string, Count> rejected, changed;
  };
  std::vector<Step> steps_;
};

}  // namespace ov::instruct
