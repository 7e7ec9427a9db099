// Caption metrics as pycocoevalcap computes them: BLEU-1 to 4 (Papineni et al. 2002), ROUGE-L (Lin 2004), CIDEr-D
// (Vedantam et al. 2015). Texts are tokens joined by single blanks.
#pragma once
#include "eval/scorers/task.h"

namespace ov::public_tasks {

struct CaptionScores {
  double bleu[4] = {};
  double rouge = 0, cider = 0;         // means
  std::vector<double> rouges, ciders;  // of each picture
};
CaptionScores caption_scores(const std::vector<Text>& captions, const std::vector<std::vector<Text>>& references);

// Penn Treebank tokens in lower case without punctuation, after the rules of Stanford's tokenizer for plain sentences.
Text caption_tokens(View caption);

}  // namespace ov::public_tasks
