// A case of tests/golden/dense by what it holds, for tests that need any such file.
#pragma once
#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "store/safetensors.h"

namespace ov::test {

// The first case of summary.json with so many pictures. input_error when there is none.
inline std::string dense_case(std::int64_t pictures) {
  const std::string folder = "tests/golden/dense/";
  const Json summary = Json::read(folder + "summary.json");
  for (const Json& c : summary.at("cases").items()) {
    const std::string path = cat(folder, "case_", c.at("name").as_string(), ".safetensors");
    const Safetensors file = Safetensors::open(path);
    if ((file.find("image_grid_thw") ? file.tensor("image_grid_thw").dim(0) : 0) == pictures) return path;
  }
  input_error(folder, ": no case with ", pictures, " pictures");
}

// A picture that summary.json's answers were given about. Where others have taken the place of tests/golden/images, the
// ones that these answers belong to are still in images_fast.
inline std::string dense_picture(const std::string& name) {
  const std::string path = "tests/golden/images/" + name;
  return std::filesystem::exists(path) ? path : "tests/golden/images_fast/" + name;
}

}  // namespace ov::test
