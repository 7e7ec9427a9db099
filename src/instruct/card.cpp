#include "instruct/card.h"

#include "base/io/file.h"

namespace ov::instruct {

void Card::add(const Key& k, std::size_t source, const std::string&) {
  ++sources_[source], ++category_[k.category], ++lang_[k.lang], ++difficulty_[k.difficulty];
}

void Card::write(const std::string& directory, const std::string&, const Json& steps) const {
  Json category = Json::object(), lang = Json::object();
  for (std::size_t c = 0; c < categories.size(); ++c) category.set(categories[c], category_[c]);
  for (std::size_t l = 0; l < languages.size(); ++l) lang.set(languages[l], lang_[l]);
  write_durably(directory + "/card.json",
                Json::object({{"steps", steps}, {"categories", category}, {"languages", lang}}).dump(2) + "\n");
}

}  // namespace ov::instruct
