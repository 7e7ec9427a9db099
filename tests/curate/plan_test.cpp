// What balancing takes: numbers that a hand can follow, and the paper's size.
#include "curate/plan.h"

#include <doctest/doctest.h>

using namespace ov;

TEST_CASE("plan of balance: every direction is read once, whatever the machines, and products are divided by devices") {
  BalancePlanned p{.pictures = 1000,
                   .concepts = 50,
                   .width = 10,
                   .k = 5,
                   .picture_flops = 400,
                   .concept_flops = 80,
                   .encoder_bytes = 300,
                   .node = 4,
                   .memory = 1e9,
                   .mfu = 0.5,
                   .link = 80,
                   .storage = 20,
                   .peak = 100,
                   .search_peak = 25,  // the kernel computes in f32, whatever the model does
                   .decode_seconds = 0.25,
                   .cores = 5};
  for (const int devices : {1, 4, 6, 8}) {
    INFO("devices ", devices);
    p.devices = devices;
    const BalancePlan b = plan_balance(p);
    CHECK(b.machines == (devices + 3) / 4);
    CHECK(b.directions == 1000 * 10 * 4);
    CHECK(b.machine_directions * double(b.machines) == doctest::Approx(b.directions));
    CHECK(b.embed_seconds == doctest::Approx((1000 * 400 + 50 * 80) / (50. * devices)));
    CHECK(b.product_seconds == doctest::Approx(2. * 1000 * 50 * 10 / (12.5 * devices)));
    CHECK(b.decode_seconds == doctest::Approx(1000 * 0.25 / (5. * double(b.machines))));
    CHECK(b.read_seconds == doctest::Approx((b.machine_directions + 50 * 10 * 4) / 20));
    CHECK(b.link_seconds == doctest::Approx(1000 * 10 * 4 / 80. / devices));
    // The nearest are 5 ids of 4 bytes and 5 cosines; one machine reads them, however many there are.
    CHECK(b.nearest == 1000 * 5 * 8);
    CHECK(b.join_seconds ==
          doctest::Approx(7 * 1000 * 5 * 8 / 20. + 1000 * (balance_row_seconds + balance_id_seconds)));
    CHECK(b.seconds() ==
          doctest::Approx(b.decode_seconds + b.embed_seconds + b.write_seconds + b.search_seconds() + b.join_seconds));
  }
  const double block = 16384 * 10;
  CHECK(plan_balance(p).search_memory == 50 * 10 * 4 + block * 4);
  p.host = true;
  CHECK(plan_balance(p).search_memory == 2 * 50 * 10 * 4 + 2 * block * 4);
  CHECK(plan_balance(p).link_seconds == 0);
  CHECK(plan_balance(p).fits);
  p.memory = plan_balance(p).search_memory - 1;
  CHECK_FALSE(plan_balance(p).fits);
}

TEST_CASE("plan of balance: 85 M pictures and 500 K concepts, the sizes that the specification has") {
  // data_curation.md 4: 8.7e16 FLOP of products, 3.6 minutes at 400 TFLOP/s; 31 hours of encoding at 250; 1.02 GB in
  // bf16 and twice that in f32, as our files have it; ids and cosines of 10, of which theirs are two bytes.
  BalancePlanned p{.pictures = 85000000,
                   .concepts = 500000,
                   .width = 1024,
                   .picture_flops = 0.325e12,
                   .memory = 84.9e9,
                   .mfu = 1,
                   .link = 64e9,
                   .storage = 5e9,
                   .peak = 400e12,
                   .search_peak = 400e12};
  CHECK(plan_balance(p).product_seconds / 60 == doctest::Approx(3.6).epsilon(0.02));
  CHECK(plan_balance(p).concepts == doctest::Approx(2 * 1.02e9).epsilon(0.01));
  CHECK(plan_balance(p).directions == doctest::Approx(2 * 174e9).epsilon(0.01));
  CHECK(plan_balance(p).nearest == doctest::Approx(5.1e9 * 8 / 6).epsilon(0.01));
  p.peak = 250e12;
  CHECK(plan_balance(p).embed_seconds / 3600 == doctest::Approx(31).epsilon(0.02));
  // Eleven passes over ids; one machine joins, however many there are.
  const BalancePlan one = plan_balance(p);
  CHECK(one.join_seconds == doctest::Approx(7 * one.nearest / 5e9 + 85e6 * (3.5e-6 + 11 * 1e-7)));
  p.devices = 512, p.node = 8;
  CHECK(plan_balance(p).join_seconds == one.join_seconds);
  // What a machine holds of 348 GB is a block of it.
  CHECK(plan_balance(p).search_memory < 2.2e9);
}
