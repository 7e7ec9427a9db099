#include "data/synth/builder.h"

#include "base/error.h"

namespace ov::synth {

Canvas& SceneBuilder::begin(int width, int height) { return canvas_.emplace(grey_canvas(width, height, draws)); }

Canvas& SceneBuilder::begin(int width, int height, Color background) {
  return canvas_.emplace(width, height, background);
}

void SceneBuilder::write(const std::string& string, int x, int y, Color color, int advance, int jitter) {
  for (std::size_t i = 0; i < string.size(); ++i)
    canvas_->draw(world.character(string.substr(i, 1)),
                  x + advance * static_cast<int>(i) + 1 + (jitter ? draws.between(0, jitter) : 0), y, color);
}

void SceneBuilder::text_of_each(const std::string& string, int x, int y) {
  for (std::size_t i = 0; i < string.size(); ++i) {
    const int left = x + cell * static_cast<int>(i);
    text({left + 1, y, left + 13, y + patch}, string.substr(i, 1));
  }
}

void SceneBuilder::describe(const std::string& caption) {
  description_ = caption;
  ask("caption", {{"caption", caption}});
}

void SceneBuilder::ask(std::string_view id, const Slots& slots) {
  const Template& t = catalog_.find(id);
  if (t.ask_percent < 100 && !draws.percent(t.ask_percent)) return;
  std::string answer = fill_slots(t.english[1], slots, t.id);
  for (const auto& [common, keep] : t.keep_percent)
    if (answer == common && !draws.percent(keep)) return;

  if (t.zh_percent > 0 && draws.percent(t.zh_percent)) {
    Slots chinese = slots;
    if (id != "caption")
      for (auto& [name, value] : chinese) value = world.in_chinese(value);
    turns_.push_back({&t, fill_slots(t.chinese[0], chinese, t.id), fill_slots(t.chinese[1], chinese, t.id), true});
  } else {
    turns_.push_back({&t, fill_slots(t.english[0], slots, t.id), std::move(answer), false});
  }
}

Scene SceneBuilder::finish(const std::string& family, std::uint64_t seed, std::string_view noise, std::uint64_t index) {
  canvas_->add_noise(seed, noise, index);
  return {family, std::move(description_), canvas_->take(), std::move(turns_), std::move(regions_)};
}

std::string digits(int n) { return spaced(std::to_string(n)); }

std::string spaced(const std::string& s) {
  std::string out;
  for (char c : s) {
    if (!out.empty()) out += ' ';
    out += c;
  }
  return out;
}

std::string join(const Words& words, const std::string& between) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) out += (i ? between : "") + words[i];
  return out;
}

std::string box_answer(Rect b) {
  const auto patches = [](int pixels) { return std::to_string((pixels + patch / 2) / patch); };
  return patches(b.x1) + " , " + patches(b.y1) + " , " + patches(b.x2) + " , " + patches(b.y2);
}

std::string place_across(Rect b, int width) {
  static const char* const kColumn[] = {"left", "center", "right"};
  return kColumn[std::min(2, 3 * (b.x1 + b.x2) / (2 * width))];
}

std::string place(Rect b, int width, int height) {
  static const char* const kRow[] = {"top", "middle", "bottom"};
  return cat(kRow[std::min(2, 3 * (b.y1 + b.y2) / (2 * height))], " ", place_across(b, width));
}

}  // namespace ov::synth
