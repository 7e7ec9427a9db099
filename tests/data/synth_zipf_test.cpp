// A pool whose kinds follow Zipf's law, and questions about all kinds alike.
#include "data/synth/zipf.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/parallel.h"
#include "data/raw/records.h"
#include "store/jsonl.h"
#include "tests/base/scratch.h"
#include "tests/data/directory_contents.h"

using namespace ov;
using namespace ov::synth;

TEST_CASE("zipf pool: kinds are drawn by the law, groups follow what the pool holds, every kind is asked for alike") {
  const ScratchDirectory dir;
  write_zipf_pool({.out_dir = dir / "z", .seed = 3, .exponent = 1.2, .pool = 3000, .test = 2});
  const auto pool = open_records(dir / "z/pool");
  REQUIRE(pool->size() == 3000);
  std::map<std::string, std::int64_t> counted;
  for (std::int64_t i = 0; i < pool->size(); ++i) ++counted[pool->read(i).turns.back().text];

  const Json about = Json::read(dir / "z/zipf.json");
  const auto& kinds = about.at("kinds").items();
  REQUIRE(kinds.size() == 96);
  double total = 0, chi = 0;
  for (int r = 1; r <= 96; ++r) total += std::pow(r, -1.2);
  std::map<std::string, std::string> group;
  std::int64_t wrong = 0, before = 0;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    const std::string& kind = kinds[i].at("kind").as_string();
    const std::int64_t n = kinds[i].at("pictures").as_int();
    wrong += n != counted[kind] || n < before;
    wrong += kinds[i].at("group").as_string() != (i < 9 ? "Tail" : i < 87 ? "Middle" : "Head");
    group[kind] = kinds[i].at("group").as_string(), before = n;
    // In the mean the i-th rarest has the share of rank 96 - i; sorting moves what is near each other.
    const double expected = 3000 * std::pow(96 - static_cast<double>(i), -1.2) / total;
    chi += (static_cast<double>(n) - expected) * (static_cast<double>(n) - expected) / expected;
  }
  CHECK(wrong == 0);
  CHECK(chi < 141);  // the 99.9 % quantile of 95 degrees of freedom is 143.3; sorted counts fit better, not worse

  std::map<std::string, std::int64_t> asked;
  for (const char* name : {"Tail", "Middle", "Head"}) {
    JsonlReader lines(cat(dir / "z/test", "/", name, ".jsonl"));
    for (Json line; lines.next(&line);) {
      const std::string& kind = line.at("answer").as_string();
      ++asked[kind];
      CHECK(group[kind] == name);
      CHECK(line.at("template").as_string() == kind);
      CHECK(std::filesystem::exists(dir / ("z/test/" + line.at("image").as_string())));
    }
  }
  CHECK(asked.size() == 96);
  for (const auto& [kind, n] : asked) CHECK(n == 2);
}

TEST_CASE("zipf pool: the same options give the same bytes, another seed another order; an exponent of 0 all alike") {
  const ScratchDirectory dir;
  ZipfOptions o{.out_dir = dir / "a", .pool = 200, .test = 1};
  set_threads(2);
  write_zipf_pool(o);
  o.out_dir = dir / "b";
  set_threads(1);
  write_zipf_pool(o);
  set_threads(2);
  CHECK(test::directory_contents(dir / "a") == test::directory_contents(dir / "b"));
  const auto commonest = [&](const char* name) {
    return Json::read(cat(dir / name, "/zipf.json")).at("kinds")[95].at("kind").as_string();
  };
  o.seed = 2, o.out_dir = dir / "c";
  write_zipf_pool(o);
  CHECK(commonest("c") != commonest("a"));
  o.exponent = 0, o.pool = 9600, o.out_dir = dir / "d";
  write_zipf_pool(o);
  const Json alike = Json::read(dir / "d/zipf.json");
  CHECK(alike.at("kinds")[0].at("pictures").as_int() > 60);  // of 100, deviation 10
  CHECK(alike.at("kinds")[95].at("pictures").as_int() < 140);
  o.pool = 0;
  CHECK_THROWS_WITH_AS(write_zipf_pool(o), doctest::Contains("pool: expected 1 to"), Error);
}
