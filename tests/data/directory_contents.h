// What a directory holds, to be compared with another.
#pragma once
#include <filesystem>
#include <map>
#include <string>

#include "base/io/file.h"

namespace ov::test {

// Every file below `path` by its name there.
inline std::map<std::string, std::string> directory_contents(const std::string& path) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path))
    if (entry.is_regular_file())
      files[std::filesystem::relative(entry.path(), path).string()] = read_file(entry.path().string());
  return files;
}

}  // namespace ov::test
