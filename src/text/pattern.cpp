#include "text/pattern.h"

#include <utf8proc.h>

#include <algorithm>

namespace ov::python {
namespace {

constexpr std::int64_t most_steps = 20'000'000;
constexpr std::size_t unset = View::npos;

[[noreturn]] void bad(View pattern, const char* what) {
  throw std::logic_error("pattern " + utf8(pattern) + ": " + what);
}

}  // namespace

bool Pattern::Set::has(char32_t c) const {
  bool in = false;
  for (const auto& [low, high] : ranges) in = in || (c >= low && c <= high);
  for (const char k : classes)
    in = in || (k == 'd'   ? is_digit(c)
                : k == 'w' ? is_word(c)
                : k == 's' ? is_space(c)
                : k == 'S' ? !is_space(c)
                           : false);
  return in != negated;
}

// Recursive descent; every part is a program that jumps by offsets, so parts are joined by putting them side by side.
struct Pattern::Compiler {
  Pattern& out;
  Text source;
  bool dot_all, ignore_case;
  std::size_t at = 0;

  bool more() const { return at < source.size(); }
  bool take(View s) {
    if (View(source).substr(at, s.size()) != s) return false;
    at += s.size();
    return true;
  }

  static void append(Program& p, const Program& q) { p.insert(p.end(), q.begin(), q.end()); }
  static int size(const Program& p) { return static_cast<int>(p.size()); }

  Program alternatives() {
    Program p = sequence();
    while (take(U"|")) {
      const Program q = sequence();
      p.insert(p.begin(), {Op::split, 1, size(p) + 2});
      p.push_back({Op::jump, size(q) + 1});
      append(p, q);
    }
    return p;
  }

  Program sequence() {
    Program p;
    while (more() && source[at] != U'|' && source[at] != U')') append(p, repeated());
    return p;
  }

  std::optional<int> number() {
    const auto start = at;
    int n = 0;
    for (; more() && source[at] >= U'0' && source[at] <= U'9'; ++at) n = n * 10 + static_cast<int>(source[at] - U'0');
    return at == start ? std::nullopt : std::optional(n);
  }

  Program repeated() {
    const Program one = atom();
    int least = 1, most = 1;  // most -1: without end
    const auto start = at;
    if (take(U"*")) least = 0, most = -1;
    else if (take(U"+")) most = -1;
    else if (take(U"?")) least = 0;
    else if (take(U"{")) {
      const auto m = number();
      const bool range = take(U",");
      const auto n = range ? number() : m;
      if (!take(U"}") || (!m && !n)) return at = start, one;  // a brace that counts nothing is itself
      least = m.value_or(0), most = n.value_or(-1);
    } else return one;
    const bool lazy = take(U"?");
    const auto split = [&](int go, int leave) {
      return lazy ? Instruction{Op::split, leave, go} : Instruction{Op::split, go, leave};
    };
    Program p;
    for (int i = 0; i < least; ++i) append(p, one);
    if (most < 0) {
      p.push_back(split(1, size(one) + 2));
      append(p, one);
      p.push_back({Op::jump, -size(one) - 1});
    }
    for (int i = least; i < most; ++i) {  // x?x?x? with every split leaving to the end
      p.push_back(split(1, (size(one) + 1) * (most - i)));
      append(p, one);
    }
    return p;
  }

  Instruction literal(char32_t c) const {
    Instruction i{Op::set};
    i.set.ranges.push_back({c, c});
    if (ignore_case)
      for (const auto other :
           {utf8proc_tolower(static_cast<utf8proc_int32_t>(c)), utf8proc_toupper(static_cast<utf8proc_int32_t>(c))})
        i.set.ranges.push_back({static_cast<char32_t>(other), static_cast<char32_t>(other)});
    return i;
  }

  static char32_t escaped(char32_t c) { return c == U'n' ? U'\n' : c == U't' ? U'\t' : c == U'r' ? U'\r' : c; }
  static bool is_class(char32_t c) { return c == U'd' || c == U'w' || c == U's' || c == U'S'; }

  Program set() {
    Instruction i{Op::set};
    i.set.negated = take(U"^");
    for (bool first = true; first || source.at(at) != U']'; first = false) {
      char32_t low = source.at(at++);
      if (low == U'\\') {
        low = source.at(at++);
        if (is_class(low)) {
          i.set.classes += static_cast<char>(low);
          continue;
        }
        low = escaped(low);
      }
      char32_t high = low;
      if (source.at(at) == U'-' && source.at(at + 1) != U']') {
        high = source.at(at + 1), at += 2;
        if (high == U'\\') high = escaped(source.at(at++));
      }
      i.set.ranges.push_back({low, high});
    }
    ++at;
    return {i};
  }

