// A YAML file as a tree whose every part knows its line. Parsing is yaml-cpp's; tags name nothing that is made or run.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace ov {

class Yaml {
 public:
  // Throws input_error: no such file, no YAML.
  static Yaml read(const std::string& path);

  explicit operator bool() const;  // is there and not null
  bool is_list() const;
  bool is_map() const;
  std::string where() const;  // "path:line"
  // Each throws input_error that names the line for a value of another kind; what is not there, or null, is empty.
  std::string word() const;
  std::vector<std::string> words() const;
  std::vector<Yaml> items() const;
  std::vector<std::pair<std::string, Yaml>> members() const;  // in the file's order
  Yaml operator[](const std::string& key) const;
  double number(double otherwise) const;
  Json json() const;  // plain words that are numbers, true, false or null are those

 private:
  struct Node;
  Yaml(std::string path, std::shared_ptr<const Node> node) : path_(std::move(path)), node_(std::move(node)) {}
  std::string path_;
  std::shared_ptr<const Node> node_;
};

}  // namespace ov
