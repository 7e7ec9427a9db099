#include "store/tar.h"

#include <doctest/doctest.h>

#include <cstdlib>

#include "store/energon.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

namespace ov {

using test::contains;

namespace {

using Members = std::vector<std::pair<std::string, std::string>>;

void write_tar(const std::string& path, const Members& members) {
  TarWriter tar(path);
  for (const auto& [name, data] : members) tar.add(name, data);
  tar.finish();
}

Members read_tar(const std::string& path) {
  Members out;
  TarReader tar(MappedFile::open(path));
  for (TarMember m; tar.next(&m);) out.emplace_back(m.name, m.data);
  return out;
}

// What f throws, "cut | " in front of a TruncatedTar; "" when nothing.
template <class F>
std::string complaint(F&& f) {
  try {
    f();
  } catch (const TruncatedTar& e) { return cat("cut | ", e.what()); } catch (const Error& e) {
    return e.what();
  }
  return "";
}

Members odd_members() {
  return {{"a.json", "{}"},
          {"empty.txt", ""},
          {"block.bin", std::string(512, 'b')},
          {"more.bin", std::string(513, '\0')},
          {std::string(100, 'n'), "as long as a header's name"},
          {std::string(101, 'n') + "/" + std::string(180, 'm') + ".jpg", "one that needs an extended header"},
          {"bilder/\xc3\xa4.jpg", "not ASCII"}};
}

}  // namespace

TEST_CASE("tar: what is written is read back, whatever its size and name, and the same members give the same bytes") {
  const ScratchDirectory dir;
  write_tar(dir / "a.tar", odd_members());
  CHECK(read_tar(dir / "a.tar") == odd_members());
  write_tar(dir / "b.tar", odd_members());
  CHECK(read_file(dir / "a.tar") == read_file(dir / "b.tar"));
  write_tar(dir / "none.tar", {});
  CHECK(read_tar(dir / "none.tar").empty());
  TarWriter tar(dir / "never.tar");
  CHECK(contains(complaint([&] { tar.add("", "x"); }), "expected a name"));
  CHECK(contains(complaint([&] { tar.add(std::string("a\0b", 3), "x"); }), "expected a name"));
}

TEST_CASE("tar: GNU tar lists and unpacks what is written") {
  const ScratchDirectory dir;
  write_tar(dir / "a.tar", odd_members());
  REQUIRE(std::system(cat("cd ", dir.path(), " && mkdir out && tar xf a.tar -C out").c_str()) == 0);
  for (const auto& [name, data] : odd_members()) CHECK(read_file(dir / "out/" + name) == data);
}

TEST_CASE("tar: archives of other writers are read: GNU, ustar, pax and v7, long names, directories and links") {
  const ScratchDirectory dir;
  const std::string deep = std::string(90, 'd') + "/" + std::string(60, 'f') + ".jpg";  // fits ustar's prefix field
  const std::string longer = std::string(200, 'x') + ".jpg";                            // fits pax and GNU only
  REQUIRE(std::system(cat("cd ", dir.path(), " && mkdir in && cd in && mkdir ", deep.substr(0, 90), " && echo deep > ",
                          deep, " && echo -n abc > a.txt && ln -s a.txt link && echo long > ", longer)
                          .c_str()) == 0);
  for (const std::string format : {"gnu", "pax", "ustar", "v7"}) {
    const bool all = format == "gnu" || format == "pax", v7 = format == "v7";
    std::string names = "./a.txt ./link";
    if (!v7) names += " ./" + deep.substr(0, 90);
    if (all) names += " ./" + longer;
    REQUIRE(std::system(
                cat("cd ", dir / "in", " && tar cf ../x.tar --sort=name --format=", format, " ", names).c_str()) == 0);
    Members want = {{"./a.txt", "abc"}};
    if (!v7) want.emplace_back("./" + deep, "deep\n");
    if (all) want.emplace_back("./" + longer, "long\n");
    CHECK_MESSAGE(read_tar(dir / "x.tar") == want, format);
  }
}

TEST_CASE("tar: cut anywhere before its end, the file and the byte are named, and the members before are whole") {
  const ScratchDirectory dir;
  const Members members = {{"a.jpg", std::string(700, 'a')}, {"a.json", "{}"}, {"b.jpg", std::string(512, 'b')}};
  write_tar(dir / "whole.tar", members);
  const std::string whole = read_file(dir / "whole.tar");
  const std::uint64_t ends[] = {1536, 2560, 3584};  // of the three members
  REQUIRE(whole.size() == 3584 + 1024);
  for (std::size_t size = 0; size < whole.size(); size += 61) {
    write_durably(dir / "cut.tar", whole.substr(0, size));
    TarReader tar(MappedFile::open(dir / "cut.tar"));
    std::size_t read = 0;
    const std::string error = complaint([&] {
      for (TarMember m; tar.next(&m); ++read) CHECK(m.data == members[read].second);
    });
    // One block of zeros closes an archive for every reader; the second one may be missing.
    CHECK_MESSAGE(contains(error, cat("cut | ", dir / "cut.tar", ": cut short: ")) == (size < 4096), size);
    CHECK(contains(error, " at byte ") == (size < 4096));
    // A member counts when its last byte is there, padded or not.
    const std::size_t last_bytes[] = {512 + 700, 2048 + 2, 2560 + 512 + 512};
    for (std::size_t i = 0; i < 3; ++i) CHECK((read > i) == (size >= last_bytes[i]));
    CHECK(tar.offset() == (read ? ends[read - 1] : 0));
  }
  for (std::size_t i = 0; i < 3; ++i) {  // cut between members, nothing of those before is missing
    write_durably(dir / "cut.tar", whole.substr(0, ends[i]));
    CHECK(read_tar(dir / "cut.tar") == Members(members.begin(), members.begin() + static_cast<std::ptrdiff_t>(i) + 1));
  }
  CHECK(read_tar(dir / "whole.tar") == members);  // the twin: uncut it reads to the end
}

TEST_CASE("tar: a changed byte in a header is found by its checksum; content carries none") {
  const ScratchDirectory dir;
  write_tar(dir / "a.tar", {{"a.txt", "abc"}, {"b.txt", "def"}});
  const std::string good = read_file(dir / "a.tar");
  for (std::size_t at = 1024; at < 1536; ++at) {  // the header of b.txt
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    write_durably(dir / "b.tar", bad);
    const std::string error = complaint([&] { read_tar(dir / "b.tar"); });
    const bool in_checksum_padding = at == 1024 + 154 || at == 1024 + 155;  // a zero byte and a blank end the number
    if (!in_checksum_padding) CHECK_MESSAGE(contains(error, "b.tar: byte 1024: expected a tar header"), at);
  }
  std::string other = good;
  other[512] = 'x';
  write_durably(dir / "b.tar", other);
  CHECK(read_tar(dir / "b.tar")[0].second == "xbc");
}

TEST_CASE("tar: a size that is no number, or a malformed pax header, is told") {
  const ScratchDirectory dir;
  const auto with_checksum = [](std::string bytes, std::size_t header) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < 512; ++i)
      sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(bytes[header + i]);
    char text[8];
    std::snprintf(text, sizeof text, "%06llo", static_cast<unsigned long long>(sum));
    return bytes.replace(header + 148, 7, std::string(text, 7));
  };
  write_tar(dir / "a.tar", {{std::string(150, 'n'), "abc"}});
  const std::string good = read_file(dir / "a.tar");
  CHECK(with_checksum(good, 0) == good);
  std::string bad = good;
  bad[124] = '9';
  write_durably(dir / "b.tar", with_checksum(bad, 0));
  CHECK(contains(complaint([&] { read_tar(dir / "b.tar"); }), "byte 0: expected a tar header, but the size"));
  bad = good;
  bad[512] = '9';  // the record's length
  write_durably(dir / "b.tar", bad);
  CHECK(contains(complaint([&] { read_tar(dir / "b.tar"); }), "byte 0: malformed pax header"));
}

