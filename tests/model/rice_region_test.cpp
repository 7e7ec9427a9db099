// Tests 1, 2 and 10 of RICE pre-training: what a region sees, that sharing keys changes nothing, the exported tower.
#include <doctest/doctest.h>

#include <cmath>

#include "base/io/file.h"
#include "base/rng.h"
#include "model/files/merge_sources.h"
#include "model/region_head.h"
#include "nn/init.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

const VisionConfig vision{.depth = 2, .hidden = 16, .heads = 2, .intermediate = 32, .patch = 2};
const std::vector<Grid> grids = {{1, 4, 6}, {1, 2, 4}};
const VisionLayout layout(grids, 2, false, cpu());

void fill(const Tensor& t, const std::string& purpose) {
  const Philox random(1, purpose);
  by_dtype(t.dtype(), [&](auto v) {
    using T = decltype(v);
    for (std::int64_t i = 0; i < t.numel(); ++i) t.data<T>()[i] = T(random.normal(static_cast<std::uint64_t>(i)));
  });
}

std::unique_ptr<RiceModel> small_model(RegionHeadConfig head, Dtype dtype = Dtype::f64) {
  head.classes = 5;
  head.embedding = 8;
  auto model = std::make_unique<RiceModel>(vision, head);
  model->parameters().allocate(dtype, cpu());
  initialize(model->parameters(), {.matrix_std = 0.3, .projection_out_std = 0.3, .patch_embedding_std = 0.3}, 3);
  return model;
}

std::vector<double> embeddings(const RiceModel& model, const Tensor& rows_NC, const std::vector<RegionBox>& regions) {
  return model.head().forward(Var{rows_NC}, grids, layout, regions, model.tower()).value.to_vector<double>();
}

const std::vector<RegionHeadConfig> heads = {
    {.layers = 2},
    {.layers = 1, .query = RegionQuery::learned, .mlp = false, .rope = false, .min_overlap = 0},
    {.layers = 2, .query = RegionQuery::learned}};

}  // namespace

TEST_CASE("rice test 1: tokens outside of the box leave the region's embedding bit-identical, tokens inside do not") {
  const std::vector<RegionBox> regions = {{0, 1, 1, 3, 3}, {1, 0, 0, 2, 2}, {0, 4, 0, 6, 4}};
  for (const RegionHeadConfig& config : heads) {
    const auto model = small_model(config);
    const Tensor rows({layout.positions.dim(0), 16}, Dtype::f64, cpu());
    fill(rows, "rows");
    const auto before = embeddings(*model, rows, regions);
    const auto table = visible_rows(grids, layout, regions, model->head().config);
    for (std::size_t r = 0; r < regions.size(); ++r) {
      std::vector<bool> seen(static_cast<std::size_t>(rows.dim(0)), false);
      for (auto i = table.begin[r]; i < table.begin[r + 1]; ++i)
        seen[static_cast<std::size_t>(table.rows[static_cast<std::size_t>(i)])] = true;
      const Tensor other = rows.contiguous_copy(), inside = rows.contiguous_copy();
      const std::int64_t class_row = layout.segments->host[static_cast<std::size_t>(regions[r].picture)].q_begin;
      for (std::int64_t n = 0; n < rows.dim(0); ++n) {
        if (n == class_row) continue;  // it asks, where the query is the class token
        if (!seen[static_cast<std::size_t>(n)]) fill(other.slice(0, n, n + 1), cat("noise ", n));
      }
      inside.row<double>(table.rows[static_cast<std::size_t>(table.begin[r])])[3] += 1e-6;
      const auto same = embeddings(*model, other, regions), changed = embeddings(*model, inside, regions);
      bool all_same = true, any_changed = false;
      for (std::size_t d = 8 * r; d < 8 * (r + 1); ++d) {
        all_same = all_same && same[d] == before[d];
        any_changed = any_changed || changed[d] != before[d];
      }
      CHECK(all_same);
      CHECK(any_changed);
    }
  }
}

