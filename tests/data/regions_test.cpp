// Region annotations: test 3 of RICE pre-training (the sampler), the file, the loader, and what must be refused.
#include "data/raw/regions.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/parallel.h"
#include "data/load/region_loader.h"
#include "image/encode.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

class RegionSet {
 public:
  std::string picture(const std::string& name, std::int64_t width, std::int64_t height, int shade = 40) const {
    Image image(width, height);
    for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<std::uint8_t>(shade + i % 7);
    write_durably(dir_ / name, encode_png(image));
    return name;
  }
  std::string file(const std::string& lines) const {
    write_durably(dir_ / "regions.jsonl", lines);
    return dir_ / "regions.jsonl";
  }
  std::string path(const std::string& name) const { return dir_ / name; }

 private:
  ScratchDirectory dir_;
};

std::string object(const char* box, const char* name) {
  return std::string("{\"box\": ") + box + ", \"class\": \"" + name + "\"}";
}

std::string line(const std::string& image, const std::string& objects, const std::string& ocr = "") {
  return "{\"image\": \"" + image + "\", \"objects\": [" + objects + "], \"ocr\": [" + ocr + "]}\n";
}

RegionLoaderOptions options_of(const std::string& file) {
  RegionLoaderOptions o;
  o.regions = file;
  o.images.min_pixels = 28 * 28;
  o.regions_per_picture = 0;
  return o;
}

}  // namespace

TEST_CASE("rice test 3: N slots of I regions: all and repeats, exactly all, or N different ones") {
  constexpr std::int64_t N = 10;
  for (const std::int64_t available : {std::int64_t{1}, N - 1, N, N + 1, std::int64_t{50}}) {
    CAPTURE(available);
    std::map<std::int64_t, double> times;
    constexpr int draws = 4000;
    for (int s = 0; s < draws; ++s) {
      const Philox random(5, "region sampling", static_cast<std::uint64_t>(s));
      const auto chosen = sample_regions(available, N, random, 64);
      REQUIRE(static_cast<std::int64_t>(chosen.size()) == N);
      const std::set<std::int64_t> distinct(chosen.begin(), chosen.end());
      CHECK(static_cast<std::int64_t>(distinct.size()) == std::min(available, N));
      CHECK(*distinct.begin() >= 0);
      CHECK(*distinct.rbegin() < available);
      for (const std::int64_t i : chosen) times[i] += 1;
      if (s == 0) {
        CHECK(chosen == sample_regions(available, N, random, 64));
        if (available > N) CHECK(chosen != sample_regions(available, N, Philox(6, "region sampling"), 64));
        if (available > N) CHECK(chosen != sample_regions(available, N, random, 128));
      }
    }
    // Every region as often as another. Variance of one count: at most that of a binomial.
    const double expected = static_cast<double>(draws * N) / static_cast<double>(available);
    for (const auto& [region, n] : times) CHECK(std::abs(n - expected) < 5 * std::sqrt(expected));
  }
  CHECK(sample_regions(3, 0, Philox(1, "x"), 0) == std::vector<std::int64_t>{0, 1, 2});
  CHECK_THROWS_AS(sample_regions(0, 3, Philox(1, "x"), 0), Error);
}

TEST_CASE("rice test 3: the labels of a long string are a uniform choice of its positions") {
  const std::vector<std::int64_t> labels = {4, 4, 7, 9, 2, 1};
  CHECK(sample_labels(labels, 6, Philox(1, "x"), 0) == labels);
  CHECK(sample_labels(labels, 0, Philox(1, "x"), 0) == labels);
  std::map<std::int64_t, double> times;
  for (std::uint64_t s = 0; s < 3000; ++s)
    for (const std::int64_t k : sample_labels(labels, 2, Philox(1, "x", s), 0)) times[k] += 1;
  CHECK(std::abs(times[4] - 2000) < 5 * std::sqrt(2000.0));
  CHECK(std::abs(times[9] - 1000) < 5 * std::sqrt(1000.0));
}

