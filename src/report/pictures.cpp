// Pictures with what was asked and what was answered.
#include <cmath>
#include <cstdio>
#include <map>

#include "base/error.h"
#include "base/io/file.h"
#include "report/html.h"
#include "report/sections.h"
#include "report/style.h"
#include "store/jsonl.h"

namespace ov {
namespace {

using html::element;
using html::text;

struct Shown {
  std::string category, image, question, answer, prediction;
  double score = 0;
  bool right() const { return score >= 1; }
};

struct Category {
  std::string name;
  Shown first;
  std::vector<Shown> wrong, right;  // in file order
};

const std::string& member(const Json& line, const char* key, const std::string& where) {
  const Json* v = line.is_object() ? line.find(key) : nullptr;
  if (!v || !v->is_string()) input_error(where, ": expected a string '", key, "'");
  return v->as_string();
}

std::vector<Category> read(const std::string& path) {
  std::vector<Category> categories;
  JsonlReader lines(path);
  for (Json line; lines.next(&line);) {
    const std::string where = cat(path, ":", lines.line());
    Shown s{member(line, "category", where), member(line, "image", where), member(line, "question", where),
            member(line, "answer", where), member(line, "prediction", where)};
    const Json* score = line.find("score");
    if (!score || !score->is_number()) input_error(where, ": expected a number 'score'");
    s.score = score->as_double();
    if (categories.empty() || categories.back().name != s.category) categories.push_back({s.category, s, {}, {}});
    (s.right() ? categories.back().right : categories.back().wrong).push_back(std::move(s));
  }
  return categories;
}

// Round by round through the categories: in even rounds a wrong answer each, in odd ones a right one; whoever has none
// of the kind gives one of the other.
std::vector<Shown> choose(std::vector<Category> categories, std::int64_t wanted) {
  std::vector<Shown> chosen;
  std::map<const Category*, std::pair<std::size_t, std::size_t>> used;  // wrong, right
  for (std::int64_t round = 0; static_cast<std::int64_t>(chosen.size()) < wanted; ++round) {
    const std::size_t before = chosen.size();
    for (const Category& c : categories) {
      if (static_cast<std::int64_t>(chosen.size()) == wanted) break;
      auto& [wrong, right] = used[&c];
      const bool take_wrong = wrong < c.wrong.size() && (round % 2 == 0 || right == c.right.size());
      if (take_wrong) chosen.push_back(c.wrong[wrong++]);
      else if (right < c.right.size()) chosen.push_back(c.right[right++]);
    }
    if (chosen.size() == before) break;
  }
  return chosen;
}

std::string figure(const Shown& s) {
  char part[32];
  std::snprintf(part, sizeof part, "%.2f right", s.score);
  const std::string verdict = s.right() ? "right" : s.score > 0 ? part : "wrong";
  const auto line = [](const char* what, const std::string& value) {
    return element("div", text("i", cat(what, " ")) + html::escape(value.empty() ? "(nothing)" : value));
  };
  return element(
             "figure",
             element("div", {{"class", "frame"}},
                     html::empty("img", {{"src", html::data_uri(s.image)}, {"alt", cat("picture: ", s.answer)}})) +
                 element("figcaption",
                         element("div", {{"class", "what"}},
                                 text("span", s.category) +
                                     text("span", {{"class", s.right() ? "right-answer" : "wrong-answer"}}, verdict)) +
                             element("div", text("b", s.question)) + line("true:", s.answer) +
                             line("model:", s.prediction))) +
         "\n";
}

// A cell of a Markdown table.
std::string cell(std::string value) {
  for (std::size_t at = 0; (at = value.find_first_of("|\n", at)) != value.npos; ++at)
    if (value[at] == '\n') value[at] = ' ';
    else value.insert(at++, 1, '\\');
  return value;
}

}  // namespace

// The first question of every second category, whatever was answered, so that nobody chose them.
void write_strip(const std::string& directory, const std::string& predictions_path,
                 const std::vector<RunSummary>& runs) {
  std::vector<Category> categories = read(predictions_path);
  make_directories(directory);
  std::string table;
  for (std::size_t c = 0, n = 1; c < categories.size() && n <= 4; c += 2, ++n) {
    const Shown& s = categories[c].first;
    const std::string file = cat(n, s.image.substr(s.image.find_last_of('.')));
    write_durably(directory + "/" + file, read_file(s.image));
    table += cat("| <img src=\"data/demo/", file, "\" height=\"90\"> | ", s.category, " | ", cell(s.question), " | ",
                 cell(s.prediction), s.right() ? " | right |\n" : cat(" | wrong: ", cell(s.answer), " |\n"));
  }
  write_durably(directory + "/answers.md", table);
  if (!runs.empty()) {
    std::string plot = loss_plot(runs.back());
    plot.insert(plot.find('>') + 1, html::element("style", plot_style));
    write_durably(directory + "/loss.svg", plot);
  }
}

std::string picture_grid(const std::string& predictions_path, std::int64_t pictures) {
  std::string out;
  for (const Shown& s : choose(read(predictions_path), pictures)) out += figure(s);
  return element("div", {{"class", "pictures"}}, out);
}

}  // namespace ov
