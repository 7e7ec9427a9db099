#include "data/synth/write.h"

#include <map>

#include "base/error.h"
#include "base/io/durable_directory.h"
#include "base/io/file.h"
#include "base/parallel.h"
#include "data/synth/shards.h"
#include "data/synth/turns.h"
#include "image/encode.h"

namespace ov::synth {

namespace {

constexpr std::int64_t kMostPictures = 1 << 20;  // of one part

// Each part draws its training pictures from indices of its own.
constexpr std::uint64_t kInstruct = 0, kCaptions = 1u << 30, kRegions = 2u << 30, kText = 3u << 30;
constexpr std::int64_t kChunk = 512;  // pictures held in memory at a time

struct Picture {
  std::string name, bytes;  // "000042.png"
};

Picture encode(const Image& image, std::int64_t number) {
  const bool jpeg = number % 2 == 0;
  return {numbered("", number, 6) + (jpeg ? ".jpg" : ".png"),
          jpeg ? encode_jpeg(image, 95, ChromaSampling::yuv444) : encode_png(image)};
}

// A plain write: the directory as a whole is made durable when everything stands in it.
void write_plain(const std::string& path, const std::string& bytes) { AppendFile(path, 0).append(bytes); }

Json messages(const std::vector<const Exchange*>& turns) {
  Json list = Json::array();
  for (std::size_t i = 0; i < turns.size(); ++i) {
    list.push(Json::object({{"role", "user"}, {"content", (i == 0 ? "<image>\n" : "") + turns[i]->question}}));
    list.push(Json::object({{"role", "assistant"}, {"content", turns[i]->answer}}));
  }
  return list;
}

Json box_json(const Rect& b) {
  Json box = Json::array();
  for (int v : {b.x1, b.y1, b.x2, b.y2}) box.push(v);
  return box;
}

class Writer {
 public:
  Writer(const ToyWorldOptions& options, const std::string& root)
      : options_(options), root_(root), toy_(options.data_dir, options.mixture) {}

  void instruct() {
    DurableWriter file(folder("instruct") + "/conversations.json");
    file.write("[");
    std::map<std::string, std::map<std::string, std::int64_t>> answers;
    in_order<Sample>(
        "instruct", options_.instruct,
        [&](std::int64_t i) {
          const std::uint64_t index = kInstruct + static_cast<std::uint64_t>(i);
          const Scene scene =
              make_scene(toy_, options_.seed, index, Split::train, toy_.catalog.instruct_mixture(options_.mixture, i));
          QuestionAnswers turns;
          Words types;
          Sample s;
          for (const Exchange* t : choose_turns(scene, options_.seed, index, Stage::instruct)) {
            turns.emplace_back(t->question, t->answer);
            s.templates.push_back(t->from->id);
            types.push_back(t->from->answer_type);
            s.answers.push_back(t->answer);
          }
          const std::string image = save(scene.image, "instruct", i);
          Json record = llava_conversation(numbered("scene_", i, 6), image, turns);
          record.set("templates", s.templates);
          if (std::any_of(types.begin(), types.end(), [](const std::string& t) { return t != "any"; }))
            record.set("answer_types", types);
          s.line = record.dump();
          return s;
        },
        [&](std::int64_t i, const Sample& s) {
          file.write((i ? ",\n" : "\n") + s.line);
          for (std::size_t t = 0; t < s.templates.size(); ++t) ++answers[s.templates[t]][s.answers[t]];
        });
    file.write("\n]\n");
    file.commit();
    for (const char* part : {"test", "reasoning"}) write_commonest(part, answers);
  }

  void captions() {
    struct Record {
      Picture picture;
      std::string json;
    };
    ShardWriter shards(folder("captions"), "captions", static_cast<std::size_t>(options_.shard_size),
                       read_file(options_.data_dir + "/sample_loader.py"));
    in_order<Record>(
        "captions", options_.captions,
        [&](std::int64_t i) {
          const std::uint64_t index = kCaptions + static_cast<std::uint64_t>(i);
          const Scene scene = make_scene(toy_, options_.seed, index, Split::train, options_.mixture);
          Record r{encode(scene.image, i), ""};
          r.picture.name = "0_" + r.picture.name;
          const Json texts = messages(choose_turns(scene, options_.seed, index, Stage::midtrain));
          r.json = Json::object({{"texts", texts}, {"media", "image"}, {"name", Words{r.picture.name}}}).dump();
          return r;
        },
        [&](std::int64_t i, const Record& r) {
          shards.add("image_" + std::to_string(i), {{r.picture.name, r.picture.bytes}, {"json", r.json}});
        });
    shards.finish();
  }

  void regions() {
    lines("regions", "regions.jsonl", options_.regions, [&](std::int64_t i) {
      const Scene scene =
          make_scene(toy_, options_.seed, kRegions + static_cast<std::uint64_t>(i), Split::train, options_.mixture);
      Json objects = Json::array(), ocr = Json::array();
      for (const Region& r : scene.regions)
        (r.is_text ? ocr : objects)
            .push(Json::object({{"box", box_json(r.box)}, {r.is_text ? "text" : "class", r.label}}));
      return Json::object({{"image", save(scene.image, "regions", i)}, {"objects", objects}, {"ocr", ocr}});
    });
  }