TEST_CASE("regions: classes and characters are numbered in sorted order over the whole file") {
  const RegionSet set;
  set.picture("a.png", 56, 56);
  const RegionFile file(
      set.file(line("a.png", object("[0, 0, 20, 20]", "red square") + "," + object("[1, 1, 9, 9]", "blue ring")) +
               "\n" + line("a.png", "", "{\"box\": [0, 0, 30.5, 10], \"text\": \"七A7A\"}")));
  CHECK(file.size() == 2);
  CHECK(file.classes() == std::vector<std::string>{"blue ring", "red square"});
  CHECK(file.characters() == std::vector<std::string>{"7", "A", "七"});
  CHECK(file.read(0).regions[0].label.object == 1);
  CHECK(file.read(1).regions[0].label.is_text());
  CHECK(file.read(1).regions[0].label.characters == std::vector<std::int64_t>{2, 1, 0, 1});
  CHECK(file.read(1).regions[0].box.x2 == 30.5);
  CHECK(contains(file.read(1).where, "regions.jsonl:3"));
}

TEST_CASE("regions: faults are rejected by reason, with file, line and place") {
  const RegionSet set;
  set.picture("a.png", 56, 28);
  struct Fault {
    std::string line;
    RejectReason reason;
    std::string message;
  };
  const std::string good = object("[0, 0, 20, 20]", "dot");
  const Fault faults[] = {
      {"{\"image\": \"a.png\"\n", RejectReason::malformed_record, "regions.jsonl:1"},
      {"[1]\n", RejectReason::malformed_record, "expected an object"},
      {"{\"objects\": [" + good + "]}\n", RejectReason::malformed_record, "image: expected a path"},
      {line("", good), RejectReason::malformed_record, "image: expected a path"},
      {line("a.png", "{\"box\": [0, 0, 20], \"class\": \"dot\"}"), RejectReason::malformed_record, "objects[0]: box"},
      {line("a.png", good + ",{\"box\": [0, 0, 2, 2]}"), RejectReason::malformed_record, "objects[1]: class"},
      {line("a.png", object("[5, 0, 5, 20]", "dot")), RejectReason::region_box, "x1 < x2"},
      {line("a.png", object("[0, 9, 9, 2]", "dot")), RejectReason::region_box, "y1 < y2"},
      {line("a.png", object("[0, 0, 57, 20]", "dot")), RejectReason::region_box, "reaches out of the picture"},
      {line("a.png", object("[-1, 0, 5, 20]", "dot")), RejectReason::region_box, "56 x 28"},
      {line("a.png", object("[0, 0, 5, 5]", "")), RejectReason::empty_text, "class is empty"},
      {line("a.png", "", "{\"box\": [0, 0, 5, 5], \"text\": \"\"}"), RejectReason::empty_text, "ocr[0]: text is empty"},
      {line("a.png", ""), RejectReason::no_region, "neither objects nor ocr"},
      {line("gone.png", good), RejectReason::image_missing, "gone.png"},
      {line("regions.jsonl", good), RejectReason::image_unusable, "regions.jsonl"}};
  for (const Fault& f : faults) {
    CAPTURE(f.line);
    const std::string file = set.file(f.line + line("a.png", good));
    // One good and one faulty picture: with a reject allowed the good one is read, and the other slot is empty.
    RegionLoaderOptions o = options_of(file);
    o.max_rejects = 1;
    o.rejects_path = set.path("rejects.jsonl");
    o.pictures_per_micro_batch = 1;
    o.micro_batches_per_step = 2;
    RegionLoader loader(o);
    const RegionStep step = loader.next();
    CHECK(step.objects == 1);
    CHECK(step.micro_batches[0].regions.size() + step.micro_batches[1].regions.size() == 1);
    CHECK(loader.state().rejects[f.reason] == 1);
    CHECK(loader.state().rejects.total() == 1);
    JsonlReader rejects(o.rejects_path);
    Json first;
    REQUIRE(rejects.next(&first));
    CHECK(first.at("reason").as_string() == name_of(f.reason));
    CHECK(contains(first.at("message").as_string(), f.message));
    CHECK(contains(first.at("message").as_string(), "regions.jsonl:1"));
    o.max_rejects = 0;
    CHECK(contains(thrown([&] { RegionLoader(o).next(); }), "more than data.max_rejects 0"));
  }
  CHECK(contains(thrown([&] { RegionFile(set.file("\n")); }), "no records"));
  RegionLoaderOptions none = options_of(set.file(line("a.png", "")));
  none.max_rejects = 5;
  CHECK(contains(thrown([&] { RegionLoader(none).next(); }), "none is left"));
  none.pictures_per_micro_batch = 0;
  CHECK(contains(thrown([&] { RegionLoader loader(none); }), "train.micro_batch_samples: expected at least 1"));
  const auto huge = [&](std::int64_t RegionLoaderOptions::*count, std::int64_t value) {
    RegionLoaderOptions o = options_of(set.file(line("a.png", good)));
    o.*count = value;
    return thrown([&] { RegionLoader(o).next(); });
  };
  for (const std::int64_t n : {std::int64_t{1} << 21, (std::int64_t{1} << 62) + 1, INT64_MAX}) {
    CHECK(contains(huge(&RegionLoaderOptions::pictures_per_micro_batch, n), "expected at most 1048576 samples"));
    CHECK(contains(huge(&RegionLoaderOptions::micro_batches_per_step, n), "expected at most 1048576 samples"));
    CHECK(contains(huge(&RegionLoaderOptions::regions_per_picture, n), "data.regions_per_picture: expected at most"));
    CHECK(contains(huge(&RegionLoaderOptions::labels_per_text, n), "data.labels_per_text: expected at most 1048575"));
  }
}

