#include "store/energon.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "base/io/file.h"
#include "base/json.h"
#include "store/tar.h"

namespace ov {
namespace {

bool exists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

std::string_view trimmed(std::string_view s) {
  const std::size_t first = s.find_first_not_of(" \t\r");
  return first == s.npos ? std::string_view() : s.substr(first, s.find_last_not_of(" \t\r") + 1 - first);
}

// One line of the file: "a: b", "a:", "- b" or "- a: b" without what its indentation and comment say.
struct YamlLine {
  std::size_t number = 0, indent = 0;
  bool item = false;       // began with "- "
  std::string key, value;  // key "" in a list
};

class Yaml {
 public:
  explicit Yaml(const std::string& path) : path_(path) {
    const std::string text = read_file(path);
    std::size_t number = 0;
    for (std::size_t at = 0; at < text.size(); ++number) {
      const std::size_t newline = std::min(text.find('\n', at), text.size());
      add(std::string_view(text).substr(at, newline - at), number + 1);
      at = newline + 1;
    }
  }

  // The lines below `key`: deeper ones, and list items at its own depth.
  std::vector<YamlLine> under(const std::vector<YamlLine>& lines, const std::string& key) const {
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (lines[i].key != key || lines[i].item) continue;
      std::vector<YamlLine> out;
      if (!lines[i].value.empty()) out.push_back({lines[i].number, lines[i].indent + 1, false, "", lines[i].value});
      for (std::size_t k = i + 1; k < lines.size(); ++k) {
        if (lines[k].indent < lines[i].indent || (lines[k].indent == lines[i].indent && !lines[k].item)) break;
        out.push_back(lines[k]);
      }
      return out;
    }
    return {};
  }
  const std::vector<YamlLine>& all() const { return lines_; }

  std::vector<std::string> list(const std::vector<YamlLine>& lines) const {
    std::vector<std::string> out;
    for (const YamlLine& line : lines) {
      if (line.item) {
        out.push_back(word(line.value, line.number));
      } else if (line.key.empty() && line.value.size() > 1 && line.value.front() == '[' && line.value.back() == ']') {
        std::string_view rest = std::string_view(line.value).substr(1, line.value.size() - 2);
        while (!trimmed(rest).empty()) {
          const std::size_t comma = std::min(rest.find(','), rest.size());
          out.push_back(word(trimmed(rest.substr(0, comma)), line.number));
          rest.remove_prefix(std::min(comma + 1, rest.size()));
        }
      } else {
        input_error(path_, ":", line.number, ": expected a list, found '", line.value, "'");
      }
    }
    return out;
  }

  std::string word(std::string_view s, std::size_t line) const {
    if (s.size() > 1 && (s[0] == '"' || s[0] == '\'') && s.back() == s[0])
      return std::string(s.substr(1, s.size() - 2));
    if (s.find_first_of("{}[]&*!|>\"'%@`") != s.npos)
      input_error(path_, ":", line, ": expected a plain word, found '", s, "'");
    return std::string(s);
  }

 private:
  void add(std::string_view text, std::size_t number) {
    YamlLine line{number, 0, false, "", ""};
    const std::size_t comment = text.starts_with("#") ? 0 : text.find(" #");
    text = text.substr(0, comment);
    line.indent = text.find_first_not_of(' ');
    text = trimmed(text);
    if (text.empty() || text == "---") return;
    if (text == "-" || text.starts_with("- ")) {
      line.item = true;
      line.value = std::string(trimmed(text.substr(1)));
    } else {
      const std::size_t colon = text.ends_with(":") && text.find(": ") == text.npos ? text.size() - 1 : text.find(": ");
      if (colon == text.npos) input_error(path_, ":", number, ": expected 'key: value', found '", text, "'");
      line.key = word(trimmed(text.substr(0, colon)), number);
      line.value = std::string(trimmed(text.substr(colon + 1)));
    }
    lines_.push_back(line);
  }

  std::string path_;
  std::vector<YamlLine> lines_;
};

std::int64_t count(const std::string& text, const std::string& where) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != text.npos)
    input_error(where, ": expected a number of samples, found '", text, "'");
  return std::stoll(text);
}

}  // namespace

