// What a tower of `pretrain --what vision` has learnt, on pictures it has not seen (rice_pretraining.md 9.3, test 9).
//
//   rice-probe whole REGIONS.jsonl OUT.jsonl
//     the same pictures, each with one object, the whole of it: what an image-level run learns from
//   rice-probe TRAIN.jsonl TEST.jsonl CLUSTERS RUN KEYS...
//     KEYS: those of the run's command that describe the model. Prints one line of JSON:
//       nearest_centre       share of held-out objects whose class of CLUSTERS is the nearest of all centres; with
//       commonest_class      that of the most frequent class, and 1 / K is chance; null where CLUSTERS is -
//       word_1, word_2 ...   linear probes of the words of an object's name, on the mean of the frozen patches it sees
//       patch                of the object under a patch's middle, or of none, on that patch
//       character_ap         mean average precision of the characters of an OCR box, on the mean of its patches
//
// Probes are those of tests/linear_probe.h. The tower is frozen, region layers are used for nearest_centre alone.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "cli/keys.h"
#include "cli/verbs.h"
#include "data/load/region_loader.h"
#include "image/decode.h"
#include "model/region_head.h"
#include "store/hf_weights.h"
#include "store/jsonl.h"
#include "tests/linear_probe.h"
#include "train/checkpoint.h"

using namespace ov;

