// The plan of RL's roles: numbers that can be worked out by hand.
#include "rl/plan.h"

#include "tests/check.h"

using namespace ov;
using namespace ov::rl;

namespace {

RlPlanned round_numbers() {
  return {.values = 20,
          .masters = 40,
          .moments = 80,
          .gradients = 40,
          .activations = 10,
          .keys_per_token = 1,
          .prompt_forward = 10,
          .prompt_backward = 20,
          .answer_forward = 4,
          .answer_backward = 8,
          .devices = 4,
          .generators = 2,
          .prompts = 8,
          .group = 2,
          .running = 4,
          .prompt_tokens = 6,
          .answer_tokens = 4,
          .memory = 200,
          .bandwidth = 52,
          .link = 10,
          .peak = 100,
          .mfu = 0.5};
}

}  // namespace

TEST_CASE("rl: the plan of roles and modes is arithmetic that a hand can follow") {
  const RlPlanned p = round_numbers();
  const RlModes modes = plan_rl(p);
  // Four answers at a time are two groups: 2 prompts of 6 tokens and 4 answers of 4, a byte each.
  const double cache = 2 * 6 + 4 * 4;
  CHECK(modes.sync.trainer_bytes == 20 + 40 + 10 + 40 + 80 + cache);
  CHECK(modes.sync.offloaded_bytes == 20 + 40 + 10 + cache);
  CHECK(modes.colocated.trainer_bytes == 20 + 40 + 10 + (40 + 80) / 4 + cache);
  CHECK(modes.disaggregated.generator_bytes == 20 + cache);
  CHECK(modes.disaggregated.trainer_bytes == 20 + 40 + 10 + (40 + 80) / 2);
  // A pass reads 20 bytes of values and 4 x (6 + 2) of keys, 1 s; products 4 x 4 / 4 / 50 = 0.08 s. 16 answers of 4
  // tokens, 4 at a time, are 16 passes; 8 prompts are 80 / 50 s.
  CHECK(modes.sync.write_seconds == doctest::Approx(16 * 1 + 80. / 50));
  // Apart, an update finds 4 answers half written, of 2 prompts: 2 x 10 + 4 x 4 / 2 FLOP are done again.
  CHECK(modes.disaggregated.write_seconds == doctest::Approx((16 * 1 + 80. / 50) / 2 + 28. / 50));
  // In one process as well: there an update finds those of one device.
  CHECK(modes.timesliced.trainer_bytes == modes.sync.trainer_bytes);
  CHECK(modes.timesliced.write_seconds == doctest::Approx(16 * 1 + 80. / 50 + 28. / 50));
  CHECK(modes.timesliced.step_seconds == doctest::Approx(modes.sync.step_seconds + 28. / 50));
  // A group is 30 + 2 x 12 FLOP; the update moves 2 x (40 + 80) / n + 40 + 20 bytes, half of 40 + 20 to the other.
  CHECK(modes.sync.train_seconds == doctest::Approx(8 * 54. / 50 + (2 * (40 + 80.) + 60) / 52));
  CHECK(modes.disaggregated.train_seconds ==
        doctest::Approx(4 * 54. / 50 + (2 * (40 + 80.) / 2 + 60) / 52 + 60. / 2 / 10));
  CHECK(modes.sync.step_seconds == doctest::Approx(modes.sync.write_seconds + modes.sync.train_seconds));
  CHECK(modes.disaggregated.step_seconds ==
        doctest::Approx(std::max(modes.disaggregated.write_seconds, modes.disaggregated.train_seconds) + 20. / 10));
  CHECK(modes.sync.tokens_per_second == doctest::Approx(64 / modes.sync.step_seconds));
  // Of a step's products, 8 x (54 trained + 10 + 2 x 4 written): nothing that is done again counts, and no mode gets
  // beyond what its passes reach.
  CHECK(modes.sync.mfu == doctest::Approx(8 * 72. / (modes.sync.step_seconds * 100)));
  CHECK(modes.disaggregated.mfu == doctest::Approx(8 * 72. / (modes.disaggregated.step_seconds * 4 * 100)));
  for (const RlMode* m : {&modes.sync, &modes.timesliced, &modes.colocated, &modes.disaggregated})
    CHECK(m->mfu < p.mfu);
  // Where nothing waits for memory or a link, one device's is what its passes reach.
  RlPlanned quick = p;
  quick.bandwidth = quick.link = 1e30;
  CHECK(plan_rl(quick).sync.mfu == doctest::Approx(p.mfu).epsilon(1e-12));
  CHECK(plan_rl(quick).colocated.mfu == doctest::Approx(p.mfu).epsilon(1e-12));
  RlPlanned twice = p;
  twice.prompt_recomputed = 10, twice.answer_recomputed = 4;
  CHECK(plan_rl(twice).sync.train_seconds == doctest::Approx(modes.sync.train_seconds + 8 * 18. / 50));
  CHECK(plan_rl(twice).sync.mfu < modes.sync.mfu);
  CHECK_FALSE(modes.sync.fits);
  CHECK(modes.sync.fits_offloaded);
  CHECK(modes.colocated.fits);
  // Fewer answers than may run at a time: 16 over 4 devices are 4, over 8 are 2.
  RlPlanned many = p;
  many.devices = 8, many.generators = 4;
  CHECK(plan_rl(many).colocated.trainer_bytes == 20 + 40 + 10 + (40 + 80) / 8 + (6 + 2 * 4));
  CHECK(steps_of_epoch(stage_prompts[0], 32) == 621);  // the specification's
  CHECK(steps_of_epoch(stage_prompts[1], 32) == 1537);
  many.generators = 8;
  CHECK(test::contains(test::thrown([&] { plan_rl(many); }), "rl.generators 8"));
  const std::string table = report(p, modes, 1);
  for (const char* mode : {"sync ", "timesliced ", "colocated-dp ", "disaggregated "})
    CHECK_MESSAGE(test::contains(table, cat("\n  ", mode)), std::string(mode));
  CHECK(test::contains(table, "2 + 2"));
  CHECK(test::contains(table, "host"));
  // As many tokens as no 64 bits count; and a step that is larger than an epoch.
  RlPlanned huge = p;
  huge.prompts = 1 << 20, huge.group = 1 << 16, huge.answer_tokens = 1 << 30;
  CHECK(plan_rl(huge).sync.tokens_per_second > 0);
  CHECK(test::contains(test::thrown([&] { report(huge, plan_rl(huge), 1); }),
                       "rl.prompts 1048576: an epoch of stage 1 has 19900 prompts"));
}
