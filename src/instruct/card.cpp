#include "instruct/card.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <numeric>

#include "base/io/file.h"
#include "base/text.h"
#include "report/html.h"

namespace ov::instruct {
namespace {

using html::element;
using html::row;
using html::text;

// 0, 1, 2 to 3, 4 to 7, ...
std::size_t octave(std::uint64_t n, std::size_t most) {
  return std::min(static_cast<std::size_t>(std::bit_width(n)), most - 1);
}
std::string octave_name(std::size_t o, std::size_t most) {
  const std::uint64_t low = o ? std::uint64_t{1} << (o - 1) : 0;
  if (o + 1 == most) return cat(low, " and more");
  return low < 2 ? cat(low) : cat(low, " to ", 2 * low - 1);
}

std::string share(std::int64_t n, std::int64_t of) {
  char out[32];
  std::snprintf(out, sizeof out, "%.2f %%", of ? 100.0 * static_cast<double>(n) / static_cast<double>(of) : 0.0);
  return out;
}

std::string bar(std::int64_t n, std::int64_t most) {
  const auto wide = [&](std::int64_t v) { return cat(most ? 240 * v / most : 0); };
  const auto rect = [&](const char* kind, const std::string& width) {
    return html::empty("rect", {{"class", kind}, {"width", width}, {"height", "10"}, {"y", "3"}, {"rx", "2"}});
  };
  return element("svg", {{"class", "meter"}, {"viewBox", "0 0 240 16"}, {"role", "img"}, {"aria-label", cat(n)}},
                 rect("track", "240") + rect("bar", wide(n)));
}

// A table of counts with bars: {name: n}.
std::string table(const std::string& title, const Json& counts) {
  std::int64_t all = 0, most = 0;
  for (const auto& [name, n] : counts.members()) all += n.as_int(), most = std::max(most, n.as_int());
  std::string rows = row("th", {html::escape(title), "records", "share", ""});
  for (const auto& [name, n] : counts.members())
    rows += row("td", {html::escape(name), cat(n.as_int()), share(n.as_int(), all), bar(n.as_int(), most)});
  return element("section", {{"class", "card"}}, element("div", {{"class", "wide"}}, element("table", rows)));
}

template <std::size_t n>
Json octaves(const std::array<std::int64_t, n>& counts) {
  Json out = Json::object();
  std::size_t last = n;
  while (last > 1 && counts[last - 1] == 0) --last;
  for (std::size_t o = 0; o < last; ++o) out.set(octave_name(o, n), counts[o]);
  return out;
}

std::string step_tables(const Json& steps) {
  std::string sums = row("th", {"step", "in", "out", "rejected", "changed"}), why;
  for (const Json& s : steps.items()) {
    const std::string& name = s.at("step").as_string();
    std::int64_t changes = 0;
    for (const char* key : {"rejected", "changed"})
      for (const auto& [word, c] : s.at(key).members()) {
        if (key[0] == 'c') changes += c.at("n").as_int();
        std::string shown_examples;
        for (const Json& e : c.at("examples").items())
          shown_examples +=
              element("div", text("code", e.at("id").as_string()) + html::escape(" " + e.at("message").as_string()));
        why += element("tr", text("td", cat(name, ": ", word)) + text("td", key) + text("td", cat(c.at("n").as_int())) +
                                 element("td", {{"class", "text"}}, shown_examples));
      }
    sums += row("td", {html::escape(name), cat(s.at("in").as_int()), cat(s.at("out").as_int()),
                       cat(s.at("in").as_int() - s.at("out").as_int()), cat(changes)});
  }
  const auto card = [](const std::string& rows) {
    return element("section", {{"class", "card"}}, element("div", {{"class", "wide"}}, element("table", rows)));
  };
  return card(sums) + text("h2", "What was rejected and changed, and why") +
         card(row("th", {"what", "", "records", "examples"}) + why);
}

}  // namespace

void Card::add(const RecordSummary& k, std::size_t source, const std::string& line) {
  ++sources_[source], ++category_[k.category], ++lang_[k.lang], ++difficulty_[k.difficulty];
  ++rewritten_[k.rewritten], ++translated_[k.translated];
  ++question_[octave(k.question_words, lengths)], ++answer_[octave(k.answer_words, lengths)];
  ++turns_[octave(k.turns, lengths)], ++pictures_[octave(k.pictures, lengths)];
  auto& best = examples_[k.category];
  if (best.size() == examples && k.draw >= best.back().draw) return;
  best.insert(std::find_if(best.begin(), best.end(), [&](const Example& e) { return k.draw < e.draw; }),
              {k.draw, line});
  if (best.size() > examples) best.pop_back();
}

Json Card::json(const Json& steps) const {
  Json category = Json::object(), lang = Json::object(), difficulty = Json::object(), sources = Json::array();
  Json licences = Json::object(), list = Json::array();
  for (std::size_t c = 0; c < categories.size(); ++c) category.set(categories[c], category_[c]);
  for (std::size_t l = 0; l < languages.size(); ++l) lang.set(languages[l], lang_[l]);
  for (std::size_t d = 0; d < difficulties; ++d) difficulty.set(cat(d + 1), difficulty_[d]);
  for (std::size_t s = 0; s < sources_.size(); ++s) {
    const SourceEntry& e = manifest_.sources[s];
    const Json* before = licences.find(e.licence);
    licences.set(e.licence, sources_[s] + (before ? before->as_int() : 0));
    Json missing = Json::array();
    for (const std::int64_t part : e.missing_parts) missing.push(part);
    sources.push(Json::object({{"name", e.name},
                               {"licence", e.licence},
                               {"records", sources_[s]},
                               {"parts", e.files.size()},
                               {"missing_parts", missing}}));
  }
  for (const auto& of : examples_)
    for (const Example& e : of) list.push(Json::parse(e.line, "an example"));
  return Json::object(
      {{"records", std::accumulate(sources_.begin(), sources_.end(), std::int64_t{0})},
       {"categories", category},
       {"languages", lang},
       {"rewritten", Json::object({{"no", rewritten_[0]}, {"by an endpoint", rewritten_[1]}})},
       {"translated",
        Json::object({{"no", translated_[0]}, {"by phrases", translated_[1]}, {"by an endpoint", translated_[2]}})},
       {"difficulty", difficulty},
       {"licences", licences},
       {"sources", sources},
       {"question_words", octaves(question_)},
       {"answer_words", octaves(answer_)},
       {"messages", octaves(turns_)},
       {"pictures", octaves(pictures_)},
       {"steps", steps},
       {"examples", list}});
}

std::string Card::figure(const Example& example, const std::string& directory) const {
  const Json record = Json::parse(example.line, "an example");
  std::string picture = element("i", "text alone"), said;
  if (const Json& images = record.at("images"); images.size() > 0) {
    const std::string& path = images[0].as_string();
    const std::string here = path[0] == '/' ? path : directory + "/" + path;
    try {
      picture = html::empty("img", {{"src", html::data_uri(here)}, {"alt", record.at("id").as_string()}});
    } catch (const Error& e) {
      std::string why = e.what();  // names the directory of this run, which the page must not
      if (const std::size_t at = why.find(here); at != why.npos) why.replace(at, here.size(), path);
      picture = text("i", why);
    }
  }
  for (std::size_t m = 0; m < std::min<std::size_t>(4, record.at("messages").size()); ++m) {
    const Json& message = record.at("messages")[m];
    said += element("div", text("i", message.at("role").as_string() + " ") +
                               html::escape(shown(message.at("content").as_string(), 300)));
  }
  const std::string what = cat(record.at("category").as_string(), ", ", record.at("lang").as_string(), ", difficulty ",
                               record.at("difficulty").as_int());
  return element("figure",
                 element("div", {{"class", "frame"}}, picture) +
                     element("figcaption", element("div", {{"class", "what"}},
                                                   text("span", what) + text("span", record.at("id").as_string())) +
                                               said));
}

void Card::write(const std::string& directory, const Json& steps) const {
  const Json card = json(steps);
  write_durably(directory + "/card.json", card.dump(2) + "\n");
  Json sources = Json::object();
  std::string missing;
  for (const Json& s : card.at("sources").items()) {
    sources.set(s.at("name").as_string(), s.at("records"));
    if (s.at("missing_parts").size() > 0)
      missing += text("p", cat(s.at("name").as_string(), ": parts ", s.at("missing_parts").shown(), " are missing"));
  }
  std::string body =
      text("h1", "Data card") + text("p", cat(card.at("records").as_int(), " records of ", sources_.size(),
                                              " sources, from ", steps[0].at("in").as_int()));
  body += text("h2", "What every step took in and gave out") + step_tables(steps) + text("h2", "What is left");
  for (const char* key : {"categories", "languages", "rewritten", "translated", "difficulty", "licences"})
    body += table(key, card.at(key));
  body += table("source", sources) + missing + text("h2", "Lengths");
  for (const auto& [key, title] : {std::pair{"question_words", "words of all questions"},
                                   {"answer_words", "words of all answers"},
                                   {"messages", "messages"},
                                   {"pictures", "pictures"}})
    body += table(title, card.at(key));
  std::string figures;
  for (const auto& of : examples_)
    for (const Example& e : of) figures += figure(e, directory) + "\n";
  body += text("h2", "Examples, drawn by their numbers") + element("div", {{"class", "pictures"}}, figures);
  write_durably(directory + "/card.html", html::page("Data card", body));
}

}  // namespace ov::instruct