TEST_CASE("rice test 1: a box over the whole picture sees every patch, and is plain attention over them") {
  const auto table = visible_rows(grids, layout, {{0, 0, 0, 6, 4}, {1, 0, 0, 4, 2}}, {.classes = 1});
  CHECK(table.begin == std::vector<std::int64_t>{0, 24, 32});
  const Tensor q({2, 2, 8}, Dtype::f64, cpu()), kv({layout.positions.dim(0), 2, 8}, Dtype::f64, cpu());
  fill(q, "q"), fill(kv, "kv");
  const auto shared = std::make_shared<kernels::RegionSegments>(table, kv.dim(0), cpu());
  const auto got = region_attention(Var{q}, Var{kv}, Var{kv}, shared, 0.3).value.to_vector<double>();
  // Rows of the packed pictures: class 0, patches 1 .. 24, class 25, patches 26 .. 33.
  const kernels::SegmentTable plain = {{0, 1, 1, 24}, {1, 1, 26, 8}}, with_class = {{0, 1, 0, 25}, {1, 1, 25, 9}};
  const auto worst = [&](const kernels::SegmentTable& rows) {
    const auto segments = std::make_shared<kernels::Segments>(rows, 2, kv.dim(0), false, cpu());
    const auto expected = attention(Var{q}, Var{kv}, Var{kv}, {segments, 0.3}).value.to_vector<double>();
    double off = 0;
    for (std::size_t i = 0; i < got.size(); ++i) off = std::max(off, std::abs(got[i] - expected[i]));
    return off;
  };
  CHECK(worst(plain) < 1e-14);
  CHECK(worst(with_class) > 1e-3);  // the twin: the class token is not one of the patches
}

TEST_CASE("rice: which patches a box makes visible, by share of the patch and by touch") {
  const auto cells = [&](const RegionBox& box, double min_overlap) {
    std::string out;
    const auto table = visible_rows(grids, layout, {box}, {.min_overlap = min_overlap, .classes = 1});
    std::vector<std::pair<std::int64_t, std::int64_t>> at;
    for (const std::int64_t n : table.rows) {
      const std::int64_t* p = layout.positions.data<std::int64_t>() + 2 * n;
      at.push_back({p[0], p[1]});
    }
    std::sort(at.begin(), at.end());
    for (const auto& [y, x] : at) out += cat(y, ",", x, " ");
    return out;
  };
  CHECK(cells({0, 1, 1, 3, 2}, 0.5) == "1,1 1,2 ");
  CHECK(cells({0, 1, 1, 3, 2}, 0) == "1,1 1,2 ");            // edges that only meet do not touch
  CHECK(cells({0, 0.5, 1, 3.4, 2}, 0.5) == "1,0 1,1 1,2 ");  // half of the first patch, 0.4 of the last
  CHECK(cells({0, 0.6, 1, 3.4, 2}, 0.5) == "1,1 1,2 ");
  CHECK(cells({0, 0.6, 1, 3.4, 2}, 0) == "1,0 1,1 1,2 1,3 ");
  CHECK(cells({0, 2.4, 3.1, 2.6, 3.2}, 0.5) == "3,2 ");  // smaller than half a patch: the one under its centre
  CHECK(cells({0, 5.99, 3.99, 6, 4}, 0.5) == "3,5 ");
  CHECK_THROWS_AS(cells({0, 2, 1, 2, 2}, 0.5), Error);
  CHECK_THROWS_AS(cells({2, 0, 0, 1, 1}, 0.5), Error);
}

