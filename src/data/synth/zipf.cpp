#include "data/synth/zipf.h"

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/io/durable_directory.h"
#include "base/io/file.h"
#include "base/parallel.h"
#include "data/synth/builder.h"
#include "data/synth/output.h"
#include "data/synth/shards.h"
#include "image/encode.h"

namespace ov::synth {
namespace {

constexpr std::int64_t most_pictures = 1 << 24, most_tests = 1 << 16;  // of the pool; of a kind, each a file
constexpr std::int64_t pictures_of_a_shard = 1000, chunk = 512;
constexpr int cells = 2;  // a side; square, as a CLIP sees pictures
constexpr double largest_weight = 1e7;
constexpr const char *question = "what is this ?", *groups[] = {"Tail", "Middle", "Head"};

struct Kind {
  std::string color, shape;
  bool large;
  std::string name() const { return cat(large ? "large " : "small ", color, " ", shape); }
};

class ZipfPool {
 public:
  ZipfPool(const ZipfOptions& options, const std::string& root)
      : options_(options), root_(root), toy_(options.data_dir) {
    for (const bool large : {false, true})
      for (const std::string& color : toy_.world.colors)
        for (const std::string& shape : toy_.world.shapes) kinds_.push_back({color, shape, large});
    // Whole numbers, so that the last bit of a power does not decide what is drawn.
    std::vector<int> number(kinds_.size());
    std::iota(number.begin(), number.end(), 1);
    Draws(options.seed, "synth zipf order", 0).shuffle(number);
    for (const int r : number)
      weights_.push_back(std::max(1, static_cast<int>(std::lround(largest_weight * std::pow(r, -options.exponent)))));
  }

  void write() {
    write_pool();
    std::vector<std::size_t> rarest_first(kinds_.size());
    std::iota(rarest_first.begin(), rarest_first.end(), 0);
    std::stable_sort(rarest_first.begin(), rarest_first.end(),
                     [&](std::size_t a, std::size_t b) { return counts_[a] < counts_[b]; });
    const std::size_t tenth = kinds_.size() / 10;
    std::vector<int> group(kinds_.size(), 1);
    for (std::size_t i = 0; i < tenth; ++i) group[rarest_first[i]] = 0, group[rarest_first[kinds_.size() - 1 - i]] = 2;
    write_test(group, kinds_[rarest_first.back()].name());

    std::string names;
    Json all = Json::array();
    for (const Kind& k : kinds_) names += k.name() + "\n";
    for (const std::size_t k : rarest_first)
      all.push(Json::object({{"kind", kinds_[k].name()}, {"group", groups[group[k]]}, {"pictures", counts_[k]}}));
    write_durably(root_ + "/concepts.txt", names);
    const Json about = Json::object({{"seed", static_cast<std::int64_t>(options_.seed)},
                                     {"exponent", options_.exponent},
                                     {"pool", options_.pool},
                                     {"test_per_kind", options_.test},
                                     {"kinds", all}});
    write_durably(root_ + "/zipf.json", about.dump(2) + "\n");
  }

 private:
  struct Drawn {
    std::size_t kind;
    std::string png;
  };

  // Picture `index` of one of the parts, of a given kind or of one that is drawn.
  Drawn draw(const char* part, std::int64_t index, std::int64_t kind = -1) const {
    const std::string purpose = cat("synth zipf ", part);
    Draws draws(options_.seed, purpose, static_cast<std::uint64_t>(index));
    const std::size_t k = kind < 0 ? draws.weighted(weights_) : static_cast<std::size_t>(kind);
    SceneBuilder builder(toy_, draws);
    builder.begin(cells * cell, cells * cell);
    const int at = draws.below(cells * cells);
    draw_shape(builder, kinds_[k].color, kinds_[k].shape, kinds_[k].large, at % cells, at / cells);
    const Scene scene = builder.finish("shapes", options_.seed, purpose + " noise", static_cast<std::uint64_t>(index));
    return {k, encode_png(scene.image)};
  }

