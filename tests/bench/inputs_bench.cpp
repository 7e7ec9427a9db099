// What stands before the model: a 1920 x 1080 JPEG to patches, and ten megabytes of text to ids with the real
// vocabulary, each on one thread. Peers, with --torch PYTHON: tests/bench/hf_inputs.py.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/io/file.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "image/decode.h"
#include "image/encode.h"
#include "image/patches.h"
#include "tests/bench/torch_peer.h"
#include "text/tokenizer.h"

namespace ov::bench {
namespace {

const std::string directory = "build/bench-inputs";

// Alternates ours and the peer on the file at `path`.
void compare(const char* step, const std::string& path, const std::function<std::size_t()>& ours, double megabytes) {
  const int all = threads();
  set_threads(1);
  std::unique_ptr<Peer> peer;
  if (!torch_python().empty()) peer = std::make_unique<Peer>(torch_python(), "tests/bench/hf_inputs.py", step, 1, 1);
  if (peer && peer->facts.is_null())
    std::printf("  %s does not run hf_inputs.py: no peer\n", torch_python().c_str()), peer = nullptr;
  std::vector<double> mine, theirs;
  for (int round = 0; round < 9; ++round) {
    const double start = seconds();
    const std::size_t count = ours();
    mine.push_back(seconds() - start);
    if (round == 0) mine.clear(), std::printf("  %zu %s\n", count, *step == 'i' ? "patches" : "ids");
    if (!peer) continue;
    const double theirs_now = peer->seconds(path);
    if (round > 0) theirs.push_back(theirs_now);
  }
  const auto line = [&](const std::string& name, double s) {
    std::printf("  %-44s median %7.1f ms", name.c_str(), 1e3 * s);
    if (megabytes > 0) std::printf("  %6.2f MB/s", megabytes / s);
    std::printf("\n");
  };
  line("ours", summary(mine).median);
  if (peer) {
    line(peer->facts.dump(), summary(theirs).median);
    std::printf("  ratio: %.2f\n", summary(theirs).median / summary(mine).median);
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
      "image", path,
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
    for (const std::string& f : files) all += read_file(f);
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
  compare("text", path, ours, static_cast<double>(all.size()) * 1e-6);
}

const Benchmark registered_image("image", image), registered_text("text", text);

}  // namespace
}  // namespace ov::bench