TEST_CASE("rice test 2: keys shared by a picture's regions give what a copy for every region gives") {
  const std::vector<RegionBox> regions = {{0, 1, 1, 3, 3}, {0, 0, 0, 6, 4}, {0, 2.2, 1.2, 5, 4}, {1, 1, 0, 3, 2}};
  const std::int64_t H = 2, D = 8, N = layout.positions.dim(0);
  const kernels::RegionTable table = visible_rows(grids, layout, regions, {.classes = 1});
  const auto shared = std::make_shared<kernels::RegionSegments>(table, N, cpu());
  Tensor q({4, H, D}, Dtype::f32, cpu()), k({N, H, D}, Dtype::f32, cpu()), v = Tensor::like(k);
  fill(q, "q"), fill(k, "k"), fill(v, "v");
  const auto got = region_attention(Var{q}, Var{k}, Var{v}, shared, 0.35).value.to_vector<float>();
  double off = 0, without_mask = 0;
  for (std::int64_t r = 0; r < 4; ++r)
    for (std::int64_t h = 0; h < H; ++h) {
      for (const bool masked : {true, false}) {
        // The expanded form: every token of every picture is a key, hidden ones by a mask of minus infinity.
        std::vector<double> p(static_cast<std::size_t>(N)), o(static_cast<std::size_t>(D), 0.0);
        double total = 0;
        for (std::int64_t n = 0; n < N; ++n) {
          const auto* first = table.rows.data() + table.begin[static_cast<std::size_t>(r)];
          const auto* last = table.rows.data() + table.begin[static_cast<std::size_t>(r) + 1];
          const bool visible = !masked || std::find(first, last, n) != last;
          double s = 0;
          for (std::int64_t d = 0; d < D; ++d)
            s += static_cast<double>(q.row<float>(r * H + h)[d]) * static_cast<double>(k.row<float>(n * H + h)[d]);
          p[static_cast<std::size_t>(n)] = std::exp(0.35 * s + (visible ? 0 : -INFINITY));
          total += p[static_cast<std::size_t>(n)];
        }
        for (std::int64_t n = 0; n < N; ++n)
          for (std::int64_t d = 0; d < D; ++d)
            o[static_cast<std::size_t>(d)] +=
                p[static_cast<std::size_t>(n)] / total * static_cast<double>(v.row<float>(n * H + h)[d]);
        for (std::int64_t d = 0; d < D; ++d) {
          const double diff = std::abs(static_cast<double>(got[static_cast<std::size_t>((r * H + h) * D + d)]) -
                                       o[static_cast<std::size_t>(d)]);
          (masked ? off : without_mask) = std::max(masked ? off : without_mask, diff);
        }
      }
    }
  CHECK(off <= 1e-5);
  CHECK(without_mask > 1e-2);
}

TEST_CASE(
    "rice test 10: the exported tower, without region layers, gives the training graph's patch features exactly") {
  const auto model = small_model({.layers = 2}, Dtype::f32);
  const ScratchDirectory scratch;
  export_tower(scratch / "tower", *model);

  const VisionConfig config = read_tower_source_config(scratch / "tower", 2);
  CHECK(config.depth == vision.depth);
  CHECK(config.hidden == vision.hidden);
  CHECK(config.patch == vision.patch);
  Parameters set;
  const RiceVit tower(set, config);
  set.allocate(Dtype::f32, cpu());
  const MergeSource source = MergeSource::tower(scratch / "tower");
  source.check(set);
  for (const auto& e : set.entries()) e.parameter.value.copy_from(source.tensor(e.parameter.name));
  for (const auto& e : set.entries()) CHECK(e.parameter.name.starts_with("model.visual."));

  const Tensor pixels({layout.patches, 12}, Dtype::f32, cpu());
  fill(pixels, "pixels");
  const auto trained = model->tower().forward(Var{pixels}, layout, false).value.to_vector<float>();
  CHECK(tower.forward(Var{pixels}, layout, false).value.to_vector<float>() == trained);
  set.find("model.visual.blocks.1.mlp.fc2.weight")->value.data<float>()[7] += 1e-3f;
  CHECK(tower.forward(Var{pixels}, layout, false).value.to_vector<float>() != trained);
}

TEST_CASE("rice test 10: a tower of another shape is refused by name") {
  const auto model = small_model({.layers = 1}, Dtype::f32);
  const ScratchDirectory scratch;
  export_tower(scratch / "tower", *model);
  VisionConfig wider = vision;
  wider.intermediate = 48;
  Parameters set;
  const RiceVit tower(set, wider);
  CHECK_THROWS_WITH_AS(MergeSource::tower(scratch / "tower").check(set),
                       doctest::Contains("'model.visual.blocks.0.mlp.fc1.weight'"), Error);
  write_durably(scratch / "config.json", "{\"model_type\": \"qwen3\"}");
  CHECK_THROWS_WITH_AS(read_tower_source_config(scratch.path(), 2), doctest::Contains("describes no tower"), Error);
}
