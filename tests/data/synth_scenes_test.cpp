// The scenes of the toy world: the same everywhere, honest about what they show, and not to be answered blind.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "data/synth/builder.h"
#include "data/synth/turns.h"

using namespace ov;
using namespace ov::synth;

namespace {

const ToyWorld& toy() {
  static const ToyWorld world("data/toy_world");
  return world;
}

std::uint64_t hash_of(const Scene& s) {
  std::uint64_t h = fnv1a(s.family + s.description);
  h = fnv1a({reinterpret_cast<const char*>(s.image.rgb.data()), s.image.rgb.size()}, h);
  for (const Exchange& t : s.turns) h = fnv1a(t.from->id + "|" + t.question + "|" + t.answer, h);
  for (const Region& r : s.regions) h = fnv1a(cat(r.box.x1, ' ', r.box.y1, ' ', r.box.x2, ' ', r.box.y2, r.label), h);
  return h;
}

std::uint64_t hash_of_scenes(std::uint64_t seed, int threads_used) {
  const int before = threads();
  set_threads(threads_used);
  const Words& families = scene_families();
  std::vector<std::uint64_t> hashes(100 + 10 * families.size());  // the last ten of each family are test scenes
  parallel_for(static_cast<std::int64_t>(hashes.size()), [&](std::int64_t n) {
    const auto i = static_cast<std::uint64_t>(n);
    hashes[i] = hash_of(i < 100 ? make_scene(toy(), seed, i, Split::train)
                                : make_scene_of(toy(), seed, i, Split::test, families[(i - 100) / 10]));
  });
  set_threads(before);
  std::uint64_t h = 0;
  for (std::uint64_t v : hashes) h = mix64(h, v);
  return h;
}

// Where a pixel is far from the grey of the background: noise moves it by at most 8, every colour by over 60.
bool painted(const Image& image, int x, int y) {
  const std::uint8_t* p = image.row(y) + 3 * x;
  return *std::max_element(p, p + 3) > 190 || *std::min_element(p, p + 3) < 120;
}

// Whether everything painted lies in some box, and every box is touched at its four sides.
bool boxes_fit(const Image& image, const std::vector<Rect>& boxes) {
  const int w = static_cast<int>(image.width), h = static_cast<int>(image.height);
  std::vector<Rect> seen(boxes.size(), {w, h, 0, 0});
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      if (!painted(image, x, y)) continue;
      bool covered = false;
      for (std::size_t i = 0; i < boxes.size(); ++i) {
        const Rect& b = boxes[i];
        if (x < b.x1 || x >= b.x2 || y < b.y1 || y >= b.y2) continue;
        covered = true;
        Rect& s = seen[i];
        s = {std::min(s.x1, x), std::min(s.y1, y), std::max(s.x2, x + 1), std::max(s.y2, y + 1)};
      }
      if (!covered) return false;
    }
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    const Rect &s = seen[i], &b = boxes[i];
    if (s.x1 != b.x1 || s.y1 != b.y1 || s.x2 != b.x2 || s.y2 != b.y2) return false;
  }
  return true;
}

using Counts = std::map<std::string, std::map<std::string, int>>;

double share_of(const std::map<std::string, int>& counts, const std::string& answer) {
  int all = 0, hit = 0;
  for (const auto& [a, n] : counts) {
    all += n;
    if (a == answer) hit = n;
  }
  return static_cast<double>(hit) / all;
}

std::string commonest(const std::map<std::string, int>& counts) {
  return std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; })->first;
}

}  // namespace

TEST_CASE("toy world: the first hundred scenes and ten of each family are the known ones, for any number of threads") {
  constexpr std::uint64_t known = 1808947167291896036u;
  CHECK(hash_of_scenes(1, 1) == known);
  CHECK(hash_of_scenes(1, 3) == known);
  CHECK(hash_of_scenes(2, 1) != known);
}

TEST_CASE("toy world: no description of a test scene is drawn for training, whatever the seeds") {
  std::map<std::string, std::set<std::string>> train, test;
  for (const std::string& family : scene_families())
    for (std::uint64_t i = 0; i < 300; ++i) {
      train[family].insert(make_scene_of(toy(), 1 + i % 3, i, Split::train, family).description);
      test[family].insert(make_scene_of(toy(), 7 + i % 3, i, Split::test, family).description);
    }
  for (const std::string& family : scene_families()) {
    std::vector<std::string> both;
    std::set_intersection(train[family].begin(), train[family].end(), test[family].begin(), test[family].end(),
                          std::back_inserter(both));
    INFO(family);
    CHECK(test[family].size() >= 5);
    if (toy().catalog.shared_reason(family)) CHECK(!both.empty());  // a listed exception is one
    else CHECK(both.empty());
  }
  CHECK(toy().catalog.shared().size() == 2);
}

