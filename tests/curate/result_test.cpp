// A finished run is known again, and its bytes do not depend on the folder one stands in.
#include "curate/result.h"

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "curate/balance.h"
#include "curate/concepts.h"
#include "curate/dedup.h"
#include "curate/embed.h"
#include "curate/embeddings.h"
#include "data/raw/drawn_records.h"
#include "image/encode.h"
#include "model/files/clip_directory.h"
#include "store/parquet/writer.h"
#include "store/tar.h"
#include "tests/base/kill_at_step.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using test::contains, test::thrown;
namespace fs = std::filesystem;

namespace {

// A folder with pictures, a vocabulary and a CLIP.
struct World {
  ScratchDirectory dir;
  World() {
    const Tokenizer tokenizer = Tokenizer::read("data/tokenizer");
    ClipConfig c;
    c.image = 28, c.patch = 14, c.projection = 8, c.vocabulary = tokenizer.vocab_size(), c.max_positions = 12;
    c.eos = *tokenizer.token_id("<|endoftext|>");
    c.vision = {.layers = 1, .hidden = 64, .heads = 2, .intermediate = 256};
    c.text = {.layers = 1, .hidden = 16, .heads = 2, .intermediate = 32};
    ClipModel model(c);
    model.parameters().allocate(Dtype::f32, cpu());
    initialize(model, {}, 1);
    make_directories(dir / "model");
    write_clip(dir / "model", model);
    tokenizer.write(dir / "model");
    std::string lines;
    for (int i = 0; i < 12; ++i) {
      Image image(30 + i, 31);
      for (std::size_t b = 0; b < image.rgb.size(); ++b) image.rgb[b] = static_cast<std::uint8_t>(b * 7 + i * 13);
      write_durably(dir / cat("p", i, ".png"), encode_png(image));
      lines += Json::object({{"image", cat("p", i, ".png")}, {"caption", cat("picture ", i)}}).dump() + "\n";
    }
    write_durably(dir / "data.jsonl", lines);
    write_durably(dir / "words.txt", "a ring\nsand\n");
  }
  EmbedOptions embedding(const std::string& from, const std::string& out) const {
    EmbedOptions o;
    o.model = from + "model", o.sources = {from + "data.jsonl"}, o.image_dir = from + ".", o.out = out;
    o.device = &cpu();
    return o;
  }
};

// Bytes that this process has asked files for by read(); a mapping is not counted.
std::int64_t bytes_read() {
  std::ifstream file("/proc/self/io");
  std::string word;
  for (std::int64_t n; file >> word >> n;)
    if (word == "rchar:") return n;
  return -1;
}

struct StandIn {
  const fs::path before = fs::current_path();
  explicit StandIn(const fs::path& directory) { fs::current_path(directory); }
  ~StandIn() { fs::current_path(before); }
};

}  // namespace

TEST_CASE("embed: what stands already is known by its inputs, and made again when one is another") {
  const World w;
  EmbedOptions o = w.embedding(w.dir / "", w.dir / "pictures");
  const auto inode = [&] { return fs::last_write_time(o.out); };
  const std::string report = silently([&] { return embed(o); }).dump();
  const auto first = inode();
  const auto again = [&] {
    const std::string said = silently([&] { return embed(o); }).dump();
    return said == report && inode() == first;
  };
  CHECK(again());
  for (const char* shard : {"1/2", "merge", ""}) {
    o.shard = Shard::parse(shard);
    CHECK(again());
    CHECK(!path_exists(o.out + ".blocks"));
  }
  // A report that is not of this file, a file that is not of this report.
  const std::string whole = read_file(o.out);
  write_durably(o.out, whole + "x");
  CHECK_FALSE(again());
  CHECK(read_file(o.out) == whole);
  std::string flipped = whole;
  flipped[whole.size() / 2] ^= 1;
  write_durably(o.out, flipped);
  CHECK_FALSE(again());
  CHECK(read_file(o.out) == whole);
  std::ofstream(w.dir / "data.jsonl", std::ios::app) << "{\"image\": \"p0.png\", \"caption\": \"one more\"}\n";
  CHECK(silently([&] { return embed(o); }).at("out").as_int() == 13);
  o.dtype = Dtype::f64;
  const auto before = inode();
  silently([&] { return embed(o); });
  CHECK(inode() != before);
}

