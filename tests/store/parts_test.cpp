// Tensors in pieces, over several files.
#include "store/parts.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <numeric>

#include "base/io/file.h"
#include "base/json.h"
#include "store/hf_weights.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

Tensor counted(const Shape& shape, float from) {
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), from);
  return Tensor::of(values, shape);
}

// Elements of `whole` that a piece has, one by one as parts.h says it.
Tensor piece_of(const Tensor& whole, std::int64_t blocks, const SavedParts::Piece& p) {
  const std::int64_t row = whole.numel() / blocks;
  std::vector<float> held;
  for (std::int64_t b = 0; b < blocks; ++b)
    for (std::int64_t i = 0; i < p.width; ++i) held.push_back(whole.data<float>()[b * row + p.first + i]);
  return Tensor::of(std::vector<float>(held.begin() + p.begin, held.begin() + p.end), {p.size()});
}

struct Saved {
  ScratchDirectory dir;
  SavedParts::Index index{7, "lm_head.weight\n", {}, {}};
  const Tensor rows = counted({6, 4}, 0), columns = counted({3, 8}, 100), thirds = counted({6, 2}, 200),
               one = counted({5}, 300);

  Saved() {
    index.tensors = {{"lm_head.weight", {6, 4}, true, 1, {{0, 0, 24, 0, 11}, {2, 0, 24, 11, 24}}},
                     {"columns", {3, 8}, false, 3, {{1, 4, 4, 0, 12}, {0, 0, 4, 0, 5}, {2, 0, 4, 5, 12}}},
                     {"thirds", {6, 2}, false, 3, {{0, 0, 2, 0, 6}, {1, 2, 2, 0, 1}, {2, 2, 2, 1, 6}}},
                     {"one", {5}, false, 1, {{1, 0, 5, 0, 5}}}};
    const Tensor* tensors[] = {&rows, &columns, &thirds, &one};
    for (std::int64_t part = 0; part < 3; ++part) {
      std::vector<NamedTensor> pieces;
      for (std::size_t i = 0; i < index.tensors.size(); ++i)
        for (const SavedParts::Piece& p : index.tensors[i].pieces) {
          if (p.part != part) continue;
          const SavedParts::Entry& e = index.tensors[i];
          pieces.push_back({e.name, piece_of(*tensors[i], e.blocks, p)});
          if (!e.trained) continue;
          for (const char* moment : SavedParts::moments)
            pieces.push_back({moment + e.name, piece_of(counted({6, 4}, moment[0] == 'm' ? 1000 : 2000), e.blocks, p)});
        }
      const std::string file = SavedParts::file_of(part, 3);
      write_safetensors(dir / file, pieces, {{"step", "7"}});
      index.parts.push_back({file, static_cast<std::int64_t>(std::filesystem::file_size(dir / file)), "none"});
    }
    SavedParts::write_index(dir.path(), index);
  }
  std::string refusal() const {
    return thrown([&] { SavedParts::open(dir.path()); });
  }
  // What is said of an index in which `entry` was changed.
  std::string spoilt(const std::function<void(SavedParts::Index&)>& change) const {
    SavedParts::Index other = index;
    change(other);
    SavedParts::write_index(dir.path(), other);
    const std::string said = refusal();
    SavedParts::write_index(dir.path(), index);
    return said;
  }
};

}  // namespace

TEST_CASE("parts: rows, columns and thirds in ranges of other ranks become whole tensors again, moments too") {
  const Saved saved;
  const SavedParts parts = SavedParts::open(saved.dir.path());
  CHECK(same_bits(parts.tensor("lm_head.weight"), saved.rows));
  CHECK(same_bits(parts.tensor("columns"), saved.columns));
  CHECK(same_bits(parts.tensor("thirds"), saved.thirds));
  CHECK(same_bits(parts.tensor("one"), saved.one));
  CHECK(same_bits(parts.tensor("lm_head.weight", "m/"), counted({6, 4}, 1000)));
  CHECK(same_bits(parts.tensor("lm_head.weight", "v/"), counted({6, 4}, 2000)));
  const CheckpointReader reader = CheckpointReader::open(saved.dir.path());
  CHECK(reader.entries().size() == 4);
  CHECK(same_bits(reader.tensor("columns"), saved.columns));
  for (const auto& e : reader.entries()) CHECK(e.bytes == 4 * e.shape.numel());
}

