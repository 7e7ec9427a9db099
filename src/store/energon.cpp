#include "store/energon.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "base/io/file.h"
#include "base/json.h"
#include "base/text.h"
#include "store/tar.h"

namespace ov {
namespace {

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
          rest = trimmed(rest);
          const bool quoted = rest[0] == '"' || rest[0] == '\'';
          const std::size_t comma = std::min(rest.find(',', quoted ? rest.find(rest[0], 1) : 0), rest.size());
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
    if (s.find_first_of("{}[]&*!|>\"'%@`") == 0 || s.find_first_of("[]\"'") != s.npos)
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

std::int64_t samples(const std::string& text, const std::string& where) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != text.npos)
    input_error(where, ": expected a number of samples, found '", shown(text), "'");
  return std::stoll(text);
}

// Names for the braces in one, as Python's braceexpand gives them: {a,b}, {1..8}, {08..11} with its zeros, several in a
// name. A brace that is neither stays as it is.
std::vector<std::string> expanded(const std::string& name, const std::string& where) {
  const std::size_t open = name.find('{'), close = name.find('}', open);
  if (open == name.npos || close == name.npos) return {name};
  const std::string inside = name.substr(open + 1, close - open - 1);
  if (inside.find('{') != inside.npos) input_error(where, ": braces inside braces are not read: '", shown(name), "'");
  std::vector<std::string> middles, out;
  const std::size_t dots = inside.find("..");
  const std::string first = inside.substr(0, dots), last = dots == inside.npos ? "" : inside.substr(dots + 2);
  const auto number = [](const std::string& s) {
    return !s.empty() && s.size() < 10 && s.find_first_not_of("0123456789") == s.npos;
  };
  if (number(first) && number(last)) {
    const bool padded = (first.size() > 1 && first[0] == '0') || (last.size() > 1 && last[0] == '0');
    const std::size_t width = padded ? std::max(first.size(), last.size()) : 0;
    const std::int64_t from = std::stoll(first), to = std::stoll(last), step = from <= to ? 1 : -1;
    if ((to - from) * step >= 1000000) input_error(where, ": '", shown(name), "' stands for more than a million names");
    for (std::int64_t i = from; i != to + step; i += step) {
      const std::string digits = std::to_string(i);
      middles.push_back(std::string(width > digits.size() ? width - digits.size() : 0, '0') + digits);
    }
  } else if (inside.find(',') != inside.npos) {
    for (std::size_t at = 0; at <= inside.size();) {
      const std::size_t comma = std::min(inside.find(',', at), inside.size());
      middles.push_back(inside.substr(at, comma - at));
      at = comma + 1;
    }
  } else if (dots != inside.npos) {
    input_error(where, ": a range of braces is read for whole numbers only: '", shown(name), "'");
  } else {
    middles.push_back("{" + inside + "}");
  }
  const std::vector<std::string> rests = expanded(name.substr(close + 1), where);
  if (middles.size() * rests.size() > 1000000)
    input_error(where, ": '", shown(name), "' stands for more than a million names");
  for (const std::string& middle : middles)  // the first brace turns slowest
    for (const std::string& rest : rests) out.push_back(name.substr(0, open) + middle + rest);
  return out;
}

// The lists of split.yaml or split.json, names expanded.
struct Split {
  std::string file;
  std::vector<std::string> train, others, exclude;
};

Split read_split(const std::string& meta) {
  Split out;
  const auto add = [&](std::vector<std::string>& list, const std::vector<std::string>& names) {
    for (const std::string& name : names)
      for (std::string& one : expanded(name, out.file)) list.push_back(std::move(one));
  };
  out.file = meta + "split.yaml";
  if (path_exists(out.file)) {
    const Yaml yaml(out.file);
    const std::vector<YamlLine> parts = yaml.under(yaml.all(), "split_parts");
    add(out.exclude, yaml.list(yaml.under(yaml.all(), "exclude")));
    add(out.train, yaml.list(yaml.under(parts, "train")));
    for (const YamlLine& line : parts)
      if (!line.item && !line.key.empty() && line.key != "train")
        add(out.others, yaml.list(yaml.under(parts, line.key)));
    return out;
  }
  out.file = meta + "split.json";
  if (!path_exists(out.file))
    input_error(meta,
                ": holds neither split.yaml nor split.json, so which shards are for training cannot be told; write "
                "one (energon prepare), or remove the directory to train on all");
  const Json json = Json::read(out.file);
  try {
    const auto names = [](const Json& list) {
      std::vector<std::string> texts;
      for (const Json& name : list.items()) texts.push_back(name.as_string());
      return texts;
    };
    if (const Json* exclude = json.find("exclude")) add(out.exclude, names(*exclude));
    for (const auto& [part, list] : json.at("split_parts").members())
      add(part == "train" ? out.train : out.others, names(list));
  } catch (const Error& e) { input_error(out.file, ": ", e.what()); }
  return out;
}