namespace {

using test::Examples, test::probe, test::Row;

double accuracy(const Examples& train, const Examples& test, std::int64_t classes) {
  const auto scores = probe(train, test, classes);
  double right = 0;
  for (std::size_t n = 0; n < scores.size(); ++n)
    right += std::max_element(scores[n].begin(), scores[n].end()) - scores[n].begin() == test.labels[n][0];
  return right / static_cast<double>(scores.size());
}

// Of classes that any row has, the mean of: the mean precision at the ranks of the rows that have it.
double average_precision(const Examples& train, const Examples& test, std::int64_t classes) {
  const auto scores = probe(train, test, classes);
  double sum = 0, counted = 0;
  for (std::int64_t k = 0; k < classes; ++k) {
    std::vector<std::pair<double, bool>> ranked;
    for (std::size_t n = 0; n < scores.size(); ++n)
      ranked.push_back({-scores[n][static_cast<std::size_t>(k)],
                        std::find(test.labels[n].begin(), test.labels[n].end(), k) != test.labels[n].end()});
    std::sort(ranked.begin(), ranked.end());
    double hits = 0, precision = 0;
    for (std::size_t r = 0; r < ranked.size(); ++r)
      if (ranked[r].second) precision += ++hits / static_cast<double>(r + 1);
    if (hits > 0) sum += precision / hits, ++counted;
  }
  return sum / counted;
}

struct Numbers {  // of names in the order they come
  std::map<std::string, std::int64_t> of;
  std::int64_t operator()(const std::string& name) {
    return of.insert({name, static_cast<std::int64_t>(of.size())}).first->second;
  }
  std::int64_t size() const { return static_cast<std::int64_t>(of.size()); }
};

std::vector<std::string> words(const std::string& name) {
  std::vector<std::string> out(1);
  for (const char c : name) c == ' ' ? out.emplace_back() : out.back() += c;
  return out;
}

// A set's regions and patches behind the frozen tower.
struct Seen {
  std::vector<Examples> words;
  Examples patches, characters;
};

struct Names {
  std::vector<Numbers> words;
  Numbers patches, characters;
};

RegionLoader loader_of(const std::string& file, const std::string& clusters, const ProcessorConfig& images) {
  RegionLoaderOptions o;
  o.regions = file, o.clusters = clusters, o.images = images;
  o.regions_per_picture = o.labels_per_text = 0;
  o.pictures_per_micro_batch = 8, o.micro_batches_per_step = 1, o.max_rejects = 1 << 30;
  return RegionLoader(o);
}

// f(batch, its grids, its boxes) for every picture but the last few.
template <class F>
void each_batch(const RegionLoader& loader, F&& f) {
  for (std::int64_t step = 0; step < loader.file().size() / 8; ++step) {
    const RegionBatch batch = loader.micro_batch(step, 0).batch;
    if (batch.regions.empty()) continue;
    std::vector<Grid> grids;
    for (const auto& g : batch.grids) grids.push_back({g[0], g[1], g[2]});
    std::vector<RegionBox> boxes;
    for (const Region& r : batch.regions) boxes.push_back({r.picture, r.box.x1, r.box.y1, r.box.x2, r.box.y2});
    f(batch, grids, boxes);
  }
}

Seen seen(const RegionLoader& loader, const RiceModel& model, Names& names) {
  Seen out;
  each_batch(
      loader, [&](const RegionBatch& batch, const std::vector<Grid>& grids, const std::vector<RegionBox>& boxes) {
        const VisionLayout layout(grids, model.tower().config.merge, false, cpu());
        const Tensor e =
            model.tower().rows(pixels_on(nullptr, batch.pixel_values, model.parameters()), layout, false).value;
        const auto C = static_cast<std::size_t>(e.dim(1));
        const kernels::RegionTable table = visible_rows(grids, layout, boxes, model.head().config);
        for (std::size_t r = 0; r < batch.regions.size(); ++r) {
          Row mean(C);
          const std::int64_t begin = table.begin[r], end = table.begin[r + 1];
          for (std::int64_t i = begin; i < end; ++i)
            for (std::size_t c = 0; c < C; ++c)
              mean[c] +=
                  double(e.row<float>(table.rows[static_cast<std::size_t>(i)])[c]) / static_cast<double>(end - begin);
          const RegionLabel& label = batch.regions[r].label;
          if (label.is_text()) {
            std::vector<std::int64_t> characters;
            for (const std::int64_t c : label.characters)
              characters.push_back(names.characters(loader.file().characters()[static_cast<std::size_t>(c)]));
            out.characters.add(mean, characters);
          } else {
            const auto parts = words(loader.file().classes()[static_cast<std::size_t>(label.object)]);
            if (out.words.size() < parts.size()) out.words.resize(parts.size());
            if (names.words.size() < parts.size()) names.words.resize(parts.size());
            for (std::size_t w = 0; w < parts.size(); ++w) out.words[w].add(mean, {names.words[w](parts[w])});
          }
        }
        std::int64_t picture = -1;
        for (std::int64_t n = 0; n < e.dim(0); ++n) {
          const double row = static_cast<double>(layout.places[static_cast<std::size_t>(2 * n)]) + 0.5,
                       column = static_cast<double>(layout.places[static_cast<std::size_t>(2 * n + 1)]) + 0.5;
          if (row < 0) {
            ++picture;  // a class token comes before its picture's patches
            continue;
          }
          std::string name = "nothing";
          for (const Region& r : batch.regions)
            if (r.picture == picture && !r.label.is_text() && r.box.x1 <= column && column < r.box.x2 &&
                r.box.y1 <= row && row < r.box.y2)
              name = loader.file().classes()[static_cast<std::size_t>(r.label.object)];
          out.patches.add(Row(e.row<float>(n), e.row<float>(n) + C), {names.patches(name)});
        }
      });
  return out;
}

// Held-out objects by the run's own centres, and by the commonest class.
std::pair<double, double> nearest_centre(const RegionLoader& loader, const RiceModel& model) {
  double right = 0, all = 0;
  std::map<std::int64_t, double> counts;
  const Tensor centres = model.head().class_centres.at(0)->value;
  each_batch(loader,
             [&](const RegionBatch& batch, const std::vector<Grid>& grids, const std::vector<RegionBox>& boxes) {
               const Tensor q = model.regions(nullptr, batch.pixel_values, grids, boxes).value;
               for (std::size_t r = 0; r < batch.regions.size(); ++r) {
                 const RegionLabel& label = batch.regions[r].label;
                 if (label.is_text()) continue;
                 std::pair<double, std::int64_t> best{-2, -1};
                 for (std::int64_t k = 0; k < centres.dim(0); ++k) {
                   double dot = 0, length = 0;
                   for (std::int64_t c = 0; c < centres.dim(1); ++c) {
                     const double w = double(centres.row<float>(k)[c]);
                     dot += w * double(q.row<float>(static_cast<std::int64_t>(r))[c]), length += w * w;
                   }
                   best = std::max(best, {dot / std::sqrt(length), k});
                 }
                 right += best.second == label.object, ++all, ++counts[label.object];
               }
             });
  double commonest = 0;
  for (const auto& [k, n] : counts) commonest = std::max(commonest, n / all);
  return {right / all, commonest};
}

void whole_pictures(const std::string& in, const std::string& out) {
  JsonlReader reader(in);
  std::string lines;
  for (Json line; reader.next(&line);) {
    const std::string& image = line.at("image").as_string();
    const std::string path = parent_directory(in) + "/" + image;
    const ImageSize size = image_size(MappedFile::open(path)->text(), path);
    Json box = Json::array(), objects = Json::array();
    for (const std::int64_t v : {std::int64_t{0}, std::int64_t{0}, size.width, size.height}) box.push(v);
    objects.push(Json::object({{"box", box}, {"class", "picture"}}));
    lines += Json::object({{"image", image}, {"objects", objects}}).dump() + "\n";
  }
  write_durably(out, lines);
}

void judge(const Strings& arguments) {
  const std::string &train = arguments[0], &test = arguments[1], &clusters = arguments[2], &run = arguments[3];
  const Config config = Config::parse(cli::keys(), "pretrain", Strings(arguments.begin() + 4, arguments.end()));
  const VisionConfig vision = cli::described_vision(config);
  ProcessorConfig images = cli::processor_limits(config);
  images.patch = vision.patch, images.merge = vision.merge;

  const std::vector<std::string> saved = checkpoints(run);
  if (saved.empty()) input_error(run, ": holds no checkpoint");
  const CheckpointReader weights = CheckpointReader::open(saved.back());
  RegionHeadConfig head = cli::region_head(config);
  const auto rows = [&](const char* name) { return weights.has(name) ? weights.tensor(name).dim(0) : 0; };
  head.classes = rows("region_head.class_centres"), head.characters = rows("region_head.character_centres");
  RiceModel model(vision, head);
  model.parameters().borrow(Dtype::f32, [&](const Parameters::Entry& e) { return weights.tensor(e.parameter.name); });

  Names names;
  const Seen of_train = seen(loader_of(train, "", images), model, names),
             of_test = seen(loader_of(test, "", images), model, names);
  Json out = Json::object({{"run", run}, {"classes", head.classes}});
  if (clusters != "-") {
    const auto [nearest, commonest] = nearest_centre(loader_of(test, clusters, images), model);
    out.set("nearest_centre", nearest), out.set("commonest_class", commonest);
  }
  for (std::size_t w = 0; w < of_test.words.size(); ++w)
    if (of_test.words[w].features.size() >= 30)  // names of so many words are rare
      out.set(cat("word_", w + 1), accuracy(of_train.words.at(w), of_test.words[w], names.words[w].size()));
  out.set("patch", accuracy(of_train.patches, of_test.patches, names.patches.size()));
  out.set("character_ap", average_precision(of_train.characters, of_test.characters, names.characters.size()));
  std::printf("%s\n", out.dump().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  const Strings arguments(argv + 1, argv + argc);
  try {
    if (arguments.size() == 3 && arguments[0] == "whole") whole_pictures(arguments[1], arguments[2]);
    else if (arguments.size() >= 4) judge(arguments);
    else input_error("rice-probe: expected whole IN OUT, or TRAIN TEST CLUSTERS RUN KEYS...");
  } catch (const Error& e) {
    std::fprintf(stderr, "rice-probe: %s\n", e.what());
    return static_cast<int>(e.exit());
  }
  return 0;
}
