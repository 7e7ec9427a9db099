#include "model/files/model_card.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "base/io/file.h"
#include "base/revision.h"
#include "base/sha256.h"

namespace ov {
namespace {

constexpr std::string_view weights_title = "\n## Weights\n\n";

bool has_file(const std::string& path) {
  std::error_code missing;
  return std::filesystem::is_regular_file(path, missing);
}

// The file names that a key holds, without directories; nothing of what changes no bit of the result.
Json without_paths(const Json& value) {
  if (value.is_string()) {
    const std::string text = value.as_string();
    return text.substr(text.rfind('/') + 1);
  }
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& item : value.items()) out.push(without_paths(item));
    return out;
  }
  if (!value.is_object()) return value;
  constexpr const char* unused = " out threads resume save_every keep memory_budget log ";
  Json out = Json::object();
  for (const auto& [key, member] : value.members()) {
    const std::string word = key.substr(key.rfind('.') + 1);
    const bool empty = member.is_null() || (member.is_string() && member.as_string().empty());
    if (!empty && std::string(unused).find(" " + word + " ") == std::string::npos) out.set(key, without_paths(member));
  }
  return out;
}

// "organisation/name" and nothing that stands here.
bool is_hub_name(const std::string& name) {
  const auto letter = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
  };
  const auto slash = name.find('/');
  std::error_code missing;
  return slash != 0 && slash != name.npos && slash + 1 < name.size() && name[0] != '.' &&
         name.find("..") == name.npos &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || c == '/'; }) &&
         name.find('/', slash + 1) == name.npos && !std::filesystem::exists(name, missing);
}

// A plain value of the front matter of a README.md; "" when there is none.
std::string front_matter(const std::string& directory, const std::string& key) {
  if (!has_file(directory + "/README.md")) return "";
  std::istringstream lines(read_file(directory + "/README.md"));
  std::string line;
  if (!std::getline(lines, line) || line != "---") return "";
  while (std::getline(lines, line) && line != "---")
    if (line.starts_with(key + ": ")) return line.substr(key.size() + 2);
  return "";
}

std::string hub_name(const std::string& directory) {
  if (has_file(directory + "/config.json")) {
    const Json config = Json::read(directory + "/config.json");
    const Json* name = config.is_object() ? config.find("_name_or_path") : nullptr;
    if (name && name->is_string() && is_hub_name(name->as_string())) return name->as_string();
  }
  const std::string base = front_matter(directory, "base_model");
  return is_hub_name(base) ? base : "";
}

std::string weights_section(const std::string& directory) {
  std::string out(weights_title);
  for (const std::string& name : list_directory(directory))
    if (name.ends_with(".safetensors"))
      out += cat("- `", name, "`: SHA-256 `", sha256_file(directory + "/" + name), "`\n");
  return out;
}

std::string block(const char* title, const Json& facts) {
  return facts.size() == 0 ? "" : cat("\n## ", title, "\n\n```json\n", facts.dump(2), "\n```\n");
}

const std::string first_words = "This directory was written by onevision, revision ";

}  // namespace

void write_model_card(const std::string& directory, const CardFacts& facts) {
  const std::string path = directory + "/README.md";
  if (has_file(path) && read_file(path).find(first_words) == std::string::npos) return;
  std::string license = facts.license, bases;
  for (const std::string& source : facts.sources) {
    if (source.empty()) continue;
    if (license.empty()) license = front_matter(source, "license");
    if (const std::string name = hub_name(source); !name.empty()) bases += cat("\n- ", name);
  }
  std::string card = cat("---\nlibrary_name: ", facts.library, "\npipeline_tag: ", facts.pipeline, "\n");
  if (!license.empty()) card += cat("license: ", license, "\n");
  if (!bases.empty()) card += cat("base_model:", bases, "\n");
  card += cat("---\n\n# ", facts.library == "peft" ? "An adapter for " : "", facts.title, "\n\n", first_words,
              revision(), ".\n");
  card += block("Model", facts.model) + block("Data", without_paths(facts.data)) +
          block("Recipe", without_paths(facts.recipe)) + block("Log", facts.log);
  card +=
      cat("\n## Licence\n\n",
          license.empty() ? "Neither the run nor a model that it started from states one; export.license does."
                          : cat("`", license, "`, ",
                                facts.license.empty() ? "as the model it started from says" : "as the run says", "."),
          "\n");
  write_durably(path, card + weights_section(directory));
}

std::string card_with_weights(const std::string& card, const std::string& directory) {
  const auto at = card.rfind(weights_title);
  if (at == card.npos || card.find(first_words) == card.npos) return card;
  return card.substr(0, at) + weights_section(directory);
}

void copy_licences(const std::string& from, const std::string& to) {
  if (from.empty()) return;
  for (const std::string& name : list_directory(from))
    if ((name.starts_with("LICENSE") || name.starts_with("NOTICE")) && has_file(from + "/" + name) &&
        !has_file(to + "/" + name))
      write_durably(to + "/" + name, read_file(from + "/" + name));
}

}  // namespace ov