  // draw(i) on all threads, then take(i, drawn) in the order of i.
  template <class Draw, class Take>
  void in_order(const char* part, std::int64_t n, Draw draw, Take take) const {
    for (std::int64_t begin = 0; begin < n; begin += chunk) {
      std::vector<Drawn> drawn(static_cast<std::size_t>(std::min(chunk, n - begin)));
      parallel_for(static_cast<std::int64_t>(drawn.size()), 8,
                   [&](std::int64_t i) { drawn[static_cast<std::size_t>(i)] = draw(begin + i); });
      for (std::size_t i = 0; i < drawn.size(); ++i) take(begin + static_cast<std::int64_t>(i), drawn[i]);
      if (options_.progress) options_.progress(part, begin + static_cast<std::int64_t>(drawn.size()), n);
    }
  }

  void write_pool() {
    make_directories(root_ + "/pool");
    ShardWriter shards(root_ + "/pool", "pool", static_cast<std::size_t>(pictures_of_a_shard),
                       read_file(options_.data_dir + "/sample_loader.py"));
    counts_.assign(kinds_.size(), 0);
    in_order(
        "pool", options_.pool, [&](std::int64_t i) { return draw("pool", i); },
        [&](std::int64_t i, const Drawn& d) {
          ++counts_[d.kind];
          Json texts = Json::array();
          texts.push(Json::object({{"role", "user"}, {"content", cat("<image>\n", question)}}));
          texts.push(Json::object({{"role", "assistant"}, {"content", kinds_[d.kind].name()}}));
          const std::string name = cat("0_", numbered("", i, 8), ".png");
          const Json sample = Json::object({{"texts", texts}, {"media", "image"}, {"name", Words{name}}});
          shards.add(cat("image_", i), {{name, d.png}, {"json", sample.dump()}});
        });
    shards.finish();
  }

  void write_test(const std::vector<int>& group, const std::string& commonest) const {
    const std::string root = root_ + "/test";
    make_directories(root + "/images");
    std::string lines[3];
    in_order(
        "test", options_.test * static_cast<std::int64_t>(kinds_.size()),
        [&](std::int64_t i) { return draw("test", i, i / options_.test); },
        [&](std::int64_t i, const Drawn& d) {
          const std::string id = numbered("kind_", i, 6), image = cat("images/", id, ".png");
          AppendFile(root + "/" + image, 0).append(d.png);  // the directory as a whole is made durable
          const std::string name = kinds_[d.kind].name();
          lines[group[d.kind]] += Json::object({{"id", id},
                                                {"image", image},
                                                {"category", groups[group[d.kind]]},
                                                {"template", name},
                                                {"question", question},
                                                {"answer", name},
                                                {"scorer", "exact"}})
                                      .dump() +
                                  "\n";
        });
    for (int g = 0; g < 3; ++g) write_durably(cat(root, "/", groups[g], ".jsonl"), lines[g]);
    Json answers = Json::object();
    for (const Kind& k : kinds_) answers.set(k.name(), Json::object({{"answer", commonest}}));
    write_durably(root + "/commonest_answers.json", answers.dump(2) + "\n");
  }

  const ZipfOptions& options_;
  const std::string root_;
  const ToyWorld toy_;
  std::vector<Kind> kinds_;
  std::vector<int> weights_;          // of the kinds
  std::vector<std::int64_t> counts_;  // of their pictures in the pool
};

}  // namespace

void write_zipf_pool(const ZipfOptions& o) {
  for (const auto& [name, count, end] : {std::tuple{"pool", o.pool, most_pictures}, {"test", o.test, most_tests}})
    if (count < 1 || count >= end) input_error("synth: ", name, ": expected 1 to ", end - 1, ", found ", count);
  if (!(o.exponent >= 0 && o.exponent <= 4)) input_error("synth: zipf: expected 0 to 4, found ", o.exponent);
  make_directories(parent_directory(o.out_dir));
  DurableDirectory directory(o.out_dir, "synth");
  ZipfPool(o, directory.path()).write();
  directory.commit(DurableDirectory::Flush::file_system);
}

}  // namespace ov::synth
