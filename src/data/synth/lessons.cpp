#include "data/synth/lessons.h"

#include "base/error.h"
#include "base/io/file.h"
#include "data/synth/output.h"
#include "data/synth/world.h"
#include "image/encode.h"

namespace ov::synth {

namespace {

struct Lesson {
  Image picture;
  QuestionAnswers turns;
};

class Teacher {
 public:
  Teacher(const LessonOptions& options)
      : seed_(options.seed),
        world_(read_world(options.data_dir)),
        where_(options.data_dir + "/lessons.json"),
        file_(Json::read(where_)) {}

  Lesson lesson(int index) const {
    Draws draws(seed_, "synth lesson", static_cast<std::uint64_t>(index));
    const Json& sizes = file_.at("sizes");
    const Json& size = sizes[static_cast<std::size_t>(index) % sizes.size()];
    const int width = static_cast<int>(size[0].as_int()), height = static_cast<int>(size[1].as_int());
    Canvas canvas = grey_canvas(width, height, draws);
    const int columns = width / 28, rows = height / 28;

    // The word takes the last row of cells; the shapes stand above it. A single row holds one or the other.
    QuestionAnswers turns;
    const bool word = columns >= 2 && (rows > 1 || columns > 2);
    const bool shapes = rows > 1 || !word;
    if (shapes) add_shapes(canvas, columns, word ? rows - 1 : rows, draws, turns);
    if (word) add_word(index, canvas, columns, rows - 1, draws, turns);
    canvas.add_noise(seed_, "synth lesson noise", static_cast<std::uint64_t>(index));

    draws.shuffle(turns);
    turns.resize(std::min<std::size_t>(turns.size(), index % 2 ? 3 : 2));
    return {canvas.take(), turns};
  }

 private:
  void ask(QuestionAnswers& turns, const char* question, const Slots& slots) const {
    const Json& pattern = file_.at("questions").at(question);
    turns.emplace_back(fill_slots(pattern[0].as_string(), slots, where_),
                       fill_slots(pattern[1].as_string(), slots, where_));
  }

  void add_shapes(Canvas& canvas, int columns, int rows, Draws& draws, QuestionAnswers& turns) const {
    const int n = std::min(columns * rows, draws.between(1, 3));
    const std::vector<int> cells = draws.distinct(n, columns * rows);
    const Words colors = draws.sample(world_.colors, n), shapes = draws.sample(world_.shapes, n);
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const int x = 28 * (cells[i] % columns), y = 28 * (cells[i] / columns);
      const int right = draws.between(0, 2), down = draws.between(0, 2);
      canvas.draw(shape_of(shapes[i]), x + right, y + down, 26, near(world_.color(colors[i]), draws));
      ask(turns, "color", {{"shape", shapes[i]}, {"color", colors[i]}});
      ask(turns, "shape", {{"shape", shapes[i]}, {"color", colors[i]}});
    }
    ask(turns, "count", {{"n", std::to_string(n)}});
  }

  void add_word(int index, Canvas& canvas, int columns, int row, Draws& draws, QuestionAnswers& turns) const {
    Words fitting;
    for (const Json& word : file_.at("words").items())
      if (static_cast<int>(word.as_string().size()) <= columns) fitting.push_back(word.as_string());
    if (fitting.empty()) input_error(where_, ": no word of at most ", columns, " letters");
    const std::string word =
        fitting[static_cast<std::size_t>(index) % fitting.size()];  // all of them before one returns
    const std::string color = draws.pick(world_.colors);
    const Color ink = near(world_.color(color), draws);
    for (std::size_t i = 0; i < word.size(); ++i) {
      const int right = 8 + draws.between(0, 2), down = 7 + draws.between(0, 1);
      canvas.draw(world_.character(word.substr(i, 1)), 28 * static_cast<int>(i) + right, 28 * row + down, ink);
    }
    ask(turns, "word", {{"word", word}});
    ask(turns, "letters", {{"n", std::to_string(word.size())}});
    ask(turns, "first", {{"letter", word.substr(0, 1)}});
    ask(turns, "ink", {{"color", color}});
  }

  std::uint64_t seed_;
  World world_;
  std::string where_;
  Json file_;
};

}  // namespace

void write_lessons(const LessonOptions& options) {
  if (options.count < 1) input_error("lessons: expected a count of at least 1, found ", options.count);
  const Teacher teacher(options);
  make_directories(options.out_dir + "/images");

  Json all = Json::array();
  for (int i = 0; i < options.count; ++i) {
    const Lesson lesson = teacher.lesson(i);
    const bool jpeg = i % 2 == 0;
    const std::string id = numbered("lesson_", i, 2);
    const std::string image = "images/" + id + (jpeg ? ".jpg" : ".png");
    write_durably(options.out_dir + "/" + image, jpeg ? encode_jpeg(lesson.picture) : encode_png(lesson.picture));
    all.push(llava_conversation(id, image, lesson.turns));
  }
  write_durably(options.out_dir + "/conversations.json", all.dump(2) + "\n");
}

}  // namespace ov::synth