  void text() {
    lines("text", "corpus.jsonl", options_.text, [&](std::int64_t i) {
      const TextSample sample = make_text(toy_, options_.seed, kText + static_cast<std::uint64_t>(i), options_.mixture);
      Json turns = Json::array();
      for (const auto& [question, answer] : sample.turns)
        turns.push(Json::object({{"question", question}, {"answer", answer}}));
      return Json::object({{"text", sample.text()}, {"prefix", sample.prefix}, {"turns", turns}});
    });
  }

  void test(const char* part, const Words& categories) {
    std::int64_t first = 0;  // number of the category's first picture
    for (const std::string& category : categories) {
      const std::string stem = file_stem(category);
      lines(part, stem + ".jsonl", options_.test, [&](std::int64_t i) {
        const TestQuestion q = make_test_question(toy_, options_.seed, category, static_cast<std::uint64_t>(i));
        return Json::object({{"id", numbered(stem + "_", i, 4)},
                             {"image", save(q.scene.image, part, first + i)},
                             {"category", category},
                             {"template", q.turn.from->id},
                             {"question", q.turn.question},
                             {"answer", q.turn.answer},
                             {"scorer", q.turn.from->scorer}});
      });
      first += options_.test;
    }
  }

  void tests() {
    test("test", toy_.catalog.categories());
    test("reasoning", toy_.catalog.categories_apart());
  }

  void summary() {
    Json shared = Json::object();
    for (const auto& [family, reason] : toy_.catalog.shared()) shared.set(family, reason);
    const Json counts = Json::object({{"instruct", options_.instruct},
                                      {"captions", options_.captions},
                                      {"regions", options_.regions},
                                      {"text", options_.text},
                                      {"test_per_category", options_.test}});
    write_durably(root_ + "/world.json", Json::object({{"seed", static_cast<std::int64_t>(options_.seed)},
                                                       {"mixture", options_.mixture},
                                                       {"counts", counts},
                                                       {"shared_descriptions", shared}})
                                                 .dump(2) +
                                             "\n");
  }

 private:
  struct Sample {
    std::string line;
    Words templates, answers;
  };

  std::string folder(const std::string& name) {
    make_directories(root_ + "/" + name);
    return root_ + "/" + name;
  }

  // Writes a picture and returns its name relative to the part's directory. A thousand pictures share a directory.
  std::string save(const Image& image, const std::string& part, std::int64_t number) {
    const Picture picture = encode(image, number);
    const std::string directory = "images/" + numbered("", number / 1000, 3);
    make_directories(root_ + "/" + part + "/" + directory);
    write_plain(root_ + "/" + part + "/" + directory + "/" + picture.name, picture.bytes);
    return directory + "/" + picture.name;
  }

  // make(i) for every i on all threads, then take(i, result) in the order of i.
  template <class Result, class Make, class Take>
  void in_order(const char* part, std::int64_t n, Make make, Take take) {
    for (std::int64_t begin = 0; begin < n; begin += kChunk) {
      std::vector<Result> results(static_cast<std::size_t>(std::min(kChunk, n - begin)));
      parallel_for(static_cast<std::int64_t>(results.size()), 8,
                   [&](std::int64_t i) { results[static_cast<std::size_t>(i)] = make(begin + i); });
      for (std::size_t i = 0; i < results.size(); ++i) take(begin + static_cast<std::int64_t>(i), results[i]);
      if (options_.progress) options_.progress(part, begin + static_cast<std::int64_t>(results.size()), n);
    }
  }

  template <class Make>
  void lines(const char* part, const std::string& name, std::int64_t n, Make make) {
    DurableWriter file(folder(part) + "/" + name);
    in_order<std::string>(
        part, n, [&](std::int64_t i) { return make(i).dump() + "\n"; },
        [&](std::int64_t, const std::string& line) { file.write(line); });
    file.commit();
  }

  void write_commonest(const std::string& part,
                       const std::map<std::string, std::map<std::string, std::int64_t>>& answers) {
    Json table = Json::object();
    for (const auto& [id, counts] : answers) {
      std::int64_t of = 0;
      auto best = counts.begin();
      for (auto at = counts.begin(); at != counts.end(); ++at) {
        of += at->second;
        if (at->second > best->second) best = at;
      }
      table.set(id, Json::object({{"answer", best->first}, {"n", best->second}, {"of", of}}));
    }
    write_durably(folder(part) + "/commonest_answers.json", table.dump(2) + "\n");
  }

  const ToyWorldOptions& options_;
  std::string root_;
  ToyWorld toy_;
};

}  // namespace

std::string file_stem(const std::string& category) {
  std::string stem;
  for (char c : category) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter) stem += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    else if (!stem.empty() && stem.back() != '_') stem += '_';
  }
  return stem;
}

void write_toy_world(const ToyWorldOptions& o) {
  for (const auto& [name, count] : {std::pair{"instruct", o.instruct},
                                    {"captions", o.captions},
                                    {"regions", o.regions},
                                    {"text", o.text},
                                    {"test", o.test}})
    if (count < 0 || count >= kMostPictures)
      input_error("synth: ", name, ": expected 0 to ", kMostPictures - 1, ", found ", count);
  if (o.shard_size < 1) input_error("synth: shard_size: expected at least 1, found ", o.shard_size);

  make_directories(parent_directory(o.out_dir));
  DurableDirectory directory(o.out_dir, "synth");
  Writer writer(o, directory.path());
  writer.instruct();
  writer.captions();
  writer.regions();
  writer.text();
  writer.tests();
  writer.summary();
  directory.commit(DurableDirectory::Flush::file_system);
}

}  // namespace ov::synth