TEST_CASE("toy world: regions lie inside the picture, answers and questions are words between single spaces") {
  for (const std::string& family : scene_families())
    for (std::uint64_t i = 0; i < 40; ++i) {
      const Scene s = make_scene_of(toy(), 3, i, i % 2 ? Split::test : Split::train, family);
      INFO(family, ": ", s.description);
      CHECK(s.image.width % 28 == 0);
      CHECK(s.image.height % 28 == 0);
      CHECK(static_cast<std::int64_t>(s.image.rgb.size()) == s.image.width * s.image.height * 3);
      REQUIRE(!s.regions.empty());
      for (const Region& r : s.regions) {
        CHECK((0 <= r.box.x1 && r.box.x1 < r.box.x2 && r.box.x2 <= s.image.width));
        CHECK((0 <= r.box.y1 && r.box.y1 < r.box.y2 && r.box.y2 <= s.image.height));
        CHECK(!r.label.empty());
      }
      REQUIRE(s.turns.size() >= 3);
      CHECK(s.turns[0].from->id == "caption");
      CHECK(s.turns[0].answer == s.description);
      for (const Exchange& t : s.turns)
        for (const std::string& text : {t.question, t.answer}) {
          CHECK(!text.empty());
          CHECK(text.find("  ") == std::string::npos);
          CHECK(text.find('{') == std::string::npos);
          CHECK((text.front() != ' ' && text.back() != ' '));
        }
    }
}

TEST_CASE("toy world: the boxes of shapes are the boxes of what is painted") {
  int moved_fit = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    const Scene s = make_scene_of(toy(), 4, i, Split::train, "shapes");
    std::vector<Rect> boxes, moved;
    for (const Region& r : s.regions) {
      boxes.push_back(r.box);
      moved.push_back({r.box.x1 + 1, r.box.y1, r.box.x2 + 1, r.box.y2});
    }
    CHECK_MESSAGE(boxes_fit(s.image, boxes), s.description);
    moved_fit += boxes_fit(s.image, moved);
  }
  CHECK(moved_fit == 0);
}

TEST_CASE("toy world: an answered box overlaps the painted one by at least half") {
  for (std::uint64_t i = 0; i < 200; ++i) {
    const Scene s = make_scene_of(toy(), 5, i, Split::test, "shapes");
    for (const Exchange& t : s.turns) {
      if (t.from->id != "t_box") continue;
      const std::string look = t.question.substr(4);
      int overlapping = 0;
      for (const Region& r : s.regions) {
        if (r.label.substr(6) != look) continue;  // after "large " or "small "
        Rect a;
        REQUIRE(std::sscanf(t.answer.c_str(), "%d , %d , %d , %d", &a.x1, &a.y1, &a.x2, &a.y2) == 4);
        a = {14 * a.x1, 14 * a.y1, 14 * a.x2, 14 * a.y2};
        const int w = std::min(a.x2, r.box.x2) - std::max(a.x1, r.box.x1);
        const int h = std::min(a.y2, r.box.y2) - std::max(a.y1, r.box.y1);
        const auto area = [](const Rect& b) { return (b.x2 - b.x1) * (b.y2 - b.y1); };
        overlapping += w > 0 && h > 0 && 2 * w * h >= area(a) + area(r.box) - w * h;
      }
      CHECK_MESSAGE(overlapping == 1, s.description, ": ", t.question, " ", t.answer);
    }
  }
}

TEST_CASE("toy world: answers agree with the picture's description") {
  for (std::uint64_t i = 0; i < 200; ++i) {
    const Scene s = make_scene_of(toy(), 6, i, Split::train, "shapes");
    for (const Exchange& t : s.turns) {
      if (t.chinese) continue;
      const auto within = [&](const std::string& words) { return s.description.find(words) != std::string::npos; };
      if (t.from->id == "exists") CHECK((t.answer == "yes") == within(t.question.substr(13, t.question.size() - 15)));
      if (t.from->id == "t_color") CHECK(within(t.answer));
      if (t.from->id == "color")
        CHECK(within(t.answer + t.question.substr(17, t.question.size() - 19)));  // "what color is the" .. " ?"
      if (t.from->id == "count")
        CHECK(std::count(s.description.begin(), s.description.end(), ',') + 1 == std::stoi(t.answer));
    }
  }
}

