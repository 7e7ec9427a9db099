// Every layout that the golden folder lists, and what is one record of it.
#include "instruct/standardise.h"

#include <doctest/doctest.h>

#include "base/io/file.h"
#include "data/reject.h"
#include "instruct/source.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::instruct;

namespace {

struct Made {
  Record record;
  std::string refused;
  Notes notes;
};

std::vector<Made> all_of(const std::string& path) {
  const auto source = RawSource::open(path, "");
  SourceEntry entry;
  entry.name = "set", entry.licence = "cc0-1.0";
  std::vector<Made> out;
  for (std::int64_t b = 0; b * block_records < source->size(); ++b)
    source->block(b, [&](RawRecord raw) {
      Made m;
      try {
        m.record = standardise(raw.read(), entry, raw.index, m.notes);
      } catch (const Refused& e) { m.refused = e.reason; } catch (const Rejected& e) {
        m.refused = name_of(e.reason());
      }
      out.push_back(std::move(m));
      return true;
    });
  CHECK(static_cast<std::int64_t>(out.size()) == source->size());
  return out;
}

}  // namespace

TEST_CASE("standardise: every layout of the golden folder becomes its record, or is refused for its reason") {
  const std::string folder = "tests/golden/instruct/", ending = ".expected.json";
  int layouts = 0;
  for (const std::string& name : list_directory(folder)) {
    if (!name.ends_with(ending)) continue;
    CAPTURE(name);
    ++layouts;
    const Json expected = Json::read(folder + name);
    const auto made = all_of(folder + name.substr(0, name.size() - ending.size()) + ".jsonl");
    REQUIRE(made.size() == expected.size());
    for (std::size_t i = 0; i < made.size(); ++i) {
      CAPTURE(i);
      const Json& e = expected[i];
      CHECK(made[i].refused == (e.find("refused") ? e.at("refused").as_string() : ""));
      if (e.find("refused")) continue;
      const Json record = made[i].record.json(made[i].record.images);
      CHECK(record.at("id").as_string() == cat("set:", i));
      CHECK(record.at("messages").dump() == e.at("messages").dump());
      CHECK(static_cast<std::int64_t>(record.at("images").size()) == e.at("pictures").as_int());
      for (const char* key : {"category", "lang", "difficulty"})
        if (e.find(key)) CHECK(record.at(key).dump() == e.at(key).dump());
      if (e.find("meta"))
        for (const auto& [key, value] : e.at("meta").members()) CHECK(record.at("meta").at(key).dump() == value.dump());
      Json changed = Json::array();
      for (const Note& n : made[i].notes) changed.push(n.what);
      CHECK(changed.dump() == e.at("changed").dump());
    }
  }
  CHECK(layouts > 0);
}

TEST_CASE("a source is the same as lines and as an array, over the borders of blocks") {
  const ScratchDirectory dir;
  std::string lines = "\xEF\xBB\xBF", array = " [\n";
  const int n = 2 * static_cast<int>(block_records) + 3;
  for (int i = 0; i < n; ++i) {
    const std::string record =
        Json::object({{"instruction", cat("say [", i, "\" }")}, {"input", ""}, {"output", cat(i, " \\")}}).dump();
    lines += record + (i % 7 ? "\n" : "\r\n\n"), array += record + (i + 1 < n ? ",\n" : "\n] ");
  }
  write_durably(dir / "a.jsonl", lines), write_durably(dir / "a.json", array);
  const auto a = all_of(dir / "a.jsonl"), b = all_of(dir / "a.json");
  REQUIRE(a.size() == static_cast<std::size_t>(n));
  REQUIRE(b.size() == a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].record.turns.at(1).text == cat(i, " \\"));
    CHECK(a[i].record.json({}).dump() == b[i].record.json({}).dump());
  }
  write_durably(dir / "cut.json", array.substr(0, array.size() - 3));
  CHECK(test::contains(test::thrown([&] { RawSource::open(dir / "cut.json", ""); }), "does not close"));
  write_durably(dir / "wrong.json", "[{\"a\": [1}]");
  CHECK(test::contains(test::thrown([&] { RawSource::open(dir / "wrong.json", ""); }), "expected ']', found '}'"));
  write_durably(dir / "z.gz", "\x1f\x8b rest");
  CHECK(test::contains(test::thrown([&] { RawSource::open(dir / "z.gz", ""); }), "gzip"));
  write_durably(dir / "none.jsonl", "\n \n");
  CHECK(test::contains(test::thrown([&] { RawSource::open(dir / "none.jsonl", ""); }), "no records"));
}

TEST_CASE("bad lines are refused one by one: no JSON, no UTF-8, NaN, too long, too deep, a line that is an array") {
  const ScratchDirectory dir;
  const std::string good = "{\"instruction\": \"a\", \"output\": \"b\"}\n";
  write_durably(dir / "bad.jsonl", "[1, 2]\n" + good +
                                       "{\"instruction\": \"a\n{\"instruction\": \"\xff\", \"output\": \"b\"}\n" +
                                       "{\"instruction\": NaN, \"output\": \"b\"}\n{\"instruction\": \"" +
                                       std::string(longest_record, 'x') + "\", \"output\": \"b\"}\n" +
                                       std::string(100000, '[') + "\n{\"id\": \"\\ud800\"}\nnull\n" + good);
  const auto made = all_of(dir / "bad.jsonl");
  REQUIRE(made.size() == 10);
  for (std::size_t i = 0; i < made.size(); ++i) CHECK(made[i].refused == (i == 1 || i == 9 ? "" : "malformed_record"));
}
