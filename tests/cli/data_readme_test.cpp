// The commands of data/README.md, run as they stand there on a small world: only how many steps, draws and clusters is
// another number.
#include <doctest/doctest.h>

#include <filesystem>
#include <regex>

#include "base/text.h"
#include "curate/embeddings.h"
#include "image/encode.h"
#include "tests/cli/program.h"

using namespace ov;
namespace fs = std::filesystem;

namespace {

// The indented lines of a section that begin with `start`.
std::vector<std::string> lines_of(const std::string& section, const std::string& start) {
  const std::string text = read_file("data/README.md");
  const std::size_t begin = text.find("\n## " + section + "\n");
  REQUIRE(begin != text.npos);
  const std::size_t end = std::min(text.find("\n## ", begin + 1), text.size());
  std::vector<std::string> all;
  std::istringstream lines(text.substr(begin, end - begin));
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("    " + start)) all.push_back(line.substr(4));
  return all;
}

std::string smaller(std::string command) {
  for (const auto& [large, small] : {std::pair{"--n 3000", "--n 10"}, {"--k 100", "--k 4"}})
    command = std::regex_replace(command, std::regex(large), small);
  command = std::regex_replace(command, std::regex(" --steps [0-9]+"), "");
  const bool trains =
      command.find("onevision pretrain") != command.npos || command.find("onevision train") != command.npos;
  return trains ? command + " --steps 2" : command;
}

// Where the commands find what they name: build/onevision, build/demo, data and configs.
struct Place {
  ScratchDirectory dir;
  Place() {
    make_directories(dir / "build/demo/midtrain"), make_directories(dir / "run");
    fs::create_symlink(program_path(), dir / "build/onevision");
    for (const char* shipped : {"data", "configs"}) fs::create_directory_symlink(fs::absolute(shipped), dir / shipped);
    REQUIRE(run({"synth", "--what", "world", "--synth.captions", "60", "--synth.regions", "12", "--synth.instruct", "4",
                 "--synth.text", "20", "--synth.test", "3", "--out", dir / "build/demo/world"})
                .exit == 0);
    REQUIRE(run({"merge", "--config", "configs/model/tiny.json", "--tokenizer", "data/tokenizer", "--out",
                 dir / "build/demo/stage0"})
                .exit == 0);
    fs::create_directory_symlink(dir / "build/demo/stage0", dir / "build/demo/midtrain/model");
  }
  void check(const std::string& command) const {
    const std::string log = dir / "log";
    const int status = std::system(("cd " + dir.path() + " && " + command + " >log 2>&1").c_str());
    CHECK_MESSAGE(status == 0, command, "\n", read_file(log));
  }
};

}  // namespace

TEST_CASE("data/README.md: the commands from a CLIP to packs and to RICE's classes run as they stand") {
  const Place place;
  const std::vector<std::string> commands = lines_of("Concept-balanced pictures", "build/onevision ");
  CHECK(commands.size() > 10);
  for (const std::string& command : commands) place.check(smaller(command));
  const Embeddings concepts = Embeddings::open(place.dir / "run/concepts.safetensors");
  for (std::int64_t i = 0; i < concepts.size(); ++i) CHECK(concepts.id(i).find('{') == std::string::npos);
}

TEST_CASE("data/README.md: a manifest of sources as it stands there makes instruction data that trains") {
  const Place place;
  const std::vector<std::string> manifest = lines_of("Rules for instruction data", "{\"sources\"");
  REQUIRE(manifest.size() == 1);
  make_directories(place.dir / "sets/pictures");
  Image image(56, 56);
  for (std::size_t b = 0; b < image.rgb.size(); ++b) image.rgb[b] = static_cast<std::uint8_t>(b % 201);
  write_durably(place.dir / "sets/pictures/a.png", encode_png(image));
  write_durably(place.dir / "sets/manifest.json", manifest[0]);
  std::string records;
  for (const char* what : {"ring", "cube", "star"})
    records += cat(R"({"image": "a.png", "conversations": [{"from": "human", "value": "what is in the picture ?"},)",
                   R"( {"from": "gpt", "value": "a red )", what, " on the white sand\"}]}\n");
  write_durably(place.dir / "sets/mine.jsonl", records);
  int ran = 0;
  for (const std::string& command : lines_of("Rules for instruction data", "build/onevision "))
    if (command.find("--url") == command.npos) place.check(smaller(command)), ++ran;
  CHECK(ran == 2);
}
