#include "train/kept_choices.h"

#include <filesystem>

#include "base/error.h"
#include "base/io/file.h"
#include "base/io/mapped_file.h"
#include "base/progress.h"

namespace ov {

KeptChoices::KeptChoices(Device& device, const std::string& out, int rank)
    : device_(device), path_(out + (rank == 0 ? "/algorithms.json" : cat("/algorithms.rank-", rank, ".json"))) {
  if (device.about().empty() || !std::filesystem::exists(path_)) return;
  const std::string text(MappedFile::open(path_)->text());
  const std::string differs = device.choose(text, path_);
  if (differs.empty()) written_ = text;
  else tell(cat(path_, ": ", differs, "; algorithms are chosen anew, and bits may differ from here on"));
}

void KeptChoices::save() {
  std::string text = device_.chosen();
  if (text.empty() || text == written_) return;
  make_directories(parent_directory(path_));
  write_durably(path_, text);
  written_ = std::move(text);
}

}  // namespace ov