TEST_CASE("concepts: a caption in a tar or in Parquet that is another of the same length is read again") {
  const ScratchDirectory dir;
  const auto write = [&](const std::string& path, const std::string& caption) {
    Image image(31, 31);
    const std::string picture = encode_png(image);
    if (path.ends_with(".tar")) {
      TarWriter tar(path);
      tar.add("0.png", picture), tar.add("0.txt", caption), tar.finish();
      return;
    }
    ParquetWriter table(path, {parquet_image("image"), {"caption"}}, {.codec = ParquetCodec::none});
    table.add(Json::object({{"image", Json::object({{"bytes", picture}})}, {"caption", caption}})), table.finish();
  };
  for (const std::string name : {"a.tar", "a.parquet"}) {
    CAPTURE(name);
    ConceptOptions o;
    o.sources = {dir / name}, o.out = dir / (name + ".words"), o.min_count = 1;
    const auto run = [&](const char* shard) {
      o.shard = Shard::parse(shard);
      silently([&] { concepts(o); });
    };
    const auto holds = [&](const char* word) { return contains(read_file(o.out), word); };
    write(dir / name, "a ring");
    const std::string fingerprint = open_records(dir / name)->fingerprint();
    run("");
    CHECK(holds("ring"));
    write(dir / name, "a kiln");
    REQUIRE(open_records(dir / name)->fingerprint() == fingerprint);  // else it would be seen without looking at times
    run("");
    CHECK(holds("kiln"));
    // Blocks of a run that is not over.
    fs::remove(o.out + ".report.json"), run("1/1");
    REQUIRE(path_exists(o.out + ".blocks"));
    write(dir / name, "a sand");
    run("");
    CHECK(holds("sand"));
    // Who only joins takes blocks as they are, as beside a younger copy of the data.
    fs::remove(o.out + ".report.json"), run("1/1");
    write(dir / name, "a sand");
    run("merge");
    CHECK(holds("sand"));
    write(dir / name, "a sand");
    run("merge");
    // A time that is still to come says nothing.
    fs::last_write_time(dir / name, fs::file_time_type::clock::now() + std::chrono::hours(9));
    const auto written = fs::last_write_time(o.out);
    run("");
    CHECK(fs::last_write_time(o.out) == written);
  }
}

TEST_CASE("balance: pictures that were embedded again as others are drawn from anew") {
  const World w;
  EmbedOptions e = w.embedding(w.dir / "", w.dir / "pictures");
  EmbedOptions words = e;
  words.sources = {}, words.image_dir = "", words.sentence = "{}";
  words.concepts = w.dir / "words.txt", words.out = w.dir / "concepts";
  BalanceOptions b;
  b.pictures = {e.out}, b.concepts = words.out, b.out = w.dir / "drawn", b.k = 1, b.n = 6;
  silently([&] { return embed(e), embed(words), balance(b); });
  const auto made = [&] { return fs::last_write_time(b.out); };
  const auto first = made();
  const auto again = [&] {
    silently([&] { return fs::remove(e.out), embed(e); });
    fs::last_write_time(e.out, first - std::chrono::hours(1));  // by its content, not by its time
    silently([&] { balance(b); });
    return made();
  };
  CHECK(again() == first);
  write_durably(w.dir / "p3.png", read_file(w.dir / "p5.png"));
  CHECK(again() != first);
  // A file that was written since, whose metadata name what they did: its bytes may be others.
  const auto second = made();
  write_durably(e.out, read_file(e.out));
  silently([&] { balance(b); });
  CHECK(made() != second);
}

TEST_CASE("embed: a model's files are hashed once") {
  const World w;
  const EmbedOptions o = w.embedding(w.dir / "", w.dir / "pictures");
  const auto model = static_cast<std::int64_t>(fs::file_size(w.dir / "model/model.safetensors"));
  REQUIRE(model > 64 << 10);  // smaller files are read where others are mapped (base/io/mapped_file.h)
  const std::int64_t before = bytes_read();
  silently([&] { return embed(o); });
  const std::int64_t read = bytes_read() - before;
  CHECK(read >= model);
  CHECK(read < 2 * model);
}

TEST_CASE("manifests have the same bytes from whatever folder, and draw from it") {
  const World w;
  const auto all_from = [&](const fs::path& here, const std::string& from) {
    const StandIn place(here);
    EmbedOptions e = w.embedding(from, "pictures");
    e.sentence = "{}";
    EmbedOptions words = e;
    words.sources = {}, words.image_dir = "", words.concepts = from + "words.txt", words.out = "concepts";
    BalanceOptions b;
    b.pictures = {"pictures"}, b.concepts = "concepts", b.out = "drawn", b.k = 1, b.n = 6;
    DedupOptions d;
    d.sources = e.sources, d.embeddings = {"pictures"}, d.image_dir = e.image_dir, d.out = "kept", d.cosine = 1;
    silently([&] { return embed(e), embed(words), balance(b), dedup(d); });
    // Asked for by the path as it is typed here.
    CHECK(drawn_records(open_records(e.sources[0]), "drawn")->size() > 0);
    std::string out;
    for (const char* name : {"pictures", "concepts", "drawn", "kept"})
      out += read_file(name) + read_file(std::string(name) + ".report.json");
    return out;
  };
  fs::create_directories(w.dir / "here/below"), fs::create_directories(w.dir / "elsewhere");
  const std::string one = all_from(w.dir / "here/below", "../../");
  CHECK(one == all_from(w.dir / "elsewhere", w.dir / ""));
  CHECK_FALSE(contains(one, "../"));
  CHECK_FALSE(contains(one, w.dir.path()));
  // A set that was moved and renamed is known by its content.
  fs::rename(w.dir / "data.jsonl", w.dir / "renamed.jsonl");
  CHECK(drawn_records(open_records(w.dir / "renamed.jsonl"), w.dir / "elsewhere/drawn")->size() > 0);
}