TEST_CASE("regions: boxes follow the picture when it is resized, and come in patches") {
  const RegionSet set;
  set.picture("wide.png", 120, 60);  // becomes 112 x 56
  RegionLoaderOptions o = options_of(set.file(line("wide.png", object("[30, 15, 90, 60]", "dot"))));
  o.pictures_per_micro_batch = o.micro_batches_per_step = 1;
  const RegionStep step = RegionLoader(o).next();
  const RegionBatch& b = step.micro_batches.at(0);
  CHECK(b.grids.at(0) == std::array<std::int64_t, 3>{1, 4, 8});
  CHECK(b.pixel_values.dim(0) == 32);
  CHECK(step.patches == 32);
  const Box& box = b.regions.at(0).box;
  CHECK(box.x1 == doctest::Approx(2).epsilon(1e-12));
  CHECK(box.y1 == doctest::Approx(1).epsilon(1e-12));
  CHECK(box.x2 == doctest::Approx(6).epsilon(1e-12));
  CHECK(box.y2 == doctest::Approx(4).epsilon(1e-12));
}

TEST_CASE("regions: every picture once an epoch; any thread count, cache or resume gives the same steps") {
  const RegionSet set;
  std::string lines;
  for (int i = 0; i < 7; ++i)
    lines += line(set.picture(cat("p", i, ".png"), 56, 28 + 28 * (i % 3), 10 * i),
                  object("[0, 0, 20, 20]", i % 2 ? "odd" : "even") + "," + object("[10, 0, 40, 20]", "dot") + "," +
                      object("[2, 2, 30, 28]", "bar"),
                  "{\"box\": [0, 0, 56, 14], \"text\": \"ABCDEF\"}");
  RegionLoaderOptions o = options_of(set.file(lines));
  o.regions_per_picture = 3;
  o.labels_per_text = 2;
  const auto describe = [](const RegionStep& s) {
    std::string out;
    for (const RegionBatch& b : s.micro_batches) {
      out += cat(" | ", b.pixel_values.dim(0), " ", b.pixel_values.data<float>()[0]);
      for (const Region& r : b.regions) {
        out += cat(" ", r.picture, ".", r.slot, ":", r.label.object);
        for (const std::int64_t k : r.label.characters) out += cat("+", k);
      }
    }
    return out;
  };
  std::vector<std::string> steps;
  RegionLoader loader(o);
  RegionLoaderState middle;
  for (int i = 0; i < 9; ++i) {
    if (i == 4) middle = RegionLoaderState::from_json(Json::parse(loader.state().json().dump(), "state"), "state");
    const RegionStep s = loader.next();
    CHECK(s.objects + s.texts == 12);
    steps.push_back(describe(s));
  }
  CHECK(loader.state().samples == 36);
  CHECK(loader.state().epoch() == 5);
  CHECK(loader.state().position() == 1);
  const int before = threads();
  set_threads(before == 1 ? 2 : 1);
  RegionLoaderOptions uncached = o;
  uncached.cache_bytes = 0;
  RegionLoader again(uncached), resumed(o);
  for (const std::string& s : steps) CHECK(describe(again.next()) == s);
  resumed.restore(middle);
  for (std::size_t i = 4; i < steps.size(); ++i) CHECK(describe(resumed.next()) == steps[i]);
  set_threads(before);
  RegionLoaderOptions other = o;
  other.seed = 2;
  CHECK(describe(RegionLoader(other).next()) != steps[0]);
  CHECK(contains(thrown([&] { RegionLoader(other).restore(middle); }), "seed"));
}
