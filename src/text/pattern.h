// Patterns in the notation and with the meaning of Python's `re`, as far as the verifiers use it: the reference is
// written in them, and its quirks are theirs (which of several matches is taken, what is greedy, what $ accepts).
//
//   a . [a-z] [^$] \d \w \s \S \b ^ $   ab|cd   (..) (?:..) (?P<name>..) (?i:..)   (?=..) (?!..) (?<=c) (?<!c)
//   * + ? {m,n} and their lazy forms.   Looking back goes over one character.
//
// A program of small instructions, run with a stack of alternatives on the heap: deep texts cannot overflow the stack.
#pragma once
#include <map>
#include <optional>
#include <stdexcept>

#include "text/python.h"

namespace ov::python {

struct Match {
  std::size_t begin = 0, end = 0;
  const std::map<std::string, int>* names = nullptr;
  std::vector<std::optional<View>> groups = {};  // 0 is the whole match
  // What a named group took; empty when it took nothing or does not exist.
  View operator[](const std::string& name) const {
    const auto it = names->find(name);
    return it == names->end() ? View() : groups[static_cast<std::size_t>(it->second)].value_or(View());
  }
};

// More steps than a match may take: the reference's clock stops such texts too.
struct PatternTookTooLong : std::runtime_error {
  using runtime_error::runtime_error;
};

class Pattern {
 public:
  explicit Pattern(std::string_view pattern, bool dot_all = false, bool ignore_case = false);

  std::optional<Match> search(View text, std::size_t from = 0) const;
  std::vector<Match> all(View text) const;  // re.finditer: one after the other, without overlap
  // re.sub; \1 to \9 in `with` are groups.
  Text replace(View text, std::string_view with) const;
  template <class F>
  Text replace_each(View text, F&& with) const {
    Text out;
    std::size_t at = 0;
    for (const Match& m : all(text)) {
      out += text.substr(at, m.begin - at);
      out += with(m);
      at = m.end;
    }
    return out += text.substr(at);
  }

 private:
  enum class Op { set, any, split, jump, save, begin, end, word_edge, look, accept };
  struct Set {
    bool negated = false;
    std::vector<std::pair<char32_t, char32_t>> ranges = {};
    std::string classes = {};  // of d w s D W S
    bool has(char32_t c) const;
  };
  struct Instruction {
    Op op;
    int a = 0, b = 0;  // split: offsets, the preferred first; jump: offset; save: slot; look: program, 1 back + 2 not
    Set set = {};
  };
  using Program = std::vector<Instruction>;
  struct Compiler;
  bool run(const Program& program, View text, std::size_t at, std::vector<std::size_t>& slots,
           std::int64_t& steps) const;

  Program program_;
  std::vector<Program> looks_;
  std::map<std::string, int> names_;
  int groups_ = 1;
};

}  // namespace ov::python
