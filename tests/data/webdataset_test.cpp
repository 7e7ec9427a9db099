#include "data/raw/webdataset.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "store/energon.h"
#include "tests/data/loader_fixture.h"

namespace ov::loader_test {
namespace {

using Parts = std::vector<std::pair<std::string, std::string>>;  // member name, bytes

// Writes a shard and gives the borders of its samples.
std::vector<std::uint64_t> shard(const std::string& path, const Parts& members) {
  TarWriter tar(path);
  std::vector<std::uint64_t> borders;
  std::string key;
  for (const auto& [name, bytes] : members) {
    const std::string k = name.substr(0, name.find('.'));
    if (k != key) borders.push_back(tar.offset());
    key = k;
    tar.add(name, bytes);
  }
  borders.push_back(tar.offset());
  tar.finish();
  return borders;
}

std::string picture(const DataSet& d, int shade) { return read_file(d.png("p.png", 28, 28, shade)); }

// A mix sample of one question on one picture.
Parts mix(const DataSet& d, const std::string& key, int shade) {
  const std::string json =
      R"({"texts": [{"role": "user", "content": "<image>what?"}, {"role": "assistant", "content": ")" + key +
      R"("}], "media": "image", "name": ["0_p.png"]})";
  return {{key + ".0_p.png", picture(d, shade)}, {key + ".json", json}};
}

Parts joined(const std::vector<Parts>& all) {
  Parts out;
  for (const Parts& p : all) out.insert(out.end(), p.begin(), p.end());
  return out;
}

// "answer" of each record, or how it is rejected.
std::vector<std::string> answers(const Webdataset& w) {
  std::vector<std::string> out;
  for (std::int64_t i = 0; i < w.size(); ++i) {
    std::string text;
    const std::string error = message_of([&] { text = w.read(i).turns.at(1).text; });
    out.push_back(error.empty() ? text : error.substr(0, error.find(" |")));
  }
  return out;
}

using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE(
    "webdataset: mix samples are conversations with their pictures in memory, with metadata or without (T-32, R-19)") {
  const DataSet d;
  Parts two = mix(d, "image_0", 10);
  two.insert(two.begin() + 1, {"image_0.1_q.jpg", read_file(d.jpeg("q.jpg", 56, 28, 4))});
  two.back().second =
      R"({"texts": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "<image><image>?"},
          {"role": "assistant", "content": "two"}], "media": "image", "name": ["1_q.jpg", "0_p.png"]})";
  const Parts text = {{"text_1.json", R"({"texts": [{"from": "human", "value": "2 + 2"},
                                                    {"from": "gpt", "value": "4"}], "media": "text"})"}};
  const auto borders = shard(d.path("pretrain-0.tar"), joined({two, text}));
  const Webdataset plain(d.path("pretrain-0.tar"));
  REQUIRE(plain.size() == 2);
  const Conversation c = plain.read(0);
  CHECK(contains(c.where, "pretrain-0.tar: sample 'image_0'"));
  REQUIRE(c.turns.size() == 3);
  CHECK(c.turns[0].role == "system");
  CHECK(c.images == Strings{"image_0.1_q.jpg", "image_0.0_p.png"});
  CHECK(c.image_bytes[0] == read_file(d.path("q.jpg")));
  CHECK(plain.read(1).images.empty());
  CHECK(plain.read(1).turns[0].role == "user");

  // The sample is that of the same pictures in files.
  Conversation files{c.where, {d.path("q.jpg"), d.path("p.png")}, c.turns};
  const Sample a = make_sample(c, small_processor(), {}), b = make_sample(files, small_processor(), {});
  CHECK(a.ids == b.ids);
  CHECK(same_bits(a.pixel_values, b.pixel_values));
  std::swap(files.images[0], files.images[1]);
  CHECK(!same_bits(a.pixel_values, make_sample(files, small_processor(), {}).pixel_values));

  write_tar_index(d.path("pretrain-0.tar"), borders);
  write_energon_meta(d.path(""), {"MultiMixQASample", {"pretrain-0.tar"}, {{"pretrain-0.tar", 2}}}, "m", "");
  const Webdataset indexed(d.path(""));
  CHECK(answers(indexed) == answers(plain));
  CHECK(indexed.read(0).image_bytes == c.image_bytes);
}

