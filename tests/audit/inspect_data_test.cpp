// What `inspect parquet` and `inspect webdataset` write, against files by the real writers, and damaged ones.
#include <sys/resource.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "audit/inspect.h"
#include "base/sanitizer.h"
#include "store/jsonl.h"
#include "store/parquet/rows.h"
#include "store/tar.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using test::contains;

namespace {

const std::string parquet = "tests/golden/parquet/", webdataset = "tests/golden/webdataset/";

// The names in a directory that end so, without it.
std::vector<std::string> stems(const std::string& directory, const std::string& end) {
  std::vector<std::string> out;
  for (const std::string& name : list_directory(directory))
    if (name.ends_with(end)) out.push_back(name.substr(0, name.size() - end.size()));
  REQUIRE(!out.empty());
  return out;
}

// The lines that one of the two writes, or its error; after an error there must be no file.
struct Outcome {
  std::vector<std::string> lines;
  std::string error;
};
Outcome inspected(std::int64_t (*inspect)(const std::string&, const std::string&), const std::string& path) {
  const ScratchDirectory dir;
  Outcome out;
  try {
    const std::int64_t count = inspect(path, dir / "out.jsonl");
    JsonlReader reader(dir / "out.jsonl");
    for (Json value; reader.next(&value);) out.lines.push_back(value.dump());
    CHECK(static_cast<std::int64_t>(out.lines.size()) == count);
  } catch (const Error& e) {
    out.error = e.what();
    CHECK(e.exit() == Exit::wrong_input);
    CHECK_FALSE(contains(e.what(), "\n"));
    CHECK(list_directory(dir.path()).empty());
  }
  return out;
}

std::vector<std::string> lines_of(const Json& rows) {
  std::vector<std::string> out;
  for (const Json& row : rows.items()) out.push_back(row.dump());
  return out;
}

// All numbers of 17 digits and more, which a double may not hold.
std::vector<std::string> long_numbers(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = std::min(text.find_first_not_of("0123456789", at), text.size());
    if (end - at >= 17) out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

// No more than `bytes` of address space beyond what is in use. The sanitizers map more than that at any time.
struct MemoryLimit {
  rlimit before{};
  explicit MemoryLimit([[maybe_unused]] std::uint64_t bytes) {
    ::getrlimit(RLIMIT_AS, &before);
#if !OV_ADDRESS_SANITIZER && !OV_THREAD_SANITIZER
    const std::string pages = read_file("/proc/self/statm");
    rlimit limit = before;
    limit.rlim_cur = std::stoull(pages) * 4096 + bytes;
    ::setrlimit(RLIMIT_AS, &limit);
#endif
  }
  ~MemoryLimit() { ::setrlimit(RLIMIT_AS, &before); }
};

}  // namespace

TEST_CASE("inspect parquet: every row of every writer's file, value by value") {
  for (const std::string& name : stems(parquet, ".parquet")) {
    CAPTURE(name);
    const std::string reference = read_file(parquet + name + ".json");
    const Outcome found = inspected(inspect_parquet, parquet + name + ".parquet");
    CHECK(found.error == "");
    const std::vector<std::string> expected = lines_of(Json::parse(reference, name).at("values"));
    CHECK(found.lines.size() == expected.size());
    for (std::size_t i = 0; i < std::min(expected.size(), found.lines.size()); ++i)
      if (found.lines[i] != expected[i]) {
        CHECK_MESSAGE(found.lines[i] == expected[i], "row ", i);
        break;
      }
    const ScratchDirectory dir;
    inspect_parquet(parquet + name + ".parquet", dir / "out");
    CHECK(long_numbers(read_file(dir / "out")) == long_numbers(reference.substr(reference.rfind("\"values\":"))));
  }
}

TEST_CASE("inspect parquet: what is encrypted is refused as such, and the columns beside it can be read") {
  const std::string folder = "tests/golden/parquet_encrypted/";
  const Json cases = Json::read(folder + "cases.json").at("cases");
  CHECK(cases.size() == stems(folder, ".parquet").size());
  for (const Json& c : cases.items()) {
    const std::string& file = c.at("file").as_string();
    CAPTURE(file);
    CHECK(contains(inspected(inspect_parquet, folder + file).error, c.at("why").as_string()));
    const auto& plain = c.at("plain").items();
    if (plain.empty()) continue;
    std::vector<std::string> names;
    for (const auto& [name, value] : plain[0].members()) names.push_back(name);
    const ParquetFile parquet_file(folder + file);
    const ParquetRows rows(parquet_file, 0, names);
    for (std::size_t i = 0; i < plain.size(); ++i) {
      std::string row;
      rows.append_json(static_cast<std::int64_t>(i), nullptr, &row);
      CHECK(row == plain[i].dump());
    }
  }
}

TEST_CASE("inspect parquet: any number of threads writes the same bytes") {
  const ScratchDirectory dir;
  for (const std::string& name : stems(parquet, ".parquet")) {
    CAPTURE(name);
    std::string first;
    for (const int n : {1, 3}) {
      const test::Threads threads(n);
      inspect_parquet(parquet + name + ".parquet", dir / "out");
      if (n == 1) first = read_file(dir / "out");
      CHECK(read_file(dir / "out") == first);
    }
  }
}

TEST_CASE("inspect parquet: a damaged file is refused in one line, soon and within little memory") {
  const Json damaged = Json::read(parquet + "damaged/damaged.json");
  const std::vector<std::string> good = lines_of(damaged.at("rows_of_good"));
  const test::Threads one(1);
  for (const Json& c : damaged.at("cases").items()) {
    const std::string file = c.at("file").as_string(), expect = c.at("expect").as_string();
    CAPTURE(file);
    CAPTURE(c.at("what").as_string());
    const std::clock_t start = std::clock();
    const MemoryLimit limit(512 << 20);
    const Outcome found = inspected(inspect_parquet, parquet + "damaged/" + file);
    CHECK(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < 2);
    if (expect == "rows") CHECK_MESSAGE(found.lines == good, found.error);
    else if (expect != "any") CHECK(contains(found.error, "damaged/" + file + ": "));  // refuse, crc
  }
}

TEST_CASE("inspect webdataset: the samples of every folder and of every archive, as the real package yields them") {
  for (const std::string& name : stems(webdataset, ".json")) {
    CAPTURE(name);
    const Json reference = Json::read(webdataset + name + ".json");
    if (!reference.is_object()) continue;  // the list of damaged ones
    if (const Json* samples = reference.find("samples")) {
      const Outcome found = inspected(inspect_webdataset, webdataset + name);
      CHECK(found.error == "");
      CHECK(found.lines == lines_of(*samples));
    }
    for (const auto& member : reference.members()) {
      const std::string& archive = member.first;
      const Json& said = member.second;
      const Json* samples = archive.ends_with(".tar") ? said.find("webdataset") : nullptr;
      if (!samples) continue;
      CAPTURE(archive);
      const Outcome found = inspected(inspect_webdataset, webdataset + name + "/" + archive);
      if (samples->is_array()) CHECK_MESSAGE(found.lines == lines_of(*samples), found.error);
      else CHECK(contains(found.error, archive));  // what the package raises
    }
  }
}

TEST_CASE("inspect webdataset: damaged archives, and indices that are not of their shard") {
  const Json cases = Json::read(webdataset + "damaged.json");
  for (const Json& c : cases.items()) {
    const std::string file = c.at("file").as_string(), expect = c.at("expect").as_string();
    CAPTURE(file);
    const Outcome found = inspected(inspect_webdataset, webdataset + "damaged/" + file);
    if (expect == "refuse") CHECK(contains(found.error, file));
    if (expect == "no samples" || expect == "all samples") CHECK(found.error == "");
    if (expect == "no samples") CHECK(found.lines.empty());
    if (expect == "all samples")
      CHECK(contains(c.at("webdataset").as_string(), cat("reads ", found.lines.size(), " samples")));
  }
  const ScratchDirectory dir;
  TarWriter tar(dir / "own.tar");
  tar.add("a.txt", "text"), tar.add("a.__key__", "b");
  tar.finish();
  CHECK(contains(inspected(inspect_webdataset, dir / "own.tar").error, "own.tar: 'a.__key__'"));
  for (const std::string& name : list_directory(webdataset + "damaged"))
    if (std::filesystem::is_directory(webdataset + "damaged/" + name))
      CHECK(contains(inspected(inspect_webdataset, webdataset + "damaged/" + name).error, ".tar.idx: "));
}
