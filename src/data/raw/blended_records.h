// A mixture of data sets that an energon file describes (store/energon_blend.h), each opened as data/raw/records.h
// does. Their records stand one behind the other; the mixture says in which order and how often they come.
#pragma once
#include <vector>

#include "data/mixture.h"
#include "data/raw/records.h"

namespace ov {

class BlendedRecords : public Records {
 public:
  // Throws input_error: the file, one of its data sets, a share that leaves nothing.
  explicit BlendedRecords(const std::string& path, const std::string& image_dir = "", UseIndex use = UseIndex::yes);

  const std::string& path() const override { return path_; }
  std::int64_t size() const override { return first_.back(); }
  Conversation read(std::int64_t index) const override;
  std::string fingerprint() const override;  // of the sets and their shares
  std::int64_t written() const override;
  std::shared_ptr<const Mixture> mixture() const override { return mixture_; }
  void write_index() const override;  // of each set
  bool indexed() const override;      // all of them

 private:
  std::string path_;
  std::vector<std::unique_ptr<Records>> sets_;
  std::vector<std::int64_t> first_ = {0};  // [sets + 1]
  std::shared_ptr<const Mixture> mixture_;
};

}  // namespace ov