TEST_CASE("webdataset: a directory without shards is refused with what it holds, and how that is read") {
  const DataSet d;
  std::filesystem::create_directory(d.path("set"));
  CHECK(contains(message_of([&] { open_records(d.path("set")); }), "or .parquet files; found nothing"));
  for (const char* name : {"a.jsonl", "b.json", "notes.md"}) d.write(cat("set/", name), "{\"caption\": \"a\"}\n");
  CHECK(message_of([&] { open_records(d.path("set")); })
            .ends_with(cat("found a.jsonl, b.json, notes.md; JSON files are named one by one: ", d.path("set"),
                           "/a.jsonl ", d.path("set"), "/b.json")));
}

TEST_CASE("webdataset: a packed sample is a record for each of its conversations (T-29)") {
  const DataSet d;
  const std::string one = picture(d, 1), two = picture(d, 2), three = picture(d, 3);
  shard(d.path("a.tar"), {{"ps_00000000.img0.jpg", one},
                          {"ps_00000000.img1.jpg", two},
                          {"ps_00000000.json", R"({"prompts": ["<image>", "name it"], "captions": ["A", "B"],
                                                   "images": ["x", "y"]})"},
                          {"ps_00000001.img000_001.png", two},  // the successor's names and lists of turns
                          {"ps_00000001.img000_000.png", three},
                          {"ps_00000001.json", R"({"prompts": [["<image> or <image>", "more"]],
                                                   "captions": [["C", "D"]]})"}});
  const Webdataset w(d.path("a.tar"));
  REQUIRE(w.size() == 3);
  CHECK(w.read(0).turns[0].text == "<image>");
  CHECK(w.read(1).turns[0].text == "<image>\nname it");
  CHECK(w.read(1).turns[1].text == "B");
  CHECK(w.read(1).image_bytes == std::vector<std::string_view>{two});
  CHECK(contains(w.read(1).where, "sample 'ps_00000000', conversation 2"));
  REQUIRE(w.read(2).turns.size() == 4);
  CHECK(w.read(2).turns[0].text == "<image> or <image>");
  CHECK(w.read(2).image_bytes == std::vector<std::string_view>{three, two});
}

TEST_CASE("webdataset: captions in txt or json, and bare lists of messages") {
  const DataSet d;
  const std::string p = picture(d, 1);
  shard(d.path("a.tar"),
        {{"x/a.jpg", p},
         {"x/a.txt", "a ring"},
         {"x/b.json", R"({"caption": "two rings"})"},
         {"x/b.PNG", p},
         {"x/c.jpg", p},
         {"x/c.json", R"([{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "yes"}])"}});
  const Webdataset w(d.path("a.tar"));
  CHECK(answers(w) == Strings{"a ring", "two rings", "yes"});
  CHECK(w.read(0).turns[0].text == "<image>");
  for (int i = 0; i < 3; ++i) CHECK(w.read(i).image_bytes.size() == 1);
}

TEST_CASE("webdataset: what a sample gets wrong is told by its reason, and the others are read") {
  const DataSet d;
  const std::string p = picture(d, 1);
  shard(d.path("a.tar"), joined({mix(d, "good", 1),
                                 {{"a.json", "{\"texts\": "}},
                                 {{"b.json", R"({"texts": [], "media": "video", "name": []})"}},
                                 {{"c.json", R"({"texts": [], "media": "image", "name": ["0_gone.jpg"]})"}},
                                 {{"d.jpg", p}},
                                 {{"e.txt", "no picture"}},
                                 {{"f.jpg", p}, {"f.jpg", p}, {"f.txt", "twice"}},
                                 {{"g.json", R"({"texts": [{"role": "poet", "content": "x"}]})"}},
                                 {{"h.json", R"({"prompts": ["a"], "captions": ["b"]})"}}}));
  CHECK(answers(Webdataset(d.path("a.tar"))) == Strings{"good", "malformed_record", "malformed_record", "image_missing",
                                                        "malformed_record", "image_count", "duplicate_key",
                                                        "malformed_record", "malformed_record"});

  shard(d.path("p.tar"), {{"a.img0.jpg", p},
                          {"a.json", R"({"prompts": ["q"], "captions": ["A"]})"},
                          {"b.json", R"({"prompts": ["q", "r"], "captions": ["A"]})"},
                          {"c.img0.jpg", p},
                          {"d.json", R"({"prompts": [["q", "r"]], "captions": [["A"]]})"}});
  CHECK(answers(Webdataset(d.path("p.tar"))) ==
        Strings{"A", "malformed_record", "malformed_record", "malformed_record"});
}

