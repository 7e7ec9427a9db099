// The questions of the toy world and how often what is drawn: templates.json and mixtures.json.
#pragma once
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/synth/world.h"

namespace ov::synth {

// The category of templates that are for training only.
inline constexpr std::string_view terse_category = "Terse";

struct Template {
  std::string id, category, scorer;             // scorer: exact, iou or phrase_f1; empty for the terse ones
  std::string answer_type = "any";              // what verifies an answer in RL (rl/reward.h)
  std::vector<std::string> families;            // that ask it; empty: all
  std::array<std::string, 2> english, chinese;  // question and answer with slots
  int zh_percent = 0, ask_percent = 100;
  int share = 0;                                          // weight among the held-out questions of its category
  std::vector<std::pair<std::string, int>> keep_percent;  // by English answer
  bool two_way = false, from_caption = true, hard = false;
};

class Catalog {
 public:
  // The questions as a world asks them that is drawn with `mixture`: "asked" of mixtures.json says what some mixtures
  // have otherwise. Throws input_error naming file and entry: an unknown category or scorer, a percentage outside
  // 0..100, a template twice or not there, a mixture without weight or not there.
  static Catalog read(const std::string& data_dir, const std::string& mixture = "default");

  const std::vector<std::string>& categories() const { return categories_; }
  // Held-out questions of these categories stand in a directory of their own, beside the others.
  const std::vector<std::string>& categories_apart() const { return categories_apart_; }
  const std::vector<Template>& templates() const { return templates_; }
  const Template& find(std::string_view id) const;
  // Weights in the order of scene_families(); throws for a name that mixtures.json lacks (nearest offered).
  const std::vector<int>& mixture(const std::string& name) const;
  // The mixture of instruct picture i where the others are drawn with `name`: now and then another one.
  const std::string& instruct_mixture(const std::string& name, std::int64_t i) const;

  // Whether a description is kept for the test split, by its hash alone.
  bool held_out(std::string_view description) const;
  // The reason why both splits may draw any description of this family; null when they may not.
  const std::string* shared_reason(std::string_view family) const;
  const std::vector<std::pair<std::string, std::string>>& shared() const { return shared_; }

 private:
  // Of the instruct pictures of a mixture, the last of every `one_in` is drawn with `mixture` instead.
  struct Interspersed {
    std::int64_t one_in;
    std::string mixture;
  };

  std::vector<std::string> categories_, categories_apart_;
  std::vector<Template> templates_;
  std::map<std::string, std::size_t, std::less<>> by_id_;
  std::vector<std::pair<std::string, std::vector<int>>> mixtures_;
  std::map<std::string, Interspersed> interspersed_;  // by the mixture of the other pictures
  std::vector<std::pair<std::string, std::string>> shared_;
  int held_out_percent_ = 0;
};

}  // namespace ov::synth
