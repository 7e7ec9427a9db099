// Why records are refused: how many for each reason, and what was said of the first. And the rule by which a command
// that reads records ends, whole or a shard (curate/share_counts.h), `pack` and `curate` too.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace ov {

class FirstReasons {
 public:
  struct Reason {
    std::string name, first;
    std::int64_t count = 0;
  };
  void add(const std::string& name, const std::string& message, std::int64_t count = 1);
  std::int64_t total() const;
  const std::vector<Reason>& reasons() const { return reasons_; }  // in the order in which they came
  std::string str() const;  // "image_missing 12, the first: a.jsonl:3: ...; ", of at most three

 private:
  std::vector<Reason> reasons_;
};

// A run ends before its end when more are refused than data.max_rejects allows and they are nine of ten of what was
// read so far: it could not end well any more. With fewer it reads on, so that its error says how many there are.
inline bool hopeless(std::int64_t refused, std::int64_t records, std::int64_t max_rejects) {
  return refused > max_rejects && refused * 10 >= records * 9;
}

}  // namespace ov
