// What stands before the model: a 1920 x 1080 JPEG to patches, and ten megabytes of text to ids with the real
// vocabulary, each on one thread. Peers, with --torch PYTHON: tests/bench/hf_inputs.py.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/io/file.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "image/decode.h"
#include "image/encode.h"
#include "image/patches.h"
#include "tests/bench/torch_peer.h"
#include "text/tokenizer.h"

namespace ov::bench {
namespace {

const std::string directory = "build/bench-inputs";

// Alternates ours and the peers, steps of hf_inputs.py, on the file at `path`. One thread each: the processor's seconds
// say what each takes on a machine that does other things too.
void compare(const std::vector<const char*>& steps, const char* unit, const std::string& path,
             const std::function<std::size_t()>& ours, double megabytes) {
  const int all = threads();
  set_threads(1);
  struct Row {
    std::string name;
    std::unique_ptr<Peer> peer;
    std::vector<double> clock, processor;
  };
  std::vector<Row> rows(1);
  rows[0].name = "ours";
  for (const char* step : steps) {
    if (torch_python().empty()) continue;
    auto peer = std::make_unique<Peer>(torch_python(), "tests/bench/hf_inputs.py", step, 1, 1);
    if (peer->facts.is_null())
      std::printf("  %s does not run hf_inputs.py --step %s: no peer\n", torch_python().c_str(), step);
    else rows.push_back({peer->facts.dump(), std::move(peer), {}, {}});
  }
  for (int round = 0; round < (megabytes > 0 ? 4 : 9); ++round)
    for (Row& row : rows) {
      const double start = seconds(), processor = processor_seconds();
      std::size_t count = 0;
      double clock = 0;
      if (row.peer) clock = row.peer->seconds(path);
      else count = ours(), clock = seconds() - start;
      if (round == 0 && !row.peer) std::printf("  %zu %s\n", count, unit);
      if (round == 0) continue;  // its caches are cold
      row.clock.push_back(clock);
      row.processor.push_back(row.peer ? row.peer->processor_seconds : processor_seconds() - processor);
    }
  for (const Row& row : rows) {
    const double clock = summary(row.clock).median, processor = summary(row.processor).median;
    std::printf("  %-56s median %7.1f ms, of processors %7.1f ms", row.name.c_str(), 1e3 * clock, 1e3 * processor);
    if (megabytes > 0) std::printf("  %6.2f MB/s", megabytes / processor);
    if (row.peer)
      std::printf("  ratio: %.2f, by processor time %.2f", clock / summary(rows[0].clock).median,
                  processor / summary(rows[0].processor).median);
    std::printf("\n");
  }
  set_threads(all);
}

void image() {
  std::printf("image: a 1920 x 1080 JPEG to patches, one thread\n");
  // Smooth noise: neighbouring pixels are alike, as in a photograph.
  Image picture(1920, 1080);
  const Philox random(3, "bench picture");
  for (std::int64_t y = 0; y < picture.height; ++y)
    for (std::int64_t x = 0; x < 3 * picture.width; ++x) {
      const auto coarse = static_cast<std::uint64_t>((y / 8) * 1000 + x / 24);
      picture.row(y)[x] = static_cast<std::uint8_t>(
          64 + random.below(coarse, 128) + random.below(1'000'000 + static_cast<std::uint64_t>(y * 5760 + x), 16));
    }
  std::filesystem::create_directories(directory);
  const std::string path = directory + "/picture.jpg";
  write_durably(path, encode_jpeg(picture, 90));
  const ProcessorConfig config;
  compare(
      {"image", "image_fast"}, "patches", path,
      [&] { return static_cast<std::size_t>(make_patches(read_image(path), config).pixel_values.dim(0)); }, 0);
}

void text() {
  std::printf("text: 10 MB of this repository's sources, pages and data, one thread\n");
  std::string all;
  std::vector<std::string> files;
  for (const char* root : {"README.md", "src", "kernels", "data", "tests/bench"})
    for (const auto& e :
         std::filesystem::recursive_directory_iterator(std::filesystem::is_directory(root) ? root : "configs"))
      if (e.is_regular_file() && e.file_size() < 200'000) files.push_back(e.path());
  std::sort(files.begin(), files.end());
  while (all.size() < 10'000'000)
    for (const std::string& f : files)
      if (const std::string text = read_file(f); utf8_prefix(text) == text.size()) all += text;  // no pictures
  // Documents of about 4 KB, as records are.
  std::vector<std::string> documents;
  for (std::size_t begin = 0; begin < all.size();) {
    const std::size_t end = std::min(all.find('\n', std::min(begin + 4096, all.size() - 1)), all.size() - 1) + 1;
    documents.push_back(all.substr(begin, end - begin));
    begin = end;
  }
  std::string file;
  for (std::size_t i = 0; i < documents.size(); ++i) file += (i ? std::string(1, '\0') : "") + documents[i];
  std::filesystem::create_directories(directory);
  const std::string path = directory + "/text";
  write_durably(path, file);
  const Tokenizer tokenizer = Tokenizer::from_merges("tests/golden/qwen_vocab/merges.txt");
  const auto ours = [&] {
    std::size_t ids = 0;
    for (const std::string& d : documents) ids += tokenizer.encode(d).size();
    return ids;
  };
  compare({"text"}, "ids", path, ours, static_cast<double>(all.size()) * 1e-6);
}

const Benchmark registered_image("image", image), registered_text("text", text);

}  // namespace
}  // namespace ov::bench