TEST_CASE("toy world: guessing the commonest training answer stays below 0.30 in every category") {
  Counts by_template, by_question;
  for (const std::string& family : scene_families())
    for (std::uint64_t i = 0; i < 1000; ++i)
      for (const Exchange& t : make_scene_of(toy(), 1, i, Split::train, family).turns) {
        ++by_template[t.from->id][t.answer];
        ++by_question[t.question][t.answer];
      }
  for (const std::string& category : toy().catalog.categories()) {
    int blind_template = 0, blind_question = 0;
    constexpr int n = 400;
    for (std::uint64_t i = 0; i < n; ++i) {
      const Exchange turn = make_test_question(toy(), 1, category, i).turn;
      CHECK(turn.from->category == category);
      blind_template += turn.answer == commonest(by_template.at(turn.from->id));
      const auto same = by_question.find(turn.question);
      blind_question += same != by_question.end() && turn.answer == commonest(same->second);
    }
    INFO(category, ": ", blind_template, " and ", blind_question, " of ", n);
    CHECK(blind_template <= 0.30 * n);
    CHECK(blind_question <= 0.30 * n);
  }
  int two_way = 0;
  for (const Template& t : toy().catalog.templates()) {
    if (t.category == terse_category) continue;
    const auto& counts = by_template.at(t.id);
    const double share = share_of(counts, commonest(counts));
    INFO(t.id, ": ", commonest(counts), " ", share);
    if (t.two_way) {
      ++two_way;
      CHECK(share > 0.45);  // the measure does see an answer that is too common
    } else {
      CHECK(share <= 0.30);
    }
  }
  CHECK(two_way == 6);
}

TEST_CASE("toy world: every template is asked in training, Chinese ones in both languages") {
  std::map<std::string, std::array<int, 2>> asked;
  for (std::uint64_t i = 0; i < 3000; ++i)
    for (const std::string mixture : {"default", "learned_last", "warm_start"})
      for (const Exchange& t : make_scene(toy(), 2, i, Split::train, mixture).turns) ++asked[t.from->id][t.chinese];
  for (const Template& t : toy().catalog.templates()) {
    INFO(t.id);
    CHECK(asked[t.id][0] > 0);
    CHECK((asked[t.id][1] > 0) == (t.zh_percent > 0));
  }
}

TEST_CASE("toy world: values are put into Chinese word by word, two words first") {
  const World& w = toy().world;
  CHECK(w.in_chinese("red") == "红色");
  CHECK(w.in_chinese("no entry") == "禁止 驶入");
  CHECK(w.in_chinese("speed limit 5 0") == "限速 5 0");
  CHECK(w.in_chinese("7 + 2 = 9") == "7 + 2 = 9");
}

// "code B = 7 , X = B - 2" -> what every line gives its variable, worked out from the description alone.
std::vector<std::pair<std::string, int>> run_program(const std::string& description) {
  std::vector<std::pair<std::string, int>> values;
  std::istringstream words(description.substr(5));
  for (std::string name, word; words >> name >> word >> word;) {  // name, "=", the first operand
    int value = 0;
    if (values.empty()) {
      value = std::stoi(word);
    } else {
      CHECK(word == values.back().first);
      std::string op;
      int operand = 0;
      words >> op >> operand;
      value = values.back().second + (op == "+" ? operand : -operand);
    }
    values.emplace_back(name, value);
    words >> word;  // ","
  }
  return values;
}

TEST_CASE("toy world: every question about a program gets the value that the program gives, thought through or not") {
  for (const std::string family : {"program", "values", "three_lines", "checked_lines"}) {
    const bool checks = family == "checked_lines";
    int thought = 0, straight = 0, lines = 0;
    for (std::uint64_t i = 0; i < 200; ++i) {
      const Scene s = make_scene_of(toy(), 8, i, i % 2 ? Split::test : Split::train, family);
      const auto values = run_program(s.description);
      if (!checks) REQUIRE(values.size() == (family == "three_lines" ? 3 : 2));
      lines += static_cast<int>(values.size());
      for (const Exchange& t : s.turns) {
        const std::size_t asked = t.question.find("what is the value of ");
        if (asked == t.question.npos) continue;
        const std::string name = t.question.substr(asked + 21, 1);
        const auto line = std::find_if(values.begin(), values.end(), [&](const auto& v) { return v.first == name; });
        REQUIRE(line != values.end());
        const std::string value = digits(line->second);
        if (t.question.starts_with("think : ")) {
          ++thought;
          std::string chain;  // every line's "NAME = ... = VALUE"; "yes" behind the asked NAME where the chain checks
          for (const auto& [n, v] : values) {
            const std::string shown = n + (checks && n == name ? " yes = " : " = ");
            const std::size_t at = t.answer.find((chain.empty() ? "<think>" : " , ") + shown, chain.size());
            REQUIRE(at != t.answer.npos);
            const std::size_t end = std::min(t.answer.find(" , ", at + 1), t.answer.find("</think>"));
            chain = t.answer.substr(0, end);
            CHECK_MESSAGE(chain.ends_with("= " + digits(v)), t.answer);
          }
          CHECK(t.answer == chain + "</think><answer>" + value + "</answer>");
        } else {
          ++straight;
          CHECK((t.answer == value || t.answer.ends_with(" = " + value)));
        }
      }
    }
    CHECK(straight == (checks ? 0 : lines));
    if (family == "program") CHECK(thought == 0);
    if (family == "values") CHECK(std::abs(thought - 200) < 50);  // half of 400; five standard errors
    if (family == "three_lines" || checks) CHECK(thought == lines);
    if (checks) CHECK(std::abs(lines - 500) < 36);  // two or three of each; five standard errors
  }
}

