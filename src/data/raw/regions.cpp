#include "data/raw/regions.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/sha256.h"
#include "base/utf8.h"
#include "data/made_again.h"
#include "data/raw/drawn_records.h"
#include "data/raw/json_records.h"
#include "data/raw/picture_file.h"
#include "data/raw/records.h"
#include "data/reject.h"
#include "store/parquet/rows.h"

namespace ov {
namespace {

struct NamedRegion {
  Box box;
  std::string name;
  bool is_text;
};

struct NamedPicture {
  std::string image;
  std::vector<NamedRegion> regions;
};

const Json& member(const Json& object, const char* key, bool (Json::*is)() const, const char* kind,
                   const std::string& where) {
  if (!object.is_object())
    reject(RejectReason::malformed_record, where, ": expected an object, found ", kind_name(object.kind()));
  const Json* value = object.find(key);
  if (!value || !(value->*is)())
    reject(RejectReason::malformed_record, where, ": ", key, ": expected ", kind, ", found ",
           value ? value->shown() : "nothing");
  return *value;
}

Box box_of(const Json& region, const std::string& where) {
  const Json& list = member(region, "box", &Json::is_array, "[x1, y1, x2, y2]", where);
  bool numbers = list.size() == 4;
  for (std::size_t i = 0; numbers && i < 4; ++i) numbers = list[i].is_number();
  if (!numbers) reject(RejectReason::malformed_record, where, ": box: expected [x1, y1, x2, y2], found ", list.shown());
  const Box box{list[0].as_double(), list[1].as_double(), list[2].as_double(), list[3].as_double()};
  if (!(box.x1 < box.x2 && box.y1 < box.y2))
    reject(RejectReason::region_box, where, ": box: expected x1 < x2 and y1 < y2, found ", list.shown());
  return box;
}

void add_regions(const Json& record, const char* list_key, const char* name_key, bool is_text, const std::string& where,
                 std::vector<NamedRegion>& regions) {
  if (!record.find(list_key)) return;
  const Json& list = member(record, list_key, &Json::is_array, "a list", where);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string place = cat(where, ": ", list_key, "[", i, "]");
    const Box box = box_of(list[i], place);
    const std::string& name = member(list[i], name_key, &Json::is_string, "a string", place).as_string();
    if (name.empty()) reject(RejectReason::empty_text, place, ": ", name_key, " is empty");
    regions.push_back({box, name, is_text});
  }
}

NamedPicture picture_of(const Json& record, const std::string& where) {
  NamedPicture picture;
  picture.image = member(record, "image", &Json::is_string, "a path", where).as_string();
  add_regions(record, "objects", "class", false, where, picture.regions);
  add_regions(record, "ocr", "text", true, where, picture.regions);
  if (picture.regions.empty()) reject(RejectReason::no_region, where, ": neither objects nor ocr has a region");
  return picture;
}

std::vector<std::string> characters_of(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    std::string one;
    append_utf8(one, next_code_point(text, at));
    out.push_back(one);
  }
  return out;
}

std::vector<std::string> sorted(const std::map<std::string, std::int64_t>& numbers) {
  std::vector<std::string> out;
  for (const auto& [name, number] : numbers) out.push_back(name);
  return out;
}

void number(std::map<std::string, std::int64_t>& names) {
  std::int64_t next = 0;
  for (auto& [name, id] : names) id = next++;
}

// What `cluster` says of the file's objects.
struct ClusterLabels {
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> of;  // (record, region) that is not taken yet: cluster
  std::int64_t clusters = 0;
};

ClusterLabels cluster_labels(const std::string& manifest, const std::string& source, const std::string& fingerprint) {
  const ParquetFile file = or_make_again("make it again (onevision cluster)", [&] { return ParquetFile(manifest); });
  if (const std::string then = drawn_fingerprint(file, set_name(source)); !then.empty() && then != fingerprint)
    input_error(source, ": has changed since ", manifest, " was made of its regions; embed and cluster it again");
  ClusterLabels out;
  std::string other;
  for (std::size_t g = 0; g < file.groups().size(); ++g) {
    const ParquetRows rows(file, g, {"source", "record", "region", "cluster"});
    for (std::int64_t r = 0; r < file.groups()[g].rows; ++r) {
      std::string text;
      rows.append_json(
          r, [](std::string_view, std::string* null) { *null += "null"; }, &text);
      const std::string where = cat(manifest, ": row ", file.groups()[g].first_row + r);
      const Json row = Json::parse(text, where);
      const auto integer = [&](const char* key) {
        const Json* value = row.find(key);
        if (!value || !value->is_integer() || value->as_int() < 0)
          input_error(where, ": ", key, ": expected a number as `cluster` writes it of regions, found ",
                      value ? value->shown() : "nothing");
        return value->as_int();
      };
      const std::int64_t cluster = integer("cluster");
      if (cluster > INT32_MAX) input_error(where, ": cluster ", cluster);
      out.clusters = std::max(out.clusters, cluster + 1);
      if (const Json* named = row.find("source");
          !named || !named->is_string() || (named->as_string() != source && named->as_string() != set_name(source))) {
        other = named ? named->shown() : "";
        continue;
      }
      if (!out.of.insert({{integer("record"), integer("region")}, cluster}).second)
        input_error(where, ": this region stands twice");
    }
  }
  if (out.of.empty())
    input_error(manifest, ": it has no region of ", source,
                other.empty() ? "" : "; its rows are of " + other + ": give the file that was embedded");
  return out;
}

