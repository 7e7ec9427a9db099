// The keys of the command that makes instruction data (src/instruct).
#include "cli/keys.h"

namespace ov::cli {

std::vector<Key> instruct_rows() {
  return {
      {"curate.manifest", "manifest", "", any, "curate",
       "the sources, their licences, categories and caps, and the shares to end with"},
      {"curate.rules", "rules", "data/instruct", any, "curate", "directory of the templates, safety rules and filters"},
      {"curate.seed", "seed", whole(1), at_least(0), "curate", "of all draws, which are keyed by a record's id"},
  };
}

}  // namespace ov::cli
