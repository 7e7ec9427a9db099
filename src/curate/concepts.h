// A vocabulary of concepts: learnt from captions with counts, or a given list that is counted in them.
//
// Texts are cut as MetaCLIP's matching does: , . ; : ? ! and ` stand alone, white space parts words, and an entry
// counts where it stands as whole words. Beyond it: A to Z are lower case, a Chinese or Japanese character or a Korean
// syllable is a word of its own, and of a caption an entry counts once.
//
//   learnt     words, and pairs of neighbours whose words attract each other: log2(n_ab N / (n_a n_b)) >= min_pmi, of
//              n captions among N; most frequent first, then by their bytes
//   given      in the list's order, those without a caption too
//
// A vocabulary is JSON lines {"concept", "captions"}; a list may also be plain text, an entry a line.
#pragma once
#include "base/json.h"
#include "curate/blocks.h"

namespace ov {

struct Concept {
  std::string text;
  std::int64_t captions = 0;
};

// JSON lines where the name ends in .jsonl. Throws input_error: an entry that is empty or stands twice, none at all.
std::vector<Concept> read_concepts(const std::string& path);

// The words of a text as they are counted.
std::vector<std::string> concept_words(std::string_view text);

struct ConceptOptions {
  std::vector<std::string> sources;  // data/raw/records.h, of which the first answers count
  std::string list, out;             // list "": learnt
  std::int64_t min_count = 2, max_rejects = 0;
  bool pairs = true;
  double min_pmi = 3;
  Shard shard;
};

// Writes OUT and OUT.report.json; returns the report, or null when other shards are still to come.
Json concepts(const ConceptOptions& options);

}  // namespace ov
