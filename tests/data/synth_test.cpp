#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "base/io/file.h"
#include "base/json.h"
#include "data/synth/canvas.h"
#include "data/synth/lessons.h"
#include "image/decode.h"
#include "tests/base/scratch.h"
#include "tests/data/directory_contents.h"

using namespace ov;
using namespace ov::synth;

namespace {

std::string fresh_directory(const std::string& name) {
  static const ScratchDirectory scratch;
  std::filesystem::remove_all(scratch / name);
  return scratch / name;
}

}  // namespace

TEST_CASE("lessons: the same seed gives the same bytes, another seed does not") {
  const std::string a = fresh_directory("a"), b = fresh_directory("b"), c = fresh_directory("c");
  write_lessons({.out_dir = a, .seed = 7});
  write_lessons({.out_dir = b, .seed = 7});
  write_lessons({.out_dir = c, .seed = 8});
  CHECK(test::directory_contents(a).size() == 11);
  CHECK(test::directory_contents(a) == test::directory_contents(b));
  CHECK(test::directory_contents(a) != test::directory_contents(c));
}

TEST_CASE("lessons: pictures of both formats and many sizes open, and can only be answered by looking") {
  for (std::uint64_t seed : {1, 2, 3}) {
    const std::string dir = fresh_directory("lessons");
    write_lessons({.out_dir = dir, .seed = seed});
    const Json all = Json::read(dir + "/conversations.json");
    REQUIRE(all.size() == 10);

    std::set<std::pair<std::int64_t, std::int64_t>> sizes;
    std::map<std::string, std::set<std::string>> answers;
    std::size_t jpeg = 0, turns = 0, odd = 0;
    for (const Json& sample : all.items()) {
      const std::string name = sample.at("image").as_string();
      const std::string bytes = read_file(dir + "/" + name);
      const bool is_jpeg = bytes.substr(0, 2) == "\xff\xd8";
      CHECK(is_jpeg == (name.substr(name.size() - 4) == ".jpg"));
      jpeg += is_jpeg;
      const Image image = decode_image(bytes, name);
      sizes.insert({image.width, image.height});
      odd += image.width % 28 != 0 || image.height % 28 != 0;

      const auto& list = sample.at("conversations").items();
      CHECK((list.size() == 4 || list.size() == 6));
      std::set<std::string> asked;
      for (std::size_t i = 0; i < list.size(); i += 2) {
        CHECK(list[i].at("from").as_string() == "human");
        CHECK(list[i + 1].at("from").as_string() == "gpt");
        std::string question = list[i].at("value").as_string();
        CHECK((question.substr(0, 8) == "<image>\n") == (i == 0));
        if (i == 0) question = question.substr(8);
        CHECK(asked.insert(question).second);  // one picture never asks the same thing twice
        answers[question].insert(list[i + 1].at("value").as_string());
        ++turns;
      }
    }
    CHECK(jpeg == 5);
    CHECK(sizes.size() == 10);
    CHECK(odd >= 3);
    CHECK((turns >= 22 && turns <= 28));
    bool ambiguous = false;
    for (const auto& [question, set] : answers) ambiguous = ambiguous || set.size() > 1;
    CHECK(ambiguous);
  }
}

TEST_CASE("lessons: a count of zero and a missing data directory are refused by name") {
  CHECK_THROWS_WITH_AS(write_lessons({.out_dir = fresh_directory("x"), .count = 0}),
                       "lessons: expected a count of at least 1, found 0", Error);
  CHECK_THROWS_AS(write_lessons({.out_dir = fresh_directory("x"), .data_dir = "no/such/place"}), Error);
}

TEST_CASE("canvas: a shape stays inside its square, fills it to its edges and is mirror symmetric") {
  for (ShapeKind shape : {ShapeKind::circle, ShapeKind::square, ShapeKind::triangle, ShapeKind::cross, ShapeKind::ring,
                          ShapeKind::diamond})
    for (int size : {14, 26}) {
      int left = size, right = -1, top = size, bottom = -1;
      for (int y = 0; y < size; ++y)
        for (int x = 0; x < size; ++x) {
          CHECK(inside(shape, x, y, size) == inside(shape, size - 1 - x, y, size));
          if (!inside(shape, x, y, size)) continue;
          left = std::min(left, x), right = std::max(right, x), top = std::min(top, y), bottom = std::max(bottom, y);
        }
      CHECK(left == 0);
      CHECK(right == size - 1);
      CHECK(top == 0);
      CHECK(bottom == size - 1);
    }
}

TEST_CASE("canvas: what lies outside the picture is clipped") {
  Canvas canvas(4, 3, {10, 10, 10});
  canvas.fill({-5, -5, 2, 2}, {1, 2, 3});
  canvas.draw(ShapeKind::square, 3, 2, 14, {7, 8, 9});
  CHECK(canvas.at(1, 1).b == 3);
  CHECK(canvas.at(2, 1).b == 10);
  CHECK(canvas.at(3, 2).r == 7);
}

TEST_CASE("canvas: noise has mean 0 and standard deviation 2.96, and its own stream") {
  Canvas a(112, 112, {150, 150, 150}), b = a, c = a;
  a.add_noise(1, "test", 0);
  b.add_noise(1, "test", 0);
  c.add_noise(1, "test", 1);
  CHECK(a.rgb() == b.rgb());
  CHECK(a.rgb() != c.rgb());
  double sum = 0, squares = 0;
  for (int v : a.rgb()) sum += v - 150, squares += (v - 150) * (v - 150);
  const double n = static_cast<double>(a.rgb().size());
  CHECK(std::abs(sum / n) < 5 * 2.958 / std::sqrt(n));  // five standard errors
  CHECK(std::abs(squares / n - 8.75) < 5 * 8.75 * std::sqrt(2.0 / n));
}

TEST_CASE("bitmap: ragged rows and unknown dots are refused") {
  CHECK(Bitmap::parse("#. .#", 2, "x").ink.size() == 16);
  CHECK_THROWS_WITH_AS(Bitmap::parse("#. .#.", 2, "x"), "x: expected rows of equal length, found '.#.' after '#.'",
                       Error);
  CHECK_THROWS_AS(Bitmap::parse("#. ab", 2, "x"), Error);
}