  Program group() {
    bool outer_case = ignore_case;
    int slot = 0;
    for (const auto& [start, kind] : {std::pair{U"?<=", 1}, {U"?<!", 3}, {U"?=", 0}, {U"?!", 2}})
      if (take(start)) {
        Program p = alternatives();
        p.push_back({Op::accept});
        if (!take(U")")) bad(source, "unclosed");
        out.looks_.push_back(p);
        return {{Op::look, static_cast<int>(out.looks_.size()) - 1, kind}};
      }
    if (take(U"?i:")) ignore_case = true;
    else if (take(U"?P<")) {
      const auto end = source.find(U'>', at);
      out.names_[utf8(View(source).substr(at, end - at))] = slot = out.groups_++;
      at = end + 1;
    } else if (!take(U"?:")) slot = out.groups_++;
    Program p = alternatives();
    if (!take(U")")) bad(source, "unclosed");
    ignore_case = outer_case;
    if (slot) p.insert(p.begin(), {Op::save, 2 * slot}), p.push_back({Op::save, 2 * slot + 1});
    return p;
  }

  Program atom() {
    const char32_t c = source[at++];
    if (c == U'(') return group();
    if (c == U'[') return set();
    if (c == U'^') return {{Op::begin}};
    if (c == U'$') return {{Op::end}};
    if (c == U'.') return {{Op::any, dot_all}};
    if (c != U'\\') return {literal(c)};
    const char32_t e = source.at(at++);
    if (e == U'b') return {{Op::word_edge}};
    Instruction i{Op::set};
    i.set.classes = is_class(e) ? std::string(1, static_cast<char>(e)) : "";
    return {is_class(e) ? i : literal(escaped(e))};
  }
};

Pattern::Pattern(std::string_view pattern, bool dot_all, bool ignore_case) {
  Compiler c{*this, text(pattern), dot_all, ignore_case};
  program_ = c.alternatives();
  if (c.more()) bad(c.source, "unopened");
  program_.push_back({Op::accept});
}

bool Pattern::run(const Program& program, View text, std::size_t at, std::vector<std::size_t>& slots,
                  std::int64_t& steps) const {
  struct Back {  // an alternative to try, or a slot to restore (slot >= 0)
    std::size_t pc, at;
    int slot;
  };
  std::vector<Back> stack;
  std::size_t pc = 0;
  const auto to = [&](int offset) { return static_cast<std::size_t>(static_cast<std::int64_t>(pc) + offset); };
  for (;;) {
    if (++steps > most_steps)
      throw PatternTookTooLong("a pattern took too many steps on a text of " + std::to_string(text.size()) +
                               " characters");
    const Instruction& i = program[pc];
    bool ok = true;
    switch (i.op) {
      case Op::accept: slots[1] = at; return true;
      case Op::set:
        ok = at < text.size() && i.set.has(text[at]);
        at += ok;
        break;
      case Op::any:
        ok = at < text.size() && (i.a || text[at] != U'\n');
        at += ok;
        break;
      case Op::begin: ok = at == 0; break;
      case Op::end: ok = at == text.size() || (at + 1 == text.size() && text[at] == U'\n'); break;
      case Op::word_edge: ok = (at > 0 && is_word(text[at - 1])) != (at < text.size() && is_word(text[at])); break;
      case Op::look: {
        const bool back = i.b & 1, negated = i.b & 2;
        std::vector<std::size_t> inner(slots.size(), unset);
        bool found = !back || at > 0;
        found = found && run(looks_[static_cast<std::size_t>(i.a)], text, at - back, inner, steps);
        ok = (found && (!back || inner[1] == at)) != negated;
        break;
      }
      case Op::save:
        stack.push_back({slots[static_cast<std::size_t>(i.a)], 0, i.a});
        slots[static_cast<std::size_t>(i.a)] = at;
        break;
      case Op::jump: pc = to(i.a); continue;
      case Op::split:
        stack.push_back({to(i.b), at, -1});
        pc = to(i.a);
        continue;
    }
    if (ok) {
      ++pc;
      continue;
    }
    for (;;) {
      if (stack.empty()) return false;
      const Back b = stack.back();
      stack.pop_back();
      if (b.slot < 0) {
        pc = b.pc, at = b.at;
        break;
      }
      slots[static_cast<std::size_t>(b.slot)] = b.pc;
    }
  }
}

std::optional<Match> Pattern::search(View text, std::size_t from) const {
  std::int64_t steps = 0;
  for (; from <= text.size(); ++from) {
    std::vector<std::size_t> slots(2 * static_cast<std::size_t>(groups_), unset);
    slots[0] = from;
    if (!run(program_, text, from, slots, steps)) continue;
    Match m{from, slots[1], &names_};
    for (std::size_t g = 0; g < slots.size(); g += 2)
      m.groups.push_back(slots[g] == unset || slots[g + 1] == unset
                             ? std::nullopt
                             : std::optional(text.substr(slots[g], slots[g + 1] - slots[g])));
    return m;
  }
  return std::nullopt;
}

std::vector<Match> Pattern::all(View text) const {
  std::vector<Match> out;
  for (std::size_t from = 0; auto m = search(text, from);) {
    from = m->end + (m->end == m->begin);
    out.push_back(std::move(*m));
  }
  return out;
}

Text Pattern::replace(View text, std::string_view with) const {
  const Text w = python::text(with);
  return replace_each(text, [&](const Match& m) {
    Text out;
    for (std::size_t i = 0; i < w.size(); ++i)
      if (w[i] == U'\\' && i + 1 < w.size() && w[i + 1] >= U'1' && w[i + 1] <= U'9')
        out += m.groups.at(w[++i] - U'0').value_or(View());
      else out += w[i];
    return out;
  });
}

}  // namespace ov::python
