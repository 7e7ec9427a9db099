#include "store/parts.h"

#include <algorithm>
#include <cstring>

#include "base/io/file.h"
#include "base/json.h"

namespace ov {
namespace {

std::string five_digits(std::int64_t n) {
  const std::string digits = std::to_string(n);
  return std::string(digits.size() < 5 ? 5 - digits.size() : 0, '0') + digits;
}

std::int64_t at_least_0(const Json& value) {
  if (value.as_int() < 0) input_error("expected at least 0, found ", value.as_int());
  return value.as_int();
}

SavedParts::Entry read_entry(const Json& value, std::size_t parts) {
  SavedParts::Entry e{
      value.at("name").as_string(), {}, value.at("trained").as_bool(), at_least_0(value.at("blocks")), {}};
  std::vector<std::int64_t> dims;
  for (const Json& dim : value.at("shape").items()) dims.push_back(at_least_0(dim));
  e.shape = Shape(dims);
  for (const Json& piece : value.at("pieces").items()) {
    if (piece.items().size() != 5) input_error("a piece has 5 numbers, found ", piece.shown());
    e.pieces.push_back(
        {at_least_0(piece[0]), at_least_0(piece[1]), at_least_0(piece[2]), at_least_0(piece[3]), at_least_0(piece[4])});
    if (e.pieces.back().part >= static_cast<std::int64_t>(parts))
      input_error("a piece is in part ", e.pieces.back().part, ", there are ", parts, ", from 0");
  }
  return e;
}

// Every element once: columns of rows, and of those ranges, without a gap and without overlap.
void check_covers(const SavedParts::Entry& e) {
  const std::int64_t all = e.shape.numel();
  if (e.blocks < 1 || all % e.blocks != 0) input_error(e.shape.str(), " is not ", e.blocks, " equal rows");
  std::vector<SavedParts::Piece> sorted = e.pieces;
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.first != b.first ? a.first < b.first : a.begin < b.begin; });
  std::int64_t column = 0, element = 0, width = 0;  // of the columns that element counts in
  for (const SavedParts::Piece& p : sorted) {
    if (element == width * e.blocks) column += width, element = 0, width = p.width;
    if (p.first != column || p.width != width || p.begin != element || p.end <= p.begin ||
        p.width > all / e.blocks - column || p.end > p.width * e.blocks)
      input_error("pieces leave a gap, or overlap, at element ", p.begin, " of the columns from ", p.first, " on");
    element = p.end;
  }
  if (element != width * e.blocks || column + width != all / e.blocks)
    input_error("pieces do not cover ", e.shape.str());
}

SavedParts::Index read_index(const std::string& path) {
  const Json json = Json::read(path);
  SavedParts::Index index;
  std::string where;
  try {
    index.step = at_least_0(json.at("step"));
    index.trained = json.at("trained").as_string();
    for (const Json& part : json.at("parts").items()) {
      const std::string& file = part.at("file").as_string();
      if (file.find('/') != file.npos) input_error("parts: '", file, "' is not a plain file name");
      index.parts.push_back({file, at_least_0(part.at("bytes")), part.at("sha256").as_string()});
    }
    for (const Json& tensor : json.at("tensors").items()) {
      where = cat("tensor '", tensor.at("name").as_string(), "': ");
      index.tensors.push_back(read_entry(tensor, index.parts.size()));
      check_covers(index.tensors.back());
    }
  } catch (const Error& e) { input_error(path, ": ", where, e.what()); }
  return index;
}

// Elements of a row-major tensor that a piece is made of, as ranges without a gap: copy(from, to, count), with `from`
// counted in the piece.
template <class Copy>
void for_ranges(const SavedParts::Entry& e, const SavedParts::Piece& p, const Copy& copy) {
  const std::int64_t row = e.shape.numel() / e.blocks;
  if (p.width == row) return copy(0, p.begin, p.size());
  for (std::int64_t at = p.begin, end; at < p.end; at = end) {
    const std::int64_t block = at / p.width;
    end = std::min(p.end, (block + 1) * p.width);
    copy(at - p.begin, block * row + p.first + at - block * p.width, end - at);
  }
}

}  // namespace

std::string numbered_file(const std::string& stem, std::int64_t i, std::int64_t n) {
  return stem + "-" + five_digits(i + 1) + "-of-" + five_digits(n) + ".safetensors";
}

