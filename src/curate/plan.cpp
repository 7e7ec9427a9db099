#include "curate/plan.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "curate/balance.h"
#include "curate/embeddings.h"

namespace ov {
namespace {

constexpr double stored = sizeof(float), pair_bytes = sizeof(std::int32_t) + sizeof(float);

template <class... T>
std::string text_of(const char* format, T... values) {
  char text[400];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

}  // namespace

BalancePlan plan_balance(const BalancePlanned& p) {
  const auto N = static_cast<double>(p.pictures), M = static_cast<double>(p.concepts), E = static_cast<double>(p.width);
  const auto devices = static_cast<double>(p.devices);
  const double share = devices * p.mfu, block = static_cast<double>(EmbeddingPool::part_rows);
  BalancePlan b;
  b.machines = (p.devices + p.node - 1) / p.node;
  const auto machines = static_cast<double>(b.machines);
  b.directions = N * stored * E, b.machine_directions = b.directions / machines;
  b.concepts = M * stored * E, b.nearest = N * static_cast<double>(p.k) * pair_bytes;
  b.embed_seconds = (N * p.picture_flops + M * p.concept_flops) / (share * p.peak);
  b.decode_seconds = N * p.decode_seconds / (machines * p.cores);
  b.write_seconds = b.machine_directions / p.storage;
  b.product_seconds = 2 * N * M * E / (share * p.search_peak);
  b.read_seconds = (b.machine_directions + b.concepts) / p.storage;
  b.link_seconds = p.host ? 0 : b.directions / devices / p.link;
  const auto id_passes = static_cast<double>(p.pictures / balance_ids_at_a_time + 1);
  b.join_seconds = balance_passes * b.nearest / p.storage + N * (balance_row_seconds + id_passes * balance_id_seconds);
  b.embed_memory = p.encoder_bytes;
  // On the host the concepts lie there as directions and in the order of the search, and a block as read and as
  // directions; a device gets one of each.
  b.search_memory = p.host ? 2 * b.concepts + 2 * block * stored * E : (M + block) * stored * E;
  b.fits = std::max(b.embed_memory, b.search_memory) <= p.memory;
  return b;
}

std::string balance_head(const BalancePlanned& p) {
  const BalancePlan b = plan_balance(p);
  return text_of("%lld pictures, %lld concepts, width %lld, k %lld\n", static_cast<long long>(p.pictures),
                 static_cast<long long>(p.concepts), static_cast<long long>(p.width), static_cast<long long>(p.k)) +
         text_of(
             "  directions %.1f GB in f32, in %lld blocks of %lld, each read once, by one machine; concepts %.2f GB, "
             "in memory throughout; nearest %.1f GB, read %d times by who joins\n",
             b.directions / 1e9,
             static_cast<long long>((p.pictures + EmbeddingPool::part_rows - 1) / EmbeddingPool::part_rows),
             static_cast<long long>(EmbeddingPool::part_rows), b.concepts / 1e9, b.nearest / 1e9, balance_passes) +
         text_of("  a device holds %.2f GB to embed, %.2f GB to search, of %.1f GB: %s\n", b.embed_memory / 1e9,
                 b.search_memory / 1e9, p.memory / 1e9, b.fits ? "fits" : "too large") +
         text_of("  decode %.2f ms of a core a picture, %.0f cores a machine\n", 1e3 * p.decode_seconds, p.cores) +
         text_of(
             "  embed %.3g FLOPs at %.3g FLOP/s a device, search %.3g at %.3g, in f32 (mfu %.2f); storage %.1f GB/s a "
             "machine\n",
             static_cast<double>(p.pictures) * p.picture_flops + static_cast<double>(p.concepts) * p.concept_flops,
             p.mfu * p.peak,
             2.0 * static_cast<double>(p.pictures) * static_cast<double>(p.concepts) * static_cast<double>(p.width),
             p.mfu * p.search_peak, p.mfu, p.storage / 1e9) +
         "machines devices | decode, h | embed: hours  GB written a machine | search, s: products  reading     link | "
         "join, s |   "
         "hours\n";
}

std::string balance_row(const BalancePlanned& p) {
  const BalancePlan b = plan_balance(p);
  return text_of("%8lld %7lld | %9.2f | %12.2f %21.1f | %19.1f %8.1f %8.1f | %7.1f | %7.2f\n",
                 static_cast<long long>(b.machines), static_cast<long long>(p.devices), b.decode_seconds / 3600,
                 b.embed_seconds / 3600, b.machine_directions / 1e9, b.product_seconds, b.read_seconds, b.link_seconds,
                 b.join_seconds, b.seconds() / 3600);
}

}  // namespace ov
