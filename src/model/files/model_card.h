// README.md of an exported directory: a model card as Hugging Face shows it, with what it was made of and how. It holds
// no date, no path and no name of a machine, so that equal runs write equal cards.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"

namespace ov {

struct CardFacts {
  std::string pipeline = "image-text-to-text";  // Hugging Face's pipeline_tag
  std::string library = "transformers";         // what loads it
  std::string title = "LLaVA-OneVision-1.5";
  Json model = Json::object(), data = Json::object(), recipe = Json::object(), log = Json::object();
  std::string license = {};               // Hugging Face's name of it; empty: what a source says
  std::vector<std::string> sources = {};  // directories of the models that it was made from; "" is none
};

// Into a directory whose weights are written, unless a README.md of somebody else's stands there. Of `recipe`, a
// command's configuration, paths lose their directories and what changes no bit is left out. What a source's
// config.json (_name_or_path) and README.md say of its name on the hub and its licence is taken over.
void write_model_card(const std::string& directory, const CardFacts& facts);
// A card of this kind for other weights of the same model; any other text as it is.
std::string card_with_weights(const std::string& card, const std::string& directory);
// LICENSE and NOTICE files, where the other directory has none of that name.
void copy_licences(const std::string& from, const std::string& to);

}  // namespace ov