std::string SavedParts::file_of(std::int64_t part, std::int64_t parts) { return numbered_file("part", part, parts); }

void SavedParts::write_index(const std::string& directory, const Index& index) {
  Json parts = Json::array(), tensors = Json::array();
  for (const Part& p : index.parts)
    parts.push(Json::object({{"file", p.file}, {"bytes", p.bytes}, {"sha256", p.sha256}}));
  for (const Entry& e : index.tensors) {
    Json shape = Json::array(), pieces = Json::array();
    for (int axis = 0; axis < e.shape.rank(); ++axis) shape.push(e.shape[axis]);
    for (const Piece& p : e.pieces) pieces.push(std::vector<std::int64_t>{p.part, p.first, p.width, p.begin, p.end});
    tensors.push(Json::object(
        {{"name", e.name}, {"shape", shape}, {"trained", e.trained}, {"blocks", e.blocks}, {"pieces", pieces}}));
  }
  const Json json =
      Json::object({{"step", index.step}, {"trained", index.trained}, {"parts", parts}, {"tensors", tensors}});
  write_durably(directory + "/" + index_file, json.dump() + "\n");
}

SavedParts SavedParts::open(const std::string& directory) {
  SavedParts saved;
  saved.path_ = directory + "/" + index_file;
  saved.index_ = read_index(saved.path_);
  for (const Part& part : saved.index_.parts) {
    const std::string path = directory + "/" + part.file;
    if (!path_exists(path)) input_error(path, ": the part is missing; ", index_file, " names it");
    const auto file = MappedFile::open(path);
    if (file->size() != static_cast<std::size_t>(part.bytes))
      input_error(path, ": has ", file->size(), " bytes, ", index_file, " says ", part.bytes);
    saved.files_.push_back(Safetensors::open(file));
    const Metadata& said = saved.files_.back().metadata();
    const auto step = said.find("step");
    if (step == said.end() || step->second != std::to_string(saved.index_.step))
      input_error(path, ": is of step ", step == said.end() ? "none" : step->second, ", ", index_file, " of step ",
                  saved.index_.step);
  }
  for (const Entry& e : saved.index_.tensors) {
    if (!saved.by_name_.emplace(e.name, saved.by_name_.size()).second)
      input_error(saved.path_, ": tensor '", e.name, "': stands twice");
    for (const std::string& prefix : {std::string(), std::string(moments[0]), std::string(moments[1])}) {
      if (!prefix.empty() && !e.trained) continue;
      std::string dtype;
      for (const Piece& p : e.pieces) {
        const Safetensors& file = saved.files_[static_cast<std::size_t>(p.part)];
        const SafetensorsEntry* found = file.find(prefix + e.name);
        if (!found || found->shape.numel() != p.size() || (!dtype.empty() && found->dtype != dtype))
          input_error(file.path(), ": tensor '", prefix, e.name, "': expected ", p.size(), " elements",
                      dtype.empty() ? "" : " of " + dtype, ", found ",
                      found ? cat(found->dtype, " ", found->shape.str()) : "nothing");
        dtype = found->dtype;
      }
    }
  }
  return saved;
}

Dtype SavedParts::dtype(const Entry& e, const std::string& prefix) const {
  if (e.pieces.empty()) return Dtype::f32;  // of no elements
  return files_[static_cast<std::size_t>(e.pieces[0].part)].tensor(prefix + e.name).dtype();
}

Tensor SavedParts::tensor(const std::string& name, const std::string& prefix) const {
  const auto known = by_name_.find(name);
  if (known == by_name_.end()) input_error(path_, ": tensor '", name, "' is missing");
  const Entry& e = index_.tensors[known->second];
  const auto stored = [&](const Piece& p) {
    return files_[static_cast<std::size_t>(p.part)].tensor(prefix + e.name).flat();
  };
  if (e.pieces.size() == 1) return stored(e.pieces[0]).view(e.shape);
  const Tensor whole(e.shape, dtype(e, prefix), cpu(), Segment::data);
  const auto bytes = static_cast<std::int64_t>(size_of(whole.dtype()));
  for (const Piece& p : e.pieces) {
    const Tensor from = stored(p);
    for_ranges(e, p, [&](std::int64_t first, std::int64_t to, std::int64_t count) {
      std::memcpy(whole.bytes() + to * bytes, from.bytes() + first * bytes, static_cast<std::size_t>(count * bytes));
    });
  }
  return whole;
}

}  // namespace ov