std::optional<EnergonMeta> read_energon_meta(const std::string& directory) {
  const std::string meta = directory + "/.nv-meta/";
  if (!exists(meta + "split.yaml")) return std::nullopt;
  EnergonMeta out;
  if (exists(meta + "dataset.yaml")) {
    const Yaml yaml(meta + "dataset.yaml");
    for (const YamlLine& line : yaml.under(yaml.all(), "sample_type"))
      if (line.key == "__class__") out.sample_class = yaml.word(line.value, line.number);
  }
  const Yaml split(meta + "split.yaml");
  const std::vector<std::string> exclude = split.list(split.under(split.all(), "exclude"));
  for (const std::string& shard : split.list(split.under(split.under(split.all(), "split_parts"), "train")))
    if (std::find(exclude.begin(), exclude.end(), shard) == exclude.end()) out.train.push_back(shard);
  if (exists(meta + ".info.yaml")) {
    const Yaml yaml(meta + ".info.yaml");
    for (const YamlLine& line : yaml.under(yaml.all(), "shard_counts"))
      if (!line.key.empty())
        out.shard_samples[line.key] = count(line.value, cat(meta, ".info.yaml:", line.number, ": ", line.key));
  } else if (exists(meta + ".info.json")) {
    const Json info = Json::read(meta + ".info.json");
    if (const Json* counts = info.find("shard_counts"))
      for (const auto& [shard, n] : counts->members()) out.shard_samples[shard] = n.as_int();
  }
  return out;
}

void write_energon_meta(const std::string& directory, const EnergonMeta& meta, const std::string& sample_module,
                        const std::string& sample_loader) {
  const std::string folder = directory + "/.nv-meta";
  if (!exists(folder)) make_directory(folder, folder);
  std::string names, counts;
  for (const std::string& shard : meta.train) names += "  - " + shard + "\n";
  for (const auto& [shard, n] : meta.shard_samples) counts += cat("  ", shard, ": ", n, "\n");
  write_durably(folder + "/sample_loader.py", sample_loader);
  write_durably(folder + "/dataset.yaml",
                cat("sample_type:\n  __module__: ", sample_module, "\n  __class__: ", meta.sample_class,
                    "\npart_filter: sample_loader.py:part_filter\n"
                    "sample_loader: sample_loader.py:sample_loader\n"));
  write_durably(folder + "/split.yaml", "exclude: []\nsplit_parts:\n  test: []\n  train:" +
                                            (names.empty() ? " []\n" : "\n" + names) + "  val: []\n");
  write_durably(folder + "/.info.yaml", "shard_counts:" + (counts.empty() ? " {}\n" : "\n" + counts));
}

std::optional<std::vector<std::uint64_t>> read_tar_index(const std::string& shard) {
  const std::string path = shard + ".idx";
  if (!exists(path)) return std::nullopt;
  const std::string bytes = read_file(path);
  if (bytes.size() < 8 || bytes.size() % 8 != 0)
    input_error(path, ": ", bytes.size(), " bytes, expected a multiple of 8 and at least one number");
  std::vector<std::uint64_t> out(bytes.size() / 8);
  for (std::size_t i = 0; i < out.size(); ++i) {
    for (std::size_t b = 8; b-- > 0;) out[i] = out[i] << 8 | static_cast<unsigned char>(bytes[8 * i + b]);
    if (out[i] % tar_block != 0 || (i == 0 ? out[i] != 0 : out[i] <= out[i - 1]))
      input_error(path, ": number ", i + 1, " is ", out[i], ", expected ",
                  i == 0 ? cat("0") : cat("a multiple of ", tar_block, " above ", out[i - 1]));
  }
  return out;
}

void write_tar_index(const std::string& shard, const std::vector<std::uint64_t>& starts_and_end) {
  std::string bytes;
  for (const std::uint64_t start : starts_and_end)
    for (int b = 0; b < 8; ++b) bytes += static_cast<char>(start >> (8 * b) & 255);
  write_durably(shard + ".idx", bytes);
}

}  // namespace ov