TEST_CASE("webdataset: the second sample of a key is a duplicate, in one shard or across shards of a directory") {
  const DataSet d;
  std::filesystem::create_directory(d.path("w"));
  std::filesystem::create_directory(d.path("w/other"));
  shard(d.path("w/0.tar"), joined({mix(d, "a", 1), mix(d, "b", 2), mix(d, "a", 3)}));
  shard(d.path("w/1.tar"), joined({mix(d, "c", 1), mix(d, "b", 1)}));
  const Webdataset w(d.path("w"));
  CHECK(answers(w) == Strings{"a", "b", "duplicate_key", "c", "duplicate_key"});
  CHECK(contains(message_of([&] { w.read(4); }), "w/1.tar: sample 'b': this key came before, in " + d.path("w/0.tar")));

  // Parts of a merged data set number their samples each on their own.
  shard(d.path("w/other/1.tar"), joined({mix(d, "b", 1)}));
  std::filesystem::remove(d.path("w/1.tar"));
  write_energon_meta(d.path("w"), {"MultiMixQASample", {"0.tar", "other/1.tar"}, {}}, "m", "");
  CHECK(answers(Webdataset(d.path("w"))) == Strings{"a", "b", "duplicate_key", "b"});
}

TEST_CASE("webdataset: of a shard cut anywhere, whole samples are read and all others counted") {
  const DataSet d;
  std::filesystem::create_directory(d.path("w"));
  const auto borders = shard(d.path("w/0.tar"), joined({mix(d, "a", 1), mix(d, "b", 2), mix(d, "c", 3)}));
  const std::string whole = read_file(d.path("w/0.tar"));
  const EnergonMeta meta{"MultiMixQASample", {"0.tar"}, {{"0.tar", 3}}};
  for (const bool index : {false, true})
    for (const bool promised : {false, true}) {
      if (index) write_tar_index(d.path("w/0.tar"), borders);
      else std::filesystem::remove(d.path("w/0.tar.idx"));
      if (promised) write_energon_meta(d.path("w"), meta, "m", "");
      else std::filesystem::remove_all(d.path("w/.nv-meta"));
      for (std::size_t size = 0; size <= whole.size(); size += 256) {
        write_durably(d.path("w/0.tar"), whole.substr(0, size));
        const Strings got = answers(Webdataset(d.path("w")));
        // Without an index only the first member of the next sample, a closing block, or the file's end after a whole
        // member tell that one is whole. Where that member is not the last of its sample, the sample is read without
        // the rest and rejected for what it lacks.
        std::size_t good = 0, half = 0;
        bool border = false;
        for (std::size_t i = 0; i < 3; ++i) {
          const auto pixels = [&](std::size_t k) { return picture(d, static_cast<int>(k) + 1).size(); };
          const std::size_t next = i < 2 ? tar_block + pixels(i + 1) : tar_block;
          const bool ends = !index && size == borders[i + 1];
          good += ends || size >= borders[i + 1] + (index ? 0 : next);
          const bool inside = !index && size == borders[i] + tar_block + (pixels(i) + 511) / 512 * 512;
          half += inside;
          border = border || ends || inside;
        }
        const bool cut = good < 3 && !border;
        const std::size_t counted = index || promised ? 3 - good - half : cut;
        Strings want;
        for (std::size_t i = 0; i < good; ++i) want.push_back(std::string(1, static_cast<char>('a' + i)));
        want.insert(want.end(), half, "malformed_record");
        want.insert(want.end(), counted, "damaged_shard");
        CHECK_MESSAGE(got == want, "size ", size, " index ", index, " promised ", promised);
      }
    }
}