// One archive in memory: for each entry a header of this type with this size field, and data in whole blocks.
struct Entry {
  std::string name;
  char type;
  std::size_t says;
  std::string data;
};
std::string archive(const std::vector<Entry>& entries, bool signed_sum = false) {
  std::string out;
  for (const Entry& e : entries) {
    std::string h(512, '\0');
    char size[12];
    std::snprintf(size, sizeof size, "%011zo", e.says);
    h.replace(0, e.name.size(), e.name).replace(124, 11, size).replace(156, 1, 1, e.type).replace(148, 8, 8, ' ');
    int sum = 0;
    for (const char c : h) sum += signed_sum ? static_cast<signed char>(c) : static_cast<unsigned char>(c);
    std::snprintf(size, sizeof size, "%06o", sum);
    out += h.replace(148, 7, std::string(size, 7)) + e.data + std::string((512 - e.data.size() % 512) % 512, '\0');
  }
  return out + std::string(1024, '\0');
}

TEST_CASE("tar: kinds of entries are taken as Python's tarfile takes them") {
  const ScratchDirectory dir;
  const auto read = [&](const std::string& bytes) {
    write_durably(dir / "k.tar", bytes);
    std::string names;
    const std::string error = complaint([&] {
      for (const auto& [name, data] : read_tar(dir / "k.tar")) names += cat(name, "=", data, " ");
    });
    return names + error;
  };
  const Entry last{"z", '0', 1, "Z"};
  CHECK(read(archive({{"a", '0', 1, "A"}, {"b", '\0', 1, "B"}, {"c", '7', 1, "C"}, last})) == "a=A b=B c=C z=Z ");
  // A directory of the oldest form; links, devices and pipes have no data even when their size says so.
  CHECK(read(archive({{"d/", '\0', 0, ""}, last})) == "z=Z ");
  for (const char type : {'1', '2', '3', '4', '5', '6'}) CHECK(read(archive({{"l", type, 700, ""}, last})) == "z=Z ");
  CHECK(read(archive({{"v", 'V', 1, "v"}, last})) == "z=Z ");  // another kind, with data
  CHECK(read(archive({{"p", 'x', 10, "10 path=n\n"}, {"q", '0', 1, "A"}, last})) == "n=A z=Z ");
  CHECK(read(archive({{"p", 'X', 10, "10 path=n\n"}, {"q", '0', 1, "A"}, last})) == "n=A z=Z ");
  CHECK(read(archive({{"p", 'g', 14, "14 comment=ab\n"}, last})) == "z=Z ");
  CHECK(contains(read(archive({{"p", 'g', 10, "10 path=n\n"}, last})), "byte 0: a pax header gives one name"));
  CHECK(contains(read(archive({{"s", 'S', 1, "A"}, last})), "byte 0: member 's' is a sparse file"));
  CHECK(contains(read(archive({{"p", 'x', 22, "22 GNU.sparse.major=1\n"}, {"s", '0', 1, "A"}})), "a sparse file"));
  CHECK(read(archive({{"\xc3\xa4", '0', 1, "A"}}, true)) == "\xc3\xa4=A ");  // a sum of signed bytes
  for (const auto& [bytes, kind] : {std::pair<std::string, std::string>{"\x1f\x8b\x08", "gzip"}, {"BZh9", "bzip2"}})
    CHECK(contains(read(bytes + std::string(2000, 'x')),
                   cat("byte 0: expected a tar header, but the checksum does not fit; "
                       "this looks like a",
                       kind == "gzip" ? " gzip" : " bzip2")));
}