// Names objects by their clusters and leaves out those without.
void take_labels(ClusterLabels& labels, std::int64_t record, const std::string& manifest, const std::string& where,
                 NamedPicture& picture) {
  std::vector<NamedRegion> kept;
  for (std::size_t i = 0; i < picture.regions.size(); ++i) {
    NamedRegion& r = picture.regions[i];
    if (!r.is_text) {
      const auto found = labels.of.find({record, static_cast<std::int64_t>(i)});
      if (found == labels.of.end()) continue;
      r.name = std::to_string(found->second);
      labels.of.erase(found);
    }
    kept.push_back(std::move(r));
  }
  picture.regions = std::move(kept);
  if (picture.regions.empty())
    reject(RejectReason::no_region, where, ": ", manifest, " has a cluster for none of its objects, and it has no ocr");
}

}  // namespace

RegionFile::RegionFile(const std::string& path, const std::string& clusters) : path_(path) {
  const JsonRecords records(path);
  fingerprint_ = records.fingerprint();
  ClusterLabels labels;
  if (!clusters.empty()) {
    labels = cluster_labels(clusters, path, fingerprint_);
    fingerprint_ = sha256(fingerprint_ + sha256_file(clusters));
  }
  std::vector<NamedPicture> named;
  std::map<std::string, std::int64_t> classes, characters;
  for (std::int64_t i = 0; i < records.size(); ++i) {
    Line line;
    NamedPicture picture;
    line.picture.where = records.where(i);
    try {
      picture = picture_of(records.read(i), line.picture.where);
      if (!clusters.empty()) take_labels(labels, i, clusters, line.picture.where, picture);
      line.picture.image = picture_path(picture.image, parent_directory(path), line.picture.where);
    } catch (const Rejected& r) {
      line.fault = static_cast<int>(r.reason());
      line.message = r.what();
    }
    if (line.fault < 0) {
      for (const NamedRegion& r : picture.regions) {
        if (!r.is_text) classes[r.name] = 0;
        else
          for (const std::string& c : characters_of(r.name)) characters[c] = 0;
      }
    }
    lines_.push_back(std::move(line));
    named.push_back(std::move(picture));
  }
  if (lines_.empty()) input_error(path, ": no records: expected one annotated picture on each line");

  if (!labels.of.empty()) {
    const auto& [place, cluster] = *labels.of.begin();
    input_error(clusters, ": record ", place.first, ", region ", place.second, " is no object of ", path,
                "; cluster again what it holds now");
  }
  number(classes), number(characters);
  if (!clusters.empty()) {  // all K, and in the order of their numbers
    classes.clear();
    for (std::int64_t k = 0; k < labels.clusters; ++k)
      classes_.push_back(std::to_string(k)), classes[classes_.back()] = k;
  } else {
    classes_ = sorted(classes);
  }
  characters_ = sorted(characters);
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    if (lines_[i].fault >= 0) continue;
    for (const NamedRegion& r : named[i].regions) {
      AnnotatedRegion region{r.box, {}};
      if (!r.is_text) region.label.object = classes.at(r.name);
      else
        for (const std::string& c : characters_of(r.name)) region.label.characters.push_back(characters.at(c));
      lines_[i].picture.regions.push_back(std::move(region));
    }
  }
}

const AnnotatedPicture& RegionFile::read(std::int64_t index) const {
  if (index < 0 || index >= size()) input_error(path_, ": record ", index, " of ", size());
  const Line& line = lines_[static_cast<std::size_t>(index)];
  if (line.fault >= 0) throw Rejected(RejectReason(line.fault), line.message);
  return line.picture;
}

void check_boxes(const AnnotatedPicture& picture, ImageSize size) {
  for (std::size_t i = 0; i < picture.regions.size(); ++i) {
    const Box& b = picture.regions[i].box;
    if (b.x1 >= 0 && b.y1 >= 0 && b.x2 <= static_cast<double>(size.width) && b.y2 <= static_cast<double>(size.height))
      continue;
    reject(RejectReason::region_box, picture.where, ": box [", b.x1, ", ", b.y1, ", ", b.x2, ", ", b.y2,
           "] reaches out of the picture ", picture.image, " of ", size.width, " x ", size.height);
  }
}

namespace {

// `count` different numbers below n in the order drawn: the first steps of a Fisher-Yates shuffle.
std::vector<std::int64_t> distinct(std::int64_t n, std::int64_t count, const Philox& random, std::uint64_t first) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto k = static_cast<std::uint64_t>(i);
    const auto other = k + random.below(first + k, static_cast<std::uint64_t>(n - i));
    std::swap(all[static_cast<std::size_t>(i)], all[static_cast<std::size_t>(other)]);
  }
  all.resize(static_cast<std::size_t>(count));
  return all;
}

}  // namespace

std::vector<std::int64_t> sample_regions(std::int64_t available, std::int64_t slots, const Philox& random,
                                         std::uint64_t first) {
  if (available < 1 || slots < 0) input_error("sample_regions: ", available, " regions for ", slots, " slots");
  if (slots > 0 && available > slots) return distinct(available, slots, random, first);
  std::vector<std::int64_t> chosen(static_cast<std::size_t>(available));
  std::iota(chosen.begin(), chosen.end(), 0);
  for (std::int64_t i = available; i < slots; ++i)
    chosen.push_back(static_cast<std::int64_t>(
        random.below(first + static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(available))));
  return chosen;
}

std::vector<std::int64_t> sample_labels(const std::vector<std::int64_t>& labels, std::int64_t most,
                                        const Philox& random, std::uint64_t first) {
  const auto n = static_cast<std::int64_t>(labels.size());
  if (most <= 0 || n <= most) return labels;
  std::vector<std::int64_t> chosen;
  for (const std::int64_t i : distinct(n, most, random, first)) chosen.push_back(labels[static_cast<std::size_t>(i)]);
  return chosen;
}

}  // namespace ov