TEST_CASE("toy world: the last of every six instruct pictures shows what is learned last, the others the mixture") {
  const Catalog& catalog = toy().catalog;
  for (std::int64_t i = 0; i < 24; ++i)
    CHECK(catalog.instruct_mixture("default", i) == (i % 6 == 5 ? "learned_last" : "default"));
  CHECK(catalog.instruct_mixture("shapes", 7) == "shapes");
}

TEST_CASE("toy world: places and boxes") {
  CHECK(place({0, 0, 26, 26}, 112, 84) == "top left");
  CHECK(place({43, 29, 69, 55}, 112, 84) == "middle center");
  CHECK(place({98, 70, 112, 84}, 112, 84) == "bottom right");
  CHECK(box_answer({1, 29, 27, 55}) == "0 , 2 , 2 , 4");
  CHECK(box_answer({6, 7, 20, 21}) == "0 , 1 , 1 , 2");
}

TEST_CASE("toy world: a stage takes the turns it should") {
  int with_caption = 0, with_terse = 0;
  constexpr int n = 400;
  for (std::uint64_t i = 0; i < n; ++i) {
    const Scene s = make_scene(toy(), 1, i, Split::train);
    const auto count = [](const std::vector<const Exchange*>& turns, auto is) {
      return std::count_if(turns.begin(), turns.end(), is);
    };
    const auto caption = [](const Exchange* t) { return t->from->id == "caption"; };
    const auto terse = [](const Exchange* t) { return t->from->category == terse_category; };
    const auto mid = choose_turns(s, 1, i, Stage::midtrain), instruct = choose_turns(s, 1, i, Stage::instruct);
    CHECK(count(mid, caption) == 1);
    CHECK(mid.size() >= 3);
    CHECK(mid.size() <= 11);
    CHECK(instruct.size() <= 12);
    CHECK(count(instruct, terse) <= 3);
    with_caption += count(instruct, caption) > 0;
    with_terse += count(instruct, terse) > 0;
    CHECK(mid == choose_turns(s, 1, i, Stage::midtrain));
  }
  CHECK(std::abs(with_caption - 2 * n / 5) < 49);  // five standard errors of a coin that falls so two times in five
  CHECK(std::abs(with_terse - n / 5) < 45);        // a quarter of the four fifths that have terse turns
}

TEST_CASE("toy world: the text corpus answers from the caption, and one document in five is arithmetic") {
  int sums = 0;
  constexpr int n = 300;
  for (std::uint64_t i = 0; i < n; ++i) {
    const TextSample s = make_text(toy(), 1, i);
    CHECK(!s.turns.empty());
    CHECK(s.text().find(s.prefix) == 0);
    if (s.prefix.empty()) {
      ++sums;
      CHECK(s.turns.size() == 14);
      int a = 0, b = 0;
      char op = 0;
      for (const auto& [question, answer] : s.turns) {
        REQUIRE(std::sscanf(question.c_str(), "%d %c %d =", &a, &op, &b) == 3);
        CHECK(answer == digits(op == '+' ? a + b : a - b));
      }
    } else {
      const bool shared = s.prefix.find("formula") == 0 || s.prefix.find("card") == 0;
      CHECK((shared || !toy().catalog.held_out(s.prefix)));
      for (const auto& [question, answer] : s.turns) CHECK(question.find("locate") == std::string::npos);
    }
  }
  CHECK(std::abs(sums - n / 5) < 35);  // five standard errors
}

TEST_CASE("toy world: unknown names are refused, the nearest offered") {
  CHECK_THROWS_WITH_AS(make_scene_of(toy(), 1, 0, Split::train, "shape"),
                       "no family of scenes is named 'shape'; did you mean 'shapes'?", Error);
  CHECK_THROWS_WITH_AS(make_scene(toy(), 1, 0, Split::train, "defalt"),
                       "mixtures.json: no mixture 'defalt'; did you mean 'default'?", Error);
  CHECK_THROWS_WITH_AS(make_test_question(toy(), 1, "Sciense", 0),
                       "no category is named 'Sciense'; did you mean 'Science'?", Error);
}