TEST_CASE(
    "webdataset: samples that energon's split excludes are left out, with an index and without, and must be there") {
  const DataSet d;
  std::filesystem::create_directory(d.path("w"));
  const auto borders = shard(d.path("w/0.tar"), joined({mix(d, "a", 1), mix(d, "b", 2), mix(d, "c", 3)}));
  write_energon_meta(d.path("w"), {"MultiMixQASample", {"0.tar"}, {{"0.tar", 3}}}, "m", "");
  const auto exclude = [&](const std::string& names) {
    write_durably(d.path("w/.nv-meta/split.yaml"), "exclude: [" + names + "]\nsplit_parts:\n  train: [0.tar]\n");
  };
  for (const bool index : {false, true}) {
    if (index) write_tar_index(d.path("w/0.tar"), borders);
    exclude("0.tar/b");
    CHECK(answers(Webdataset(d.path("w"))) == Strings{"a", "c"});
    exclude("'0.tar/{a,c}'");
    CHECK(answers(Webdataset(d.path("w"))) == Strings{"b"});
    exclude("0.tar/none");
    CHECK(contains(message_of([&] { Webdataset(d.path("w")); }), "the split excludes sample 'none' of"));
  }
}

TEST_CASE("webdataset: an overwritten header costs its sample when there is an index, and what follows without") {
  const DataSet d;
  const auto borders = shard(d.path("0.tar"), joined({mix(d, "a", 1), mix(d, "b", 2), mix(d, "c", 3)}));
  std::string bytes = read_file(d.path("0.tar"));
  bytes[borders[1] + 2] = 'x';
  write_durably(d.path("0.tar"), bytes);
  const Webdataset w(d.path("0.tar"));
  CHECK(
      contains(message_of([&] { w.read(w.size() - 1); }), cat("0.tar: byte ", borders[1], ": expected a tar header")));
  CHECK(answers(w) == Strings{"damaged_shard"});  // whether `a` is whole only its successor would have told
  write_tar_index(d.path("0.tar"), borders);
  CHECK(answers(Webdataset(d.path("0.tar"))) == Strings{"a", "damaged_shard", "c"});
}

TEST_CASE("webdataset: a missing shard is counted, an index of another shard and an unknown class are refused") {
  const DataSet d;
  std::filesystem::create_directory(d.path("w"));
  CHECK(contains(message_of([&] { Webdataset(d.path("nowhere")); }), "nowhere: no such file or directory"));
  CHECK(contains(message_of([&] { Webdataset(d.path("w")); }), "w: no shard: expected .tar files"));
  const auto borders = shard(d.path("w/0.tar"), joined({mix(d, "a", 1), mix(d, "b", 2)}));
  write_energon_meta(d.path("w"), {"MultiMixQASample", {"0.tar", "1.tar"}, {{"0.tar", 2}, {"1.tar", 2}}}, "m", "");
  CHECK(answers(Webdataset(d.path("w"))) == Strings{"a", "b", "damaged_shard", "damaged_shard"});

  write_tar_index(d.path("w/0.tar"), {0, borders[1]});
  CHECK(contains(message_of([&] { Webdataset(d.path("w")); }), cat("0.tar.idx: ends at byte ", borders[1])));
  write_tar_index(d.path("w/0.tar"), {0, borders[2]});
  CHECK(answers(Webdataset(d.path("w")))[0] == "damaged_shard");  // two samples in one entry
  write_tar_index(d.path("w/0.tar"), borders);

  write_energon_meta(d.path("w"), {"MultiMixQaSample", {"0.tar"}, {}}, "m", "");
  CHECK(contains(message_of([&] { Webdataset(d.path("w")); }), "did you mean 'MultiMixQASample'"));
  write_durably(d.path("w/.nv-meta/dataset.yaml"), "__module__: megatron.energon\n__class__: CrudeWebdataset\n");
  CHECK(answers(Webdataset(d.path("w"))) == Strings{"a", "b"});  // as energon says it: the layout tells itself
  shard(d.path("empty.tar"), {});
  CHECK(contains(message_of([&] { Webdataset(d.path("empty.tar")); }), "empty.tar: no sample"));
}

TEST_CASE("webdataset: the fingerprint follows keys and places, not the path") {
  const DataSet d;
  std::filesystem::create_directory(d.path("w"));
  shard(d.path("w/0.tar"), joined({mix(d, "a", 1), mix(d, "b", 2)}));
  const std::string first = Webdataset(d.path("w")).fingerprint();
  std::filesystem::rename(d.path("w"), d.path("v"));
  CHECK(Webdataset(d.path("v")).fingerprint() == first);
  shard(d.path("v/0.tar"), joined({mix(d, "a", 1), mix(d, "c", 2)}));
  CHECK(Webdataset(d.path("v")).fingerprint() != first);
}

}  // namespace ov::loader_test