TEST_CASE("energon: index and metadata are read back; what is no index is refused with the number that is wrong") {
  const ScratchDirectory dir;
  CHECK(!read_tar_index(dir / "a.tar"));
  CHECK(!read_energon_meta(dir.path()));
  write_tar_index(dir / "a.tar", {0, 1024, 70656});
  CHECK(*read_tar_index(dir / "a.tar") == std::vector<std::uint64_t>{0, 1024, 70656});
  CHECK(read_file(dir / "a.tar.idx").substr(16) == std::string("\x00\x14\x01\0\0\0\0\0", 8));
  const auto refused = [&](std::vector<std::uint64_t> borders) {
    write_tar_index(dir / "b.tar", borders);
    return complaint([&] { read_tar_index(dir / "b.tar"); });
  };
  CHECK(refused({0, 512}) == "");
  CHECK(contains(refused({512, 1024}), "b.tar.idx: number 1 is 512, expected 0"));
  CHECK(contains(refused({0, 1024, 1024}), "number 3 is 1024, expected a multiple of 512 above 1024"));
  CHECK(contains(refused({0, 1000}), "number 2 is 1000, expected a multiple of 512"));
  write_durably(dir / "b.tar.idx", std::string(12, '\0'));
  CHECK(contains(complaint([&] { read_tar_index(dir / "b.tar"); }), "12 bytes, expected a multiple of 8"));

  const EnergonMeta meta{"PackedCaptioningSample", {"a.tar", "part_01/b.tar"}, {{"a.tar", 2}, {"part_01/b.tar", 11}}};
  write_energon_meta(dir.path(), meta, "some.module", "# python\n");
  const EnergonMeta back = *read_energon_meta(dir.path());
  CHECK(back.sample_class == meta.sample_class);
  CHECK(back.train == meta.train);
  CHECK(back.shard_samples == meta.shard_samples);
}

