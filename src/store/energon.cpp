#include "store/energon.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <unordered_set>

#include "base/error.h"
#include "base/io/file.h"
#include "base/json.h"
#include "base/text.h"
#include "store/tar.h"
#include "store/yaml.h"

namespace ov {
namespace {

std::int64_t samples(const std::string& text, const std::string& where) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != text.npos)
    input_error(where, ": expected a number of samples, found '", shown(text), "'");
  return std::stoll(text);
}

// Names for the braces in one, as Python's braceexpand gives them: {a,b}, {1..8}, {08..11} with its zeros, several in a
// name. A brace that is neither stays as it is.
std::vector<std::string> expanded(const std::string& name, const std::string& where) {
  constexpr std::ptrdiff_t most_braces = 16;
  if (std::count(name.begin(), name.end(), '{') > most_braces)
    input_error(where, ": '", shown(name.substr(0, 60)), "...' has more than ", most_braces, " braces");
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
  if (middles.size() * rests.size() * (name.size() + 1) > 64 << 20 || middles.size() * rests.size() > 1000000)
    input_error(where, ": '", shown(name), "' stands for more than a million names, or for more than 64 MB of them");
  for (const std::string& middle : middles)  // the first brace turns slowest
    for (const std::string& rest : rests) out.push_back(name.substr(0, open) + middle + rest);
  return out;
}

// The lists of split.yaml or split.json, names expanded.
struct Split {
  std::string file;
  std::vector<std::string> shards, others, exclude;
};

// One spelling of a shard's name: a shard that is named twice is learnt twice.
std::string spelt(std::string name) {
  if (name.find("./") == name.npos && name.find("//") == name.npos) return name;
  return std::filesystem::path(name).lexically_normal();
}

Split read_split(const std::string& meta, const std::string& part) {
  Split out;
  std::int64_t shards = 1000000, bytes = 64 << 20;  // that the whole file may name
  const auto add = [&](std::vector<std::string>& list, const std::vector<std::string>& names) {
    for (const std::string& name : names)
      for (std::string& one : expanded(name, out.file)) {
        if (--shards < 0 || (bytes -= std::ssize(one)) < 0)
          input_error(out.file, ": its lists stand for more than a million names, or for more than 64 MB of them");
        list.push_back(spelt(std::move(one)));
      }
  };
  out.file = meta + "split.yaml";
  if (path_exists(out.file)) {
    const Yaml yaml = Yaml::read(out.file);
    add(out.exclude, yaml["exclude"].words());
    for (const auto& [name, list] : yaml["split_parts"].members())
      add(name == part ? out.shards : out.others, list.words());
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
    for (const auto& [name, list] : json.at("split_parts").members())
      add(name == part ? out.shards : out.others, names(list));
  } catch (const Error& e) { input_error(out.file, ": ", e.what()); }
  return out;
}

// What is excluded is taken out; a name that excludes nothing is a mistake, and what it meant would be learnt.
void exclude(Split& split, EnergonMeta& meta) {
  if (split.exclude.empty()) {
    meta.train = std::move(split.shards);
    return;
  }
  const std::unordered_set<std::string_view> train(split.shards.begin(), split.shards.end());
  const std::unordered_set<std::string_view> others(split.others.begin(), split.others.end());
  const auto is_known = [&](std::string_view shard) { return train.contains(shard) || others.contains(shard); };
  std::set<std::string> out;
  for (const std::string& name : split.exclude) {
    // The whole name is a shard, or what stands before one of its slashes is: a shard and a key may both hold some.
    std::size_t end = name.size();
    while (end != name.npos && end > 0 && !is_known(std::string_view(name).substr(0, end)))
      end = name.rfind('/', end - 1);
    if (end == name.npos || end == 0) {
      split.shards.insert(split.shards.end(), split.others.begin(), split.others.end());
      input_error(split.file, ": exclude: '", shown(name), "': no part of the split has this shard",
                  did_you_mean(name, split.shards));
    }
    const std::string shard = name.substr(0, end);
    if (end == name.size()) out.insert(name);
    else if (train.contains(shard)) meta.excluded_samples[shard].insert(name.substr(end + 1));
  }
  for (const std::string& shard : split.shards)
    if (!out.contains(shard)) meta.train.push_back(shard);
  for (const std::string& shard : out) meta.excluded_samples.erase(shard);
}

// A map of other parts than those that are read here (data/raw/webdataset.h) would be another data set.
void check_field_map(const Yaml& yaml) {
  static const std::set<std::string> known = {"image: jpg",  "image: jpeg",  "image: png",
                                              "image: webp", "caption: txt", "caption: json[caption]"};
  for (const auto& [field, part] : yaml["field_map"].members())
    if (const std::string entry = field + ": " + part.word(); !known.contains(entry))
      input_error(part.where(), ": field_map: '", shown(entry),
                  "' is not read: expected image: jpg, jpeg, png or webp, and caption: txt or json[caption]");
}

}  // namespace

std::optional<EnergonMeta> read_energon_meta(const std::string& directory, const std::string& part) {
  const std::string meta = directory + "/.nv-meta/";
  if (!path_exists(meta)) return std::nullopt;
  EnergonMeta out;
  if (path_exists(meta + "dataset.yaml")) {
    const Yaml yaml = Yaml::read(meta + "dataset.yaml");
    out.sample_class = yaml["sample_type"]["__class__"].word();
    check_field_map(yaml);
  }
  Split split = read_split(meta, part);
  exclude(split, out);
  std::string file = meta + ".info.yaml";
  if (path_exists(file)) {
    for (const auto& [shard, n] : Yaml::read(file)["shard_counts"].members())
      out.shard_samples[shard] = samples(n.word(), cat(n.where(), ": ", shard));
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
