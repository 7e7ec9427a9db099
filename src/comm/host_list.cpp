#include "comm/host_list.h"

#include <charconv>
#include <cstdint>

#include "base/error.h"
#include "base/text.h"

namespace ov {
namespace {

constexpr std::size_t most = 65536;

// A list that is read from its front.
class Reader {
 public:
  Reader(std::string_view list, const std::string& source) : list_(list), source_(source) {}
  bool done() const { return at_ == list_.size(); }
  bool is(char c) const { return !done() && list_[at_] == c; }
  bool take(char c) { return is(c) && ++at_; }
  void need(char c) {
    if (!take(c)) wrong(cat("'", c, "'"));
  }
  std::string_view digits() {
    const std::size_t begin = at_;
    while (!done() && list_[at_] >= '0' && list_[at_] <= '9') ++at_;
    if (at_ == begin || at_ - begin > 9) wrong("a number");
    return list_.substr(begin, at_ - begin);
  }
  std::string_view until(std::string_view ends) {
    const std::size_t begin = at_;
    while (!done() && ends.find(list_[at_]) == ends.npos) ++at_;
    return list_.substr(begin, at_ - begin);
  }
  [[noreturn]] void wrong(const std::string& expected) const {
    input_error(source_, ": expected ", expected, " at character ", at_ + 1, " of '", shown(list_), "'");
  }
  void limit(std::size_t n) const {
    if (n > most) input_error(source_, ": more than ", most, " in '", shown(list_), "'");
  }

 private:
  const std::string_view list_;
  const std::string& source_;
  std::size_t at_ = 0;
};

int value(std::string_view digits) {
  int n = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), n);
  return n;
}

// "08-11,20" between brackets: every number as wide as its range's first.
std::vector<std::string> numbers(Reader& r) {
  std::vector<std::string> all;
  do {
    const std::string_view first = r.digits();
    const int begin = value(first), end = r.take('-') ? value(r.digits()) : begin;
    if (end < begin) r.wrong("a range that goes up");
    r.limit(all.size() + static_cast<std::size_t>(end - begin) + 1);
    for (int n = begin; n <= end; ++n) {
      const std::string text = std::to_string(n);
      all.push_back(std::string(first.size() > text.size() ? first.size() - text.size() : 0, '0') + text);
    }
  } while (r.take(','));
  r.need(']');
  return all;
}

}  // namespace

std::vector<std::string> hosts_of(std::string_view list, const std::string& source) {
  Reader r(list, source);
  std::vector<std::string> hosts;
  do {
    std::vector<std::string> names = {std::string(r.until("[,]"))};
    while (r.take('[')) {
      const std::vector<std::string> middle = numbers(r);
      const std::string end(r.until("[,]"));
      r.limit(names.size() * middle.size());
      std::vector<std::string> longer;
      for (const std::string& name : names)
        for (const std::string& m : middle) longer.push_back(name + m + end);
      names = std::move(longer);
    }
    if (names[0].empty()) r.wrong("a host");
    r.limit(hosts.size() + names.size());
    hosts.insert(hosts.end(), names.begin(), names.end());
  } while (r.take(','));
  if (!r.done()) r.wrong("','");
  return hosts;
}

std::vector<int> counts_of(std::string_view list, const std::string& source) {
  Reader r(list, source);
  std::vector<int> counts;
  do {
    const int count = value(r.digits());
    int times = 1;
    if (r.take('(')) r.need('x'), times = value(r.digits()), r.need(')');
    r.limit(counts.size() + static_cast<std::size_t>(times));
    counts.insert(counts.end(), static_cast<std::size_t>(times), count);
  } while (r.take(','));
  if (!r.done()) r.wrong("','");
  return counts;
}

}  // namespace ov
