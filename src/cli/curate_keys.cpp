// The keys of the commands that make a data set (src/curate).
#include "cli/keys.h"

namespace ov::cli {

std::vector<Key> curate_rows() {
  return {
      {"shard", "", "", any, "embed concepts dedup balance curate",
       "i/n: the i-th of n parts of the work, for one of many machines; merge: joins what they made; empty: all of it"},
      {"data.manifest", "manifest", "", any, "pretrain", "clip: what balance drew of the captions; empty: all",
       Resume::free},
      {"embed.data", "data", Strings{}, any, "embed", "data sets whose pictures are embedded"},
      {"embed.concepts", "concepts", "", any, "embed",
       "in their place: a vocabulary, JSON lines of concepts or a text of one a line"},
      {"embed.template", "template", "{}", any, "embed", "sentence that a concept stands in, at its {}"},
      {"concepts.data", "data", Strings{}, any, "concepts", "data sets whose first answers are the captions"},
      {"concepts.list", "list", "", any, "concepts", "concepts that are counted; empty: they are learnt"},
      {"concepts.min_count", "min_count", whole(2), at_least(1), "concepts", "captions that a learnt concept has"},
      {"concepts.pairs", "", true, any, "concepts", "learn pairs of words too"},
      {"concepts.min_pmi", "", 3.0, any, "concepts", "pointwise mutual information of a pair, in bits"},
      {"dedup.data", "data", Strings{}, any, "dedup", "data sets whose pictures are compared"},
      {"dedup.against", "against", Strings{}, any, "dedup", "evaluations: what shows their pictures is left out"},
      {"dedup.embeddings", "embeddings", Strings{}, any, "dedup", "what embed wrote of both; none: not compared"},
      {"dedup.exact", "", "pixels", "pixels bytes", "dedup", "what makes pictures equal: decoded, or as stored"},
      {"dedup.distance", "distance", whole(3), Allowed(-1, 3), "dedup",
       "bits of 64 in which perceptual hashes of near duplicates differ at most; -1: not compared"},
      {"dedup.cosine", "cosine", 0.96, Allowed(-1, 1), "dedup",
       "pictures whose embeddings have at least this cosine are near duplicates"},
      {"dedup.against_cosine", "", 0.95, Allowed(-1, 1), "dedup",
       "the same between a picture and one of an evaluation (dedup.against)"},
      {"balance.pictures", "pictures", Strings{}, any, "balance", "embedded pictures, as embed writes them"},
      {"balance.concepts", "concepts", "", any, "balance", "the embedded vocabulary"},
      {"balance.k", "k", whole(10), Allowed(1, 1024), "balance", "nearest concepts of a picture"},
      {"balance.n", "n", whole(1000), at_least(1), "balance", "pictures to draw"},
      {"balance.draw", "draw", "poisson", "poisson exact replacement", "balance",
       "each picture for itself, n expected; exactly n; or n draws that may repeat"},
      {"balance.weight", "weight", "sum", "sum mean max metaclip", "balance",
       "how the inverse frequencies of a picture's concepts are joined; or MetaCLIP's union"},
      {"balance.seed", "seed", whole(1), at_least(0), "balance", "of the draw"},
      {"balance.floor", "", -1.0, Allowed(-1, 1), "balance", "concepts of a lower cosine are not a picture's"},
      {"balance.floor_quantile", "", 0.0, Allowed(0, 1), "balance", "nor those below this quantile of all cosines"},
      {"balance.cap", "", 0.0, at_least(0), "balance", "largest weight of a picture; 0: any"},
      {"balance.min_count", "min_count", whole(1), at_least(1), "balance",
       "concepts of fewer pictures do not count: the rarest are near to what is damaged"},
      {"balance.manifest", "", "pool", "pool kept", "balance", "rows for every picture, or for those drawn alone"},
  };
}

}  // namespace ov::cli
