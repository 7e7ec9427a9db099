// A pool of pictures whose kinds follow Zipf's law, and questions about every kind alike: what balancing is judged by.
//
// A picture shows one shape, of 2 sizes x 8 colours x 6 shapes = 96 kinds. In an order drawn from the seed, kind number
// r = 1, 2 ... is drawn with a probability of about r^-exponent; an exponent of 0 draws all alike.
//
//   pool/          webdataset shards (shards.h): "what is this ?", "large red circle"
//   concepts.txt   the names of the kinds, one a line, in an order that says nothing of their frequency
//   test/          as data/synth/write.h has it, every kind equally often; the template is the kind, the category its
//                  group by what the pool holds of it: Tail, the tenth of the kinds that are rarest, Head, the most
//                  frequent tenth, Middle
//   zipf.json      seed, exponent, and of every kind, the rarest first: name, group, pictures in the pool
//
// The same options give the same bytes, whatever the number of threads. The directory appears when it is complete.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace ov::synth {

struct ZipfOptions {
  std::string out_dir;
  std::string data_dir = "data/toy_world";
  std::uint64_t seed = 1;
  double exponent = 1.1;
  std::int64_t pool = 10000, test = 10;  // pictures of the pool; held-out questions of every kind
  std::function<void(const char* part, std::int64_t done, std::int64_t total)> progress = {};
};

// Throws input_error for counts out of range and damaged data files, machine_error when a file cannot be written.
void write_zipf_pool(const ZipfOptions& options);

}  // namespace ov::synth
