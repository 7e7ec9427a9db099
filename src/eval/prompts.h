// How a public task asks: what lmms-eval 0.7.3 makes of a document with the task's default settings, by its name.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace ov::public_tasks {

enum class ImagePlacement {
  before,     // pictures, then the text
  in_order,   // the next picture at each <image> or <image 1>, what is left before the last text; texts lose their
              // outer blanks
  left_first  // the same, what is left before all
};

struct Prompt {
  std::vector<std::string_view> names;  // of the tasks that ask so
  std::string (*text)(const Json& doc);
  Json (*gold)(const Json& doc);                   // "answer" of the scorer's line
  std::vector<Json> (*pictures)(const Json& doc);  // as the document has them
  std::int64_t max_tokens = 1024;
  bool top_p = false;  // the request says top_p: 1, as the task does
  ImagePlacement placement = ImagePlacement::before;
  bool sizes = false;            // the scorer needs image_width and image_height of the picture
  bool explode = false;          // a document for each of its answers
  bool pictureless = false;      // a document may have no picture; of other tasks that is a fault
  std::string_view system = "";  // a message of its own, before
  bool strip = false;            // what is sent lacks the text's outer blanks
  double temperature = 0;
};

// image_1, image_2 ... in the order of the columns; where there are none, "image" and its other names.
std::vector<Json> pictures_of(const Json& doc);

const std::vector<Prompt>& prompts();
// Throws input_error for a task whose question is not known here.
const Prompt& prompt_named(std::string_view task);

}  // namespace ov::public_tasks