// What is excluded is taken out; a name that excludes nothing is a mistake, and what it meant would be learnt.
void exclude(const Split& split, EnergonMeta& meta) {
  const std::set<std::string> train(split.train.begin(), split.train.end());
  std::vector<std::string> known(split.others);
  known.insert(known.end(), train.begin(), train.end());
  std::sort(known.begin(), known.end());
  std::set<std::string> out;
  for (const std::string& name : split.exclude) {
    // The whole name is a shard, or what stands before one of its slashes is: a shard and a key may both hold some.
    std::size_t end = name.size();
    while (end != name.npos && end > 0 && !std::binary_search(known.begin(), known.end(), name.substr(0, end)))
      end = name.rfind('/', end - 1);
    if (end == name.npos || end == 0)
      input_error(split.file, ": exclude: '", shown(name), "': no part of the split has this shard",
                  did_you_mean(name, known));
    const std::string shard = name.substr(0, end);
    if (end == name.size()) out.insert(name);
    else if (train.contains(shard)) meta.excluded_samples[shard].insert(name.substr(end + 1));
  }
  for (const std::string& shard : split.train)
    if (!out.contains(shard)) meta.train.push_back(shard);
  for (const std::string& shard : out) meta.excluded_samples.erase(shard);
}

// A map of other parts than those that are read here (data/raw/webdataset.h) would be another data set.
void check_field_map(const Yaml& yaml, const std::string& file) {
  static const std::set<std::string> known = {"image: jpg",  "image: jpeg",  "image: png",
                                              "image: webp", "caption: txt", "caption: json[caption]"};
  for (const YamlLine& line : yaml.under(yaml.all(), "field_map"))
    if (const std::string entry = line.key + ": " + line.value; !known.contains(entry) && entry != ": {}")
      input_error(file, ":", line.number, ": field_map: '", shown(entry),
                  "' is not read: expected image: jpg, jpeg, png or webp, and caption: txt or json[caption]");
}

}  // namespace

std::optional<EnergonMeta> read_energon_meta(const std::string& directory) {
  const std::string meta = directory + "/.nv-meta/";
  if (!path_exists(meta)) return std::nullopt;
  EnergonMeta out;
  if (path_exists(meta + "dataset.yaml")) {
    const Yaml yaml(meta + "dataset.yaml");
    for (const YamlLine& line : yaml.under(yaml.all(), "sample_type"))
      if (line.key == "__class__") out.sample_class = yaml.word(line.value, line.number);
    check_field_map(yaml, meta + "dataset.yaml");
  }
  exclude(read_split(meta), out);
  std::string file = meta + ".info.yaml";
  if (path_exists(file)) {
    const Yaml yaml(file);
    for (const YamlLine& line : yaml.under(yaml.all(), "shard_counts"))
      if (!line.key.empty())
        out.shard_samples[line.key] = samples(line.value, cat(file, ":", line.number, ": ", line.key));
  } else if (path_exists(file = meta + ".info.json")) {
    const Json info = Json::read(file);
    try {
      if (const Json* counts = info.find("shard_counts"))
        for (const auto& [shard, n] : counts->members()) out.shard_samples[shard] = samples(n.dump(), shard);
    } catch (const Error& e) { input_error(file, ": shard_counts: ", e.what()); }
  }
  // A promised sample that is missing is counted as a fault of its own, so a promise has to be possible. A sample takes
  // two blocks at the least; of a shard that is cut short or missing a million are believed.
  for (const auto& [shard, n] : out.shard_samples) {
    struct stat info;
    const bool there = ::stat((directory + "/" + shard).c_str(), &info) == 0;
    const std::int64_t most = std::max<std::int64_t>(there ? info.st_size / 1024 : 0, 1000000);
    if (n > most) input_error(file, ": ", shard, ": ", n, " samples are promised, more than the shard can hold");
  }
  return out;
}

void write_energon_meta(const std::string& directory, const EnergonMeta& meta, const std::string& sample_module,
                        const std::string& sample_loader) {
  const std::string folder = directory + "/.nv-meta";
  if (!path_exists(folder)) make_directory(folder, folder);
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
  if (!path_exists(path)) return std::nullopt;
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
