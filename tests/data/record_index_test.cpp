#include "data/raw/record_index.h"

#include <doctest/doctest.h>
#include <malloc.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "data/raw/json_records.h"
#include "store/energon.h"
#include "store/parquet/writer.h"
#include "tests/data/fault_fixture.h"

namespace ov::loader_test {
namespace {

// All that a record is, or the whole message of its reject.
std::string told(const Records& records, std::int64_t i) {
  std::string out;
  const std::string error = message_of([&] {
    const Conversation c = records.read(i);
    out = cat(c.where, "\n", c.source, "\n");
    for (const std::string& image : c.images) out += image + "\n";
    for (const Turn& t : c.turns) out += t.role + ": " + t.text + "\n";
    for (const std::string_view p : c.image_bytes) out += sha256(p) + "\n";
  });
  return error.empty() ? out : error;
}

Strings all_of(const Records& records) {
  Strings out = {records.fingerprint()};
  for (std::int64_t i = 0; i < records.size(); ++i) out.push_back(told(records, i));
  return out;
}

std::string captions_parquet(const DataSet& d, const std::string& name, int rows, int first = 0) {
  ParquetWriter writer(d.path(name), {{"id"}, {"caption"}, parquet_image("image")}, {.group_rows = 7});
  for (int i = first; i < first + rows; ++i)
    writer.add(Json::object(
        {{"id", cat("r", i)},
         {"caption", cat("caption ", i)},
         {"image", Json::object({{"bytes", read_file(d.png("p.png", 28, 28, i))}, {"path", cat(i, ".png")}})}}));
  writer.finish();
  return d.path(name);
}

// A set of each kind that has an index.
Strings sets_of(const DataSet& d) {
  for (const char* name : {"shards", "tables"}) std::filesystem::create_directory(d.path(name));
  caption_shard(d, "shards/0.tar", 5), caption_shard(d, "shards/1.tar", 4), caption_shard(d, "alone.tar", 3);
  captions_parquet(d, "tables/a.parquet", 20), captions_parquet(d, "tables/b.parquet", 11, 20);
  const std::string lines = d.write("lines.jsonl", "{\"caption\": \"a\", \"image\": \"a.png\"}\n\n{\"id\": 1,, }\n" +
                                                       record("3", Json(), {"q", "a"}).dump() + "\n");
  return {d.ten(), lines, d.path("shards"), d.path("alone.tar"), d.path("tables"), d.path("tables/a.parquet")};
}

std::size_t heap() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

}  // namespace

TEST_CASE("record index: a set of each kind holds the same records with it, and is the same data to a run") {
  const DataSet d;
  for (const std::string& set : sets_of(d)) {
    CAPTURE(set);
    const auto without = open_records(set);
    CHECK(!without->indexed());
    const IndexedRecords made = index_records(set);
    CHECK(made.written);
    CHECK(made.records == without->size());
    const auto with = open_records(set);
    CHECK(with->indexed());
    CHECK(all_of(*with) == all_of(*without));
    CHECK(!index_records(set).written);  // it stands and fits
  }
}

TEST_CASE("record index: every golden webdataset and Parquet file, damaged ones too, reads as it does without") {
  const ScratchDirectory dir;
  std::int64_t opened = 0, refused = 0;
  for (const char* golden : {"tests/golden/webdataset", "tests/golden/webdataset/damaged", "tests/golden/parquet"}) {
    const std::string copy = dir / std::string(golden).substr(std::string(golden).rfind('/') + 1);
    std::filesystem::copy(golden, copy, std::filesystem::copy_options::recursive);
    for (const std::string& name : list_directory(copy)) {
      const std::string set = copy + "/" + name;
      const bool sets = std::filesystem::is_directory(set) || name.ends_with(".tar") || name.ends_with(".parquet");
      if (!sets || name == "damaged") continue;
      CAPTURE(set);
      Strings records;
      const std::string fault = message_of([&] { records = all_of(*open_records(set)); });
      if (!fault.empty()) {
        CHECK(message_of([&] { index_records(set); }) == fault);
        ++refused;
        continue;
      }
      CHECK(index_records(set).written);
      CHECK(open_records(set)->indexed());
      CHECK(all_of(*open_records(set)) == records);
      ++opened;
    }
  }
  CHECK(opened >= 8);
  CHECK(refused >= 1);
}

TEST_CASE("record index: data that is changed while it is read gets none") {
  const DataSet d;
  for (const std::string& set : sets_of(d)) {
    CAPTURE(set);
    const auto records = open_records(set);
    std::string file = set;
    if (std::filesystem::is_directory(set)) file += set == d.path("shards") ? "/1.tar" : "/b.parquet";
    const std::string whole = read_file(file);
    write_durably(file, whole + "\n");
    CHECK(contains(message_of([&] { records->write_index(); }), file + ": was changed while it was indexed"));
    CHECK(!path_exists(RecordIndex::path_of(set)));
    write_durably(file, whole);
  }
}

TEST_CASE("record index: one that does not fit is refused with what has changed, and made anew") {
  const DataSet d;
  const Strings sets = sets_of(d);
  const auto refused = [&](const std::string& set, const std::string& why) {
    const std::string said = message_of([&] { open_records(set); });
    CAPTURE(said);
    CHECK(contains(said, RecordIndex::path_of(set) + ": does not fit the data"));
    CHECK(contains(said, why));
    CHECK(index_records(set).written);
    CHECK(all_of(*open_records(set)) == all_of(*open_records(set, "", "train", UseIndex::no)));
  };
  for (const std::string& set : sets) index_records(set);
  const std::string lines = d.path("lines.jsonl"), text = read_file(lines);
  d.write("lines.jsonl", text + text);
  refused(lines, cat("has ", 2 * text.size(), " bytes, and when it was indexed it has ", text.size()));
  // Of the same size and time, but another beginning.
  const auto time = std::filesystem::last_write_time(lines);
  d.write("lines.jsonl", text.substr(0, 12) + "b" + text.substr(13) + text);
  std::filesystem::last_write_time(lines, time);
  refused(lines, "its first or last bytes are others");
  std::filesystem::last_write_time(lines, time + std::chrono::seconds(1));
  refused(lines, "it was written again");

  caption_shard(d, "shards/2.tar", 2);
  refused(d.path("shards/"), "shards//2.tar has come to it");
  std::filesystem::remove(d.path("shards/0.tar"));
  refused(d.path("shards"), "shards/0.tar is no longer part of it");
  captions_parquet(d, "tables/b.parquet", 12, 20);
  refused(d.path("tables"), "tables/b.parquet: it has ");
  // As an index that was made of the same directory without its slash, and the other way round.
  const Strings tables = all_of(*open_records(d.path("tables"), "", "train", UseIndex::no));
  for (const char* written : {"tables/", "tables//", "tables"}) {
    CAPTURE(written);
    CHECK(open_records(d.path(written))->indexed());
    CHECK(open_records(d.path(written), "", "train", UseIndex::no)->fingerprint() == tables.at(0));
    std::filesystem::remove(RecordIndex::path_of(d.path(written)));
    CHECK(index_records(d.path(written)).written);
  }
  CHECK(all_of(*open_records(d.path("tables"))) == tables);
  // One of another kind of data, under the same name.
  std::filesystem::remove_all(d.path("shards"));
  std::filesystem::create_directory(d.path("shards"));
  captions_parquet(d, "shards/a.parquet", 3);
  refused(d.path("shards"), "it is of webdataset");
}

TEST_CASE(
    "record index: what .nv-meta leaves out and promises is part of what it was made from; each part has its own") {
  const DataSet d;
  const std::string set = d.path("set");
  std::filesystem::copy("tests/golden/webdataset/mix_energon7", set, std::filesystem::copy_options::recursive);
  const Strings before = all_of(*open_records(set));
  index_records(set);
  CHECK(all_of(*open_records(set)) == before);
  const auto other = message_of([&] { open_records(set, "", "val"); });  // which has no index and is read through
  CHECK(!contains(other, "ovindex"));
  const std::string info = set + "/.nv-meta/.info.json", counts = read_file(info);
  const std::size_t digit = counts.find_last_of("123456789");
  REQUIRE(digit != counts.npos);
  write_durably(info, counts.substr(0, digit) + "9" + counts.substr(digit + 1));
  CHECK(contains(message_of([&] { open_records(set); }), "the split or its counts in .nv-meta are others"));
}

TEST_CASE("record index: a damaged one is refused or costs its records, and a file that is none is not replaced") {
  const DataSet d;
  const std::string lines = d.write("a.jsonl", "{\"caption\": \"a\"}\n{\"caption\": \"b\"}\n");
  const std::string index = RecordIndex::path_of(lines);
  write_durably(index, "mine");
  CHECK(message_of([&] { index_records(lines); }) != "");
  CHECK(read_file(index) == "mine");
  const std::string remedy =
      cat("remove it, and make it again if start-up shall stay short (onevision index --data ", lines);
  CHECK(contains(message_of([&] { open_records(lines); }), remedy));
  write_safetensors(index, {{"mine", Tensor::of(std::vector<float>{1}, {1})}});
  CHECK(contains(message_of([&] { index_records(lines); }), "is no index of records, so it is not replaced"));
  std::filesystem::remove(index);
  index_records(lines);
  // The same, but for one tensor or one word.
  const auto with = [&](const std::vector<std::int64_t>& begin, const std::string& fingerprint) {
    RecordIndex::write(lines, "json", RecordIndex::before_reading(lines, {""}),
                       {{"begin", Tensor::of(begin, {static_cast<std::int64_t>(begin.size())})},
                        {"line", Tensor::of(std::vector<std::int64_t>{1, 2}, {2})}},
                       {{"array", "false"}, {"fingerprint", fingerprint}});
  };
  const std::string right(64, 'a');
  with({0, 17}, right);
  CHECK(JsonRecords(lines).read(1).dump() == "{\"caption\":\"b\"}");
  for (const std::int64_t far : {std::int64_t{-1}, std::int64_t{34}, std::int64_t{1} << 62}) {
    with({0, far}, right);
    CHECK(JsonRecords(lines).read(0).dump() == "{\"caption\":\"a\"}");
    CHECK(contains(message_of([&] { JsonRecords(lines).read(1); }), "malformed_record"));
  }
  with({0, 17}, "short");
  CHECK(contains(message_of([&] { JsonRecords{lines}; }), "is not 64 hex digits"));
  CHECK(contains(message_of([&] { JsonRecords{lines}; }), remedy));
  const std::string whole = read_file(index);
  write_durably(index, whole.substr(0, whole.size() - 3));  // cut short
  CHECK(contains(message_of([&] { JsonRecords{lines}; }), remedy));
  CHECK(contains(message_of([&] { index_records(lines); }), remedy));
  std::filesystem::remove(index);
  with({0, 17, 20}, right);
  CHECK(contains(message_of([&] { JsonRecords{lines}; }), "tensor 'line' is i64 [2], expected i64 of [3]"));
}

TEST_CASE("record index: places in shards and rows of tables that cannot be are rejects or refused, not crashes") {
  const DataSet d;
  const std::string shard = caption_shard(d, "a.tar", 3);
  const auto with = [&](std::int64_t begin, std::int64_t end, std::int32_t which, std::int32_t item) {
    RecordIndex::write(shard, "webdataset", RecordIndex::before_reading(shard, {""}),
                       {{"begin", Tensor::of(std::vector<std::int64_t>{begin}, {1})},
                        {"end", Tensor::of(std::vector<std::int64_t>{end}, {1})},
                        {"shard", Tensor::of(std::vector<std::int32_t>{which}, {1})},
                        {"item", Tensor::of(std::vector<std::int32_t>{item}, {1})}},
                       {{"fingerprint", std::string(64, 'a')}, {"meta", ""}, {"faults", "[]"}});
    return message_of([&] { open_records(shard)->read(0); });
  };
  index_records(shard);
  const RecordIndex right = *RecordIndex::open(shard, "webdataset", {""});
  const std::int64_t end = right.column<std::int64_t>("end")[0];
  CHECK(with(0, end, 0, -1) == "");
  for (const std::int64_t begin : {std::int64_t{-1}, std::int64_t{1}, end, std::int64_t{1} << 40})
    CHECK(contains(with(begin, begin == 1 ? end : begin, 0, -1), "damaged_shard"));
  CHECK(contains(with(0, std::int64_t{1} << 62, 0, -1), "damaged_shard"));  // all three samples as one
  for (const std::int32_t which : {-1, 1, 1 << 30}) CHECK(contains(with(0, end, which, -1), "damaged_shard"));
  CHECK(contains(with(0, end, 0, 5), "malformed_record"));
  const std::string table = captions_parquet(d, "a.parquet", 5);
  const auto rows = [&](std::int64_t n) {
    RecordIndex::write(table, "parquet", RecordIndex::before_reading(table, {""}),
                       {{"rows", Tensor::of(std::vector<std::int64_t>{n}, {1})}},
                       {{"fingerprint", std::string(64, 'a')}, {"faults", "{}"}});
    return message_of([&] { open_records(table)->read(0); });
  };
  CHECK(rows(5) == "");
  CHECK(contains(rows(6), "damaged_shard"));
  CHECK(contains(rows(-1), "rows of"));
}

TEST_CASE("record index: of a mixture each set gets its own, and the mixture is the same") {
  const ScratchDirectory dir;
  std::filesystem::copy("tests/golden/webdataset", dir / "w", std::filesystem::copy_options::recursive);
  for (const char* name : {"metadataset.yaml", "metadataset_v2.yaml"}) {
    const std::string mixture = dir / cat("w/", name);
    const Strings before = all_of(*open_records(mixture, "", "train", UseIndex::no));
    index_records(mixture);
    const auto with = open_records(mixture);
    CHECK(with->indexed());
    CHECK(all_of(*with) == before);
  }
}

TEST_CASE("record index: an open set costs the same memory, whatever the number of its records") {
  const DataSet d;
  std::string text;
  for (int i = 0; i < 60000; ++i) text += "{\"caption\": \"x\"}\n";
  const std::string lines = d.write("a.jsonl", text);
  const std::string shard = caption_shard(d, "b.tar", 600);
  for (const std::string& set : {lines, shard}) {
    index_records(set);
    const std::size_t before = heap();
    const auto records = open_records(set);
    CHECK(heap() - before < 16384);
    CHECK(records->size() >= 600);
  }
}

TEST_CASE("record index: ten million records open in under a second, and take no memory" * doctest::skip()) {
  const std::string path = "build/nightly-index.jsonl";
  std::filesystem::create_directories("build");
  {
    DurableWriter file(path);
    std::string text;
    for (int i = 0; i < 10000000; ++i) {
      text += cat("{\"id\":", i, ",\"image\":\"pictures/", i, ".jpg\",\"caption\":\"a picture\"}\n");
      if (text.size() > 1 << 22) file.write(text), text.clear();
    }
    file.write(text);
    file.commit();
  }
  const auto now = [] { return std::chrono::steady_clock::now(); };
  const auto seconds = [](auto since) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
  };
  auto start = now();
  CHECK(open_records(path)->size() == 10000000);
  const double scanned = seconds(start);
  start = now();
  CHECK(index_records(path).records == 10000000);
  const double indexed = seconds(start);
  ::malloc_trim(0);
  const std::size_t before = heap();
  start = now();
  const auto records = open_records(path);
  const std::string fingerprint = records->fingerprint();
  const double opened = seconds(start);
  const std::size_t held = heap() - before;
  for (std::int64_t i = 9999999; i > 0; i -= 99991)
    CHECK(records->read(i).images.at(0).ends_with(cat("pictures/", i, ".jpg")));
  CHECK(opened < 1);
  CHECK(held < 65536);
  std::printf(
      "ten million records: read through in %.1f s, indexed in %.1f s, opened in %.4f s with %zu bytes of heap\n",
      scanned, indexed, opened, held);
  std::filesystem::remove(path);
  std::filesystem::remove(RecordIndex::path_of(path));
}

}  // namespace ov::loader_test
