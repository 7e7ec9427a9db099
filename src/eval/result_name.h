// How a run's result files are called: by the second in which they are written, one run a second and directory.
#pragma once
#include <string>

namespace ov {

// DIRECTORY/<date>, which no other run of any process has or gets; the next second's where this one's is taken. What
// ends its claim is the file results(), durably written, or the end of this object.
class ResultName {
 public:
  explicit ResultName(const std::string& directory);
  ~ResultName();
  ResultName(const ResultName&) = delete;

  std::string results() const { return head_ + "_results.json"; }
  std::string samples(const std::string& task) const { return head_ + "_samples_" + task + ".jsonl"; }

 private:
  std::string claim() const { return results() + ".partial"; }  // where a durable write begins (base/io/file.h)
  std::string head_;
};

}  // namespace ov
