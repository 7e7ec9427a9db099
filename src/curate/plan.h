// What balancing a pool takes, before anything is embedded: seconds, bytes held, bytes read and written. Arithmetic on
// the pool's size, one picture's FLOPs (`plan` counts them on a device without memory) and a device's rates.
//
//   decode    N s / (machines · cores), s of a core's seconds for a picture: a JPEG decoded, made square, in patches
//   embed     N F / (devices · mfu · peak) and N 4 E bytes of directions, written once
//   search    2 N M E / (devices · mfu · peak in f32, in which kernels/nearest.h computes), and on the way to it
//               reading   a machine reads its share of the directions once, N 4 E / machines, and the M 4 E of concepts
//               link      a device gets its own, N 4 E / devices; 0 where the host's memory is the device's
//   join      one machine, one thread: reads the nearest, N k 8 bytes, `passes` times, works on each row, writes the
//             manifest, and tells ids apart in N / 2^23 + 1 passes
//
// So the directions are streamed: blocks of EmbeddingPool::part_rows pictures, each block read by one machine, once;
// concepts lie in memory for all of them. Nothing passes between machines but files. What is read is not hidden behind
// products, nor decoding behind the model: `embed` and `balance` do one after the other. Blocks are dealt out evenly,
// so no machine waits for another.
#pragma once
#include <cstdint>
#include <string>

namespace ov {

struct BalancePlanned {
  std::int64_t pictures = 0, concepts = 0, width = 0, k = 10;      // N, M, E
  double picture_flops = 0, concept_flops = 0, encoder_bytes = 0;  // of one picture, one concept; the model
  std::int64_t devices = 1, node = 1;                              // node: of one machine
  double memory = 0, mfu = 0, link = 0, storage = 0;               // of a device; storage: of a machine
  double peak = 0, search_peak = 0;                                // FLOP/s of the model's type, and of f32
  double decode_seconds = 0, cores = 1;                            // of one picture on one core; of a machine
  bool host = false;                                               // the device is the machine itself
};

struct BalancePlan {
  std::int64_t machines = 1;
  double directions = 0, machine_directions = 0, concepts = 0, nearest = 0;  // bytes: all, a machine's share, ...
  double decode_seconds = 0, embed_seconds = 0, write_seconds = 0;
  double product_seconds = 0, read_seconds = 0, link_seconds = 0;
  double join_seconds = 0;
  double embed_memory = 0, search_memory = 0;  // of a device, at least
  bool fits = false;
  double search_seconds() const { return product_seconds + read_seconds + link_seconds; }
  double seconds() const { return decode_seconds + embed_seconds + write_seconds + search_seconds() + join_seconds; }
};

inline constexpr int balance_passes = 7;  // of the default draw: counts, their sum, four for the scale, the draw
// Of a row with all passes and its line of the manifest: 20 000 rows of k 10 took 0.07 s of an EPYC's core. Of an id in
// a pass: a guess, the hash of fifty bytes.
inline constexpr double balance_row_seconds = 3.5e-6, balance_id_seconds = 1e-7;

BalancePlan plan_balance(const BalancePlanned& planned);
// What all rows have in common, and a row.
std::string balance_head(const BalancePlanned& planned);
std::string balance_row(const BalancePlanned& planned);

}  // namespace ov