TEST_CASE("energon: metadata in other spellings of the same YAML, excluded shards, counts in JSON, and what is none") {
  const ScratchDirectory dir;
  REQUIRE(std::system(("mkdir " + (dir / ".nv-meta")).c_str()) == 0);
  write_durably(dir / ".nv-meta/dataset.yaml",
                "__module__: megatron.energon\nsample_type: # what it is\n  __class__: 'MultiMixQASample'\n"
                "  __module__: a.b\n");
  write_durably(dir / ".nv-meta/split.yaml",
                "---\nsplit_parts:\n    val: [v.tar]\n    train:\n      - \"a.tar\"   # first\n      - b.tar\n"
                "      - c.tar\n    test: []\nexclude: [b.tar, 'v.tar']\n");
  write_durably(dir / ".nv-meta/.info.json", "{\"shard_counts\": {\"a.tar\": 5}}");
  const EnergonMeta meta = *read_energon_meta(dir.path());
  CHECK(meta.sample_class == "MultiMixQASample");
  CHECK(meta.train == std::vector<std::string>{"a.tar", "c.tar"});
  CHECK(meta.shard_samples == std::map<std::string, std::int64_t>{{"a.tar", 5}});

  const auto refused = [&](const std::string& name, const std::string& text) {
    write_durably(dir / ".nv-meta/" + name, text);
    return complaint([&] { read_energon_meta(dir.path()); });
  };
  CHECK(contains(refused(".info.yaml", "shard_counts:\n  a.tar: five\n"), ".info.yaml:2: a.tar: expected a number"));
  CHECK(refused(".info.yaml", "shard_counts:\n  a.tar: 5\n") == "");
  // A map of parts is read where it is what is read anyway.
  CHECK(refused("dataset.yaml", "field_map:\n  image: png\n  caption: json[caption]\nsubflavors: {}\n") == "");
  CHECK(refused("dataset.yaml", "field_map: {}\n") == "");
  CHECK(contains(refused("dataset.yaml", "field_map:\n  image: jpg\n  caption: json[short]\n"),
                 "dataset.yaml:3: field_map: 'caption: json[short]' is not read"));
  CHECK(contains(refused("dataset.yaml", "field_map: {image: seg.png}\n"), "dataset.yaml:1: field_map: "));
  write_durably(dir / ".nv-meta/dataset.yaml", "");
  CHECK(contains(refused("split.yaml", "split_parts:\n  train:\n    - {a: b}\n"), "split.yaml:3: expected a plain"));
  CHECK(contains(refused("split.yaml", "split_parts:\n  train: a.tar\n"), "split.yaml:2: expected a list"));
  CHECK(contains(refused("split.yaml", "what is this\n"), "split.yaml:1: expected 'key: value'"));
  std::string braces, many = "split_parts:\n  train:\n";
  for (int i = 0; i < 20000; ++i) braces += "{}";
  for (int i = 0; i < 30; ++i) many += "    - \"a{0..99999}.tar\"\n";
  CHECK(contains(refused("split.yaml", "split_parts:\n  train: [\"" + braces + "\"]\n"), "more than 16 braces"));
  CHECK(contains(refused("split.yaml", many), "more than a million names"));
  const std::string wide(100000, 'a');
  CHECK(contains(refused("split.yaml", "split_parts:\n  train: [\"{0..99999}" + wide + "\"]\n"), "64 MB"));
  CHECK(contains(refused("split.yaml", "split_parts:\n  train: [a.tar]\n  train: [b.tar]\n"),
                 "split.yaml:3: 'train' stands there twice"));
  CHECK(contains(refused("split.yaml", "a: 1\n---\nb: 2\n"), "a second document"));
}