TEST_CASE("parts: one that is missing, cut, of another step or without a piece is named, as is an index that lies") {
  const Saved saved;
  CHECK(saved.refusal() == "");
  const std::string second = saved.dir / SavedParts::file_of(1, 3), kept = read_file(second);
  std::filesystem::remove(second);
  CHECK(contains(saved.refusal(), "part-00002-of-00003.safetensors: the part is missing; parts.json names it"));
  write_durably(second, kept.substr(0, kept.size() - 4));
  CHECK(contains(saved.refusal(), "part-00002-of-00003.safetensors: has "));
  std::string foreign = kept;
  foreign[foreign.find("\"step\":\"7\"") + 8] = '8';
  write_durably(second, foreign);
  CHECK(contains(saved.refusal(), "part-00002-of-00003.safetensors: is of step 8, parts.json of step 7"));
  std::string renamed = kept;
  renamed[renamed.find("\"one\"") + 1] = 'O';
  write_durably(second, renamed);
  CHECK(contains(saved.refusal(), "tensor 'one': expected 5 elements, found nothing"));
  write_durably(second, kept);

  const auto piece = [](std::size_t tensor, std::size_t i, const SavedParts::Piece& p) {
    return [=](SavedParts::Index& index) { index.tensors[tensor].pieces[i] = p; };
  };
  const std::string gap = "tensor 'lm_head.weight': pieces leave a gap, or overlap";
  CHECK(contains(saved.spoilt(piece(0, 1, {2, 0, 24, 12, 24})), gap));
  CHECK(contains(saved.spoilt(piece(0, 1, {2, 0, 24, 10, 24})), gap));
  CHECK(contains(saved.spoilt(piece(0, 1, {2, 0, 24, 11, 25})), gap));
  CHECK(contains(saved.spoilt(piece(0, 1, {2, 0, 24, 11, 23})), "pieces do not cover [6, 4]"));
  CHECK(contains(saved.spoilt(piece(1, 0, {1, 5, 3, 0, 9})), "tensor 'columns': pieces leave a gap"));
  CHECK(contains(saved.spoilt(piece(3, 0, {3, 0, 5, 0, 5})), "a piece is in part 3, there are 3"));
  CHECK(contains(saved.spoilt(piece(3, 0, {1, 0, 5, -1, 5})), "expected at least 0, found -1"));
  for (const std::int64_t width : {std::int64_t{6}, INT64_MAX})
    CHECK(contains(saved.spoilt(piece(3, 0, {1, 0, width, 0, 5})), "tensor 'one': pieces leave a gap, or overlap"));
  CHECK(contains(saved.spoilt([](SavedParts::Index& i) {
    i.tensors[3].pieces.push_back({1, 0, 5, 5, 5});
  }),
                 "tensor 'one': pieces leave a gap, or overlap"));
  CHECK(contains(saved.spoilt([](SavedParts::Index& i) { i.parts[1].file = "../" + i.parts[1].file; }),
                 "parts: '../part-00002-of-00003.safetensors' is not a plain file name"));
  CHECK(contains(saved.spoilt([](SavedParts::Index& i) { i.tensors[0].blocks = 7; }), "is not 7 equal rows"));
  CHECK(contains(saved.spoilt([](SavedParts::Index& i) { i.tensors.push_back(i.tensors[0]); }), "stands twice"));
  std::string four = read_file(saved.dir / "parts.json");
  four.replace(four.find("[1,0,5,0,5]"), 11, "[1,0,5,0]");
  write_durably(saved.dir / "parts.json", four);
  CHECK(contains(saved.refusal(), "tensor 'one': a piece has 5 numbers, found [1,0,5,0]"));
  write_durably(saved.dir / "parts.json", "{\"step\": 7}");
  CHECK(contains(saved.refusal(), "parts.json: "));
  SavedParts::write_index(saved.dir.path(), saved.index);
  // Pieces of two types: as whole tensors they would have none.
  const std::string third = saved.dir / SavedParts::file_of(2, 3), of_third = read_file(third);
  const Safetensors file = Safetensors::open(third);
  std::vector<NamedTensor> pieces;
  for (const SafetensorsEntry& e : file.entries())
    pieces.push_back({e.name, e.name == "columns" ? file.tensor(e.name).to(Dtype::f64) : file.tensor(e.name)});
  write_safetensors(third, pieces, {{"step", "7"}});
  CHECK(contains(saved.spoilt([&](SavedParts::Index& i) {
    i.parts[2].bytes = static_cast<std::int64_t>(std::filesystem::file_size(third));
  }),
                 "tensor 'columns': expected 7 elements of F32, found F64 [7]"));
  write_durably(third, of_third);
  CHECK(saved.refusal() == "");
  write_safetensors(saved.dir / "model.safetensors", {{"one", saved.one}});
  CHECK(contains(thrown([&] { CheckpointReader::open(saved.dir.path()); }), "holds model.safetensors and parts.json"));
}
