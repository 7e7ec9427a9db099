// The pictures that the quick demonstration teaches by heart: coloured shapes and words with two or three turns each.
//
//   out_dir/conversations.json   LLaVA conversation JSON: [{"id", "image", "conversations": [{"from", "value"}, ...]}]
//   out_dir/images/              JPEG and PNG in turn; "image" is relative to out_dir
//
// The same seed gives the same bytes. Questions, words and sizes stand in data_dir/lessons.json.
#pragma once
#include <cstdint>
#include <string>

namespace ov::synth {

struct LessonOptions {
  std::string out_dir;
  std::uint64_t seed = 1;
  int count = 10;
  std::string data_dir = "data/toy_world";
};

// Throws input_error for a bad count or data file, machine_error when a file cannot be written.
void write_lessons(const LessonOptions& options);

}  // namespace ov::synth
