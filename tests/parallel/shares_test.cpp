// Who writes what of a checkpoint.
#include "parallel/shares.h"

#include <doctest/doctest.h>

#include "comm/absent_ranks.h"
#include "kernels/adamw.h"
#include "model/region_head.h"
#include "tests/check.h"
#include "tests/parallel/mesh_world.h"

using namespace ov;
using namespace ov::test;

namespace {

struct Axis : AbsentRanks {
  Axis(int rank, int ranks) : AbsentRanks(rank, ranks, [](Call, const Parts&, const Parts&, bool) {}) {}
};

// A rank's model, without memory. classes: tables of regions, whose rows do not divide evenly; else a model of text and
// pictures, of which the merger is frozen.
struct Rank {
  MetaDevice device;
  Axis tensor, pipe, experts;
  std::unique_ptr<Onevision> model;
  std::unique_ptr<RiceModel> regions;
  Parameters* parameters;
  Rank(const Ways& w, int rank, bool classes)
      : tensor(rank % w.tensor, w.tensor),
        pipe(rank / w.tensor / w.context % w.pipeline, w.pipeline),
        experts(rank / w.tensor / w.context / w.pipeline % w.experts, w.experts) {
    if (classes) {
      RegionHeadConfig head;
      head.classes = 1641, head.characters = 30, head.blocks = 4;  // some chunks of the norm
      regions = std::make_unique<RiceModel>(small_config().vision, head, experts);
      parameters = &regions->parameters();
    } else {
      ModelConfig c = six_layers(false, w.experts > 1);
      c.text.hidden = 96;
      model = std::make_unique<Onevision>(c, tensor, pipe, w.chunks, experts);
      parameters = &model->parameters();
    }
    parameters->allocate(Dtype::bf16, device);
    parameters->train([](const Parameter& p) { return p.module != Module::adapter; });
  }
};

}  // namespace

TEST_CASE("shares: every element is written once, by a rank that updates it, and all ranks write about as much") {
  struct Case {
    Ways ways;
    bool classes = false;
  };
  const std::vector<Case> cases = {{{}},
                                   {{.data = 2}},
                                   {{.data = 3}},
                                   {{.data = 7}},
                                   {{.context = 4}},
                                   {{.tensor = 2}},
                                   {{.data = 2, .pipeline = 2, .chunks = 2, .tensor = 2}},
                                   {{.data = 4, .experts = 2}},
                                   {{.data = 4, .experts = 4}},
                                   {{.data = 4, .tensor = 2, .context = 2, .experts = 2}},
                                   {{.data = 2, .experts = 2}, true},
                                   {{.data = 9, .experts = 3}, true},
                                   {{.data = 4}, true}};
  for (const Case& c : cases) {
    INFO(c.ways.said(), c.classes ? ", class tables" : "");
    const int copies = c.ways.data / c.ways.experts;  // of the whole
    const Rank first(c.ways, 0, c.classes);
    Shares of_first(*first.parameters, copies, c.ways.context);
    REQUIRE(of_first.ranks() == c.ways.ranks());
    std::vector<std::vector<int>> written;
    for (const auto& e : first.parameters->entries()) written.emplace_back(static_cast<std::size_t>(e.whole.numel()));
    std::vector<std::int64_t> bytes;
    for (int r = 0; r < of_first.ranks(); ++r) {
      const Rank own(c.ways, r, c.classes);
      const Parameters& parameters = *own.parameters;
      const auto shares = Shares(parameters, copies, c.ways.context).of(r), told = of_first.of(r);
      REQUIRE(shares.size() == told.size());
      const int d = r / (c.ways.tensor * c.ways.context * c.ways.pipeline * c.ways.experts);
      const Range updates = shard_of(parameters.trained(), d, copies);
      bytes.push_back(0);
      for (std::size_t i = 0; i < shares.size(); ++i) {
        const Shares::Share& s = shares[i];
        const auto& e = parameters.entries()[s.entry];
        REQUIRE((s.entry == told[i].entry && s.tensor == told[i].tensor && s.part.begin == told[i].part.begin &&
                 s.part.end == told[i].part.end));  // rank 0 knows it too
        REQUIRE((s.part.begin >= 0 && s.part.end <= e.shape.numel()));
        const bool trained = e.parameter.trainable;
        if (trained)
          CHECK((e.parameter.gradient + s.part.begin >= updates.begin &&
                 e.parameter.gradient + s.part.end <= updates.end));
        bytes.back() += s.part.size() * (trained ? 12 : 2);
        const std::int64_t width = e.shape.numel() / e.blocks(), row = e.whole.numel() / e.blocks();
        for (std::int64_t at = s.part.begin; at < s.part.end; ++at)
          ++written[s.entry][static_cast<std::size_t>(at / width * row + s.tensor * width + at % width)];
      }
    }
    std::int64_t wrong = 0;
    for (const auto& entry : written)
      for (const int times : entry) wrong += times != 1;
    CHECK(wrong == 0);
    if (c.ways.pipeline > 1 || c.classes) continue;  // stages, and tables, are not all of one size
    // Within a chunk of the norm for each kind: trained or not, cut or not, shared or not.
    const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
    const int kinds = (c.ways.tensor > 1 ? 2 : 1) * (c.ways.experts > 1 ? 2 : 1);
    CHECK(*most - *least <= 2 * kinds * kernels::norm_chunk * (12 + 2));
    CHECK(*least > 0);
  }
}