TEST_CASE("energon: names with braces, excluded samples, split.json, and what cannot be") {
  const ScratchDirectory dir;
  REQUIRE(std::system(("mkdir " + (dir / ".nv-meta")).c_str()) == 0);
  const auto meta = [&] { return *read_energon_meta(dir.path()); };
  const auto wrong = [&] { return complaint([&] { meta(); }); };
  const auto train = [&](const std::string& names, const std::string& exclude = "[]") {
    write_durably(dir / ".nv-meta/split.yaml",
                  "exclude: " + exclude + "\nsplit_parts:\n  val: [v.tar]\n  train: " + names);
    return meta().train;
  };
  using Names = std::vector<std::string>;
  CHECK(contains(wrong(), ".nv-meta/: holds neither split.yaml nor split.json"));
  CHECK(train("\n  - a-{0..2}.tar\n") == Names{"a-0.tar", "a-1.tar", "a-2.tar"});
  CHECK(train("['{008..11}.tar']") == Names{"008.tar", "009.tar", "010.tar", "011.tar"});
  CHECK(train("\n  - p{1..2}/{x,y}.tar\n") == Names{"p1/x.tar", "p1/y.tar", "p2/x.tar", "p2/y.tar"});
  CHECK(train("[\"{3..1}.tar\", 'a,b.tar']") == Names{"3.tar", "2.tar", "1.tar", "a,b.tar"});
  CHECK(train("\n  - a{x}.tar\n") == Names{"a{x}.tar"});
  CHECK(train("[./a.tar, a.tar, p//b.tar, p/q/../b.tar]") == Names{"a.tar", "a.tar", "p/b.tar", "p/b.tar"});
  CHECK(train("[a.tar, b.tar]", "[./a.tar]") == Names{"b.tar"});
  CHECK(contains(complaint([&] { train("\n  - a{0..999999999}.tar\n"); }),
                 "split.yaml: 'a{0..999999999}.tar' stands for"));
  CHECK(contains(complaint([&] { train("\n  - a{{0..1},c}.tar\n"); }), "braces inside braces"));
  CHECK(contains(complaint([&] { train("\n  - a{a..c}.tar\n"); }), "for whole numbers only"));

  CHECK(train("\n  - a-{0..3}.tar\n", "['a-{1..2}.tar', a-0.tar/k1, 'a-0.tar/d/k{2,3}', v.tar, a-1.tar/k]") ==
        Names{"a-0.tar", "a-3.tar"});
  CHECK(meta().excluded_samples == std::map<std::string, std::set<std::string>>{{"a-0.tar", {"k1", "d/k2", "d/k3"}}});
  CHECK(contains(complaint([&] { train("[aa.tar]", "[ab.tar]"); }),
                 "split.yaml: exclude: 'ab.tar': no part of the split has this shard; did you mean 'aa.tar'?"));
  CHECK(contains(complaint([&] { train("[aa.tar]", "[ab.tar/1]"); }), "no part of the split has this shard"));

  REQUIRE(std::system(("rm " + (dir / ".nv-meta/split.yaml")).c_str()) == 0);
  write_durably(
      dir / ".nv-meta/split.json",
      R"({"exclude": ["s1.tar/2"], "split_parts": {"train": ["s{0..1}.tar"], "val": ["s2.tar"], "test": []}})");
  CHECK(meta().train == Names{"s0.tar", "s1.tar"});
  CHECK(meta().excluded_samples.at("s1.tar") == std::set<std::string>{"2"});
  write_durably(dir / ".nv-meta/split.json", R"({"split_parts": {"train": [1]}})");
  CHECK(contains(wrong(), "split.json: expected a string"));
  write_durably(dir / ".nv-meta/split.json", R"({"split_parts": {"train": ["s0.tar"]}})");
  for (const auto& [counts, says] :
       {std::pair<std::string, std::string>{"[1]", ".info.json: shard_counts: expected an object"},
        {R"({"s0.tar": "x"})", ".info.json: shard_counts: s0.tar: expected a number"},
        {R"({"s0.tar": -1})", "s0.tar: expected a number"},
        {R"({"s0.tar": 999999999999999999})", ".info.json: s0.tar: 999999999999999999 samples"}}) {
    write_durably(dir / ".nv-meta/.info.json", "{\"shard_counts\": " + counts + "}");
    CHECK_MESSAGE(contains(wrong(), says), wrong());
  }
  write_durably(dir / ".nv-meta/.info.yaml", "shard_counts:\n  s0.tar: 999999999999999999\n");
  CHECK(contains(wrong(), ".info.yaml: s0.tar: 999999999999999999 samples are promised"));
}

}  // namespace ov
