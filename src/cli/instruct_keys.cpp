// The keys of the command that makes instruction data (src/instruct).
#include "cli/keys.h"

namespace ov::cli {

std::vector<Key> instruct_rows() {
  return {
      {"curate.manifest", "manifest", "", any, "curate",
       "the sources, their licences, categories and caps, and the shares to end with; paths in it start where it lies"},
      {"curate.rules", "rules", "data/instruct", any, "curate",
       "directory of the templates, safety rules and filters, "
       "from where one stands, as all paths of keys; the default's own comes with the program"},
      {"rewrite.url", "url", "", any, "curate",
       "server of the OpenAI API that puts questions in other words and translates, http://host:port/v1; empty: none"},
      {"rewrite.model", "", "default", any, "curate", "the model's name there"},
      {"rewrite.share", "", 1.0, Allowed(0, 1), "curate",
       "of the records, drawn by id, whose question is put in other words"},
      {"rewrite.judge", "", true, any, "curate", "ask a second time whether the answer is still right"},
      {"rewrite.cache", "", "", any, "curate", "directory of the answers, kept for other runs; empty: OUT.answers"},
      {"rewrite.at_once", "", whole(32), Allowed(1, 4096), "curate", "requests at a time"},
      {"rewrite.tries", "", whole(5), Allowed(1, 100), "curate", "of a request, when the server is busy or away"},
      {"bilingual.zh", "", 0.0, Allowed(0, 1), "curate",
       "share of the English records, drawn by id, to be put into Chinese"},
      {"bilingual.en", "", 0.0, Allowed(0, 1), "curate", "share of the Chinese records to be put into English"},
      {"bilingual.by", "", "both", "phrases endpoint both", "curate",
       "what translates: the bank of phrases, the endpoint, or it where the bank cannot"},
      {"curate.seed", "seed", whole(1), at_least(0), "curate", "of all draws, which are keyed by a record's id"},
  };
}

}  // namespace ov::cli
