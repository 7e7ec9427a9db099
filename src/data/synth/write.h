// The toy world as files: what every stage of the demonstration reads.
//
//   instruct/conversations.json    LLaVA conversation JSON, one sample a line; "templates" names every turn's template,
//                                  "answer_types" what verifies its answer in RL, where not every text does alike
//   instruct/images/NNN/*.jpg|png  its pictures; "image" is relative to instruct/
//   captions/                      dense captions and terse turns: webdataset shards with energon metadata (shards.h)
//   regions/regions.jsonl          {"image", "objects": [{"box": [x1, y1, x2, y2], "class"}],
//                                  "ocr": [{"box", "text"}]}; boxes in pixels, half open, inside the picture
//   text/corpus.jsonl              {"text", "prefix", "turns": [{"question", "answer"}]}
//   test/<category>.jsonl          {"id", "image", "category", "template", "question", "answer", "scorer"}
//   test/commonest_answers.json    {template: {"answer", "n", "of"}} over the instruct turns: the blind baseline
//   reasoning/                     as test/, for the categories that stand apart
//   world.json                     seed, counts, mixture, and the families whose descriptions both splits share
//
// Pictures are JPEG (quality 95, 4:4:4) and PNG in turn. The same options give the same bytes, whatever the number of
// threads. The directory appears when it is complete (base/io/durable_directory.h).
#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace ov::synth {

struct ToyWorldOptions {
  std::string out_dir;
  std::string data_dir = "data/toy_world";
  std::uint64_t seed = 1;
  std::string mixture = "default";
  // Pictures of each part, documents of the corpus, and held-out questions per category.
  std::int64_t instruct = 10000, captions = 10000, regions = 10000, text = 20000, test = 300;
  std::int64_t shard_size = 1000;
  std::function<void(const char* part, std::int64_t done, std::int64_t total)> progress = {};  // called now and then
};

// Throws input_error for counts below zero (shard_size: below one) and damaged data files, machine_error when a file
// cannot be written.
void write_toy_world(const ToyWorldOptions& options);

// "Chart & Table" -> "chart_table": the name of the category's file.
std::string file_stem(const std::string& category);

}  // namespace ov::synth
