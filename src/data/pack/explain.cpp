#include "data/pack/explain.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/io/file.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "base/text.h"
#include "data/pack/length_packer.h"

namespace ov {
namespace {

struct Range {
  double upto;  // share of the samples that are in this range or below it
  float least, end;
};
constexpr Range released[] = {
    {0.748, 165, 1024}, {0.945, 1024, 2048}, {0.982, 2074, 4112}, {0.9995, 4111, 6150}, {1, 6150, 8188}};

std::int32_t released_length(const Philox& r, std::uint64_t i) {
  const Range* range = released;
  while (r.uniform_f64(2 * i) >= range->upto) ++range;
  const float u = static_cast<float>(r.uniform_f64(2 * i + 1));
  const auto length = static_cast<std::int32_t>(range->least * math::exp(u * math::log(range->end / range->least)));
  return std::clamp(length, static_cast<std::int32_t>(range->least), static_cast<std::int32_t>(range->end) - 1);
}

std::int32_t caption_length(const Philox& r, std::uint64_t i) {
  return static_cast<std::int32_t>(std::clamp(619 * math::exp(0.63f * r.normal(i)), 40.0f, 4000.0f));
}

std::vector<std::int32_t> read_lengths(const std::string& path) {
  const auto file = MappedFile::open(path);
  const std::string_view text = file->text();
  std::vector<std::int32_t> out;
  std::size_t line = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view word = trimmed(text.substr(at, end - at));
    at = end + 1, ++line;
    if (word.empty()) continue;
    if (word.size() > 9 || word.find_first_not_of("0123456789") != word.npos || std::stoi(std::string(word)) < 1)
      input_error(path, ":", line, ": expected a length of 1 to 999999999, found '", shown(word), "'");
    out.push_back(std::stoi(std::string(word)));
  }
  if (out.empty()) input_error(path, ": no length in it; expected one a line");
  return out;
}

}  // namespace

std::vector<std::int32_t> example_lengths(const std::string& name, std::int64_t samples, std::uint64_t seed) {
  if (name != "released" && name != "captions") return read_lengths(name);
  const Philox random(seed, name);
  std::vector<std::int32_t> out(static_cast<std::size_t>(samples));
  parallel_for(samples, 4096, [&](std::int64_t i) {
    const auto k = static_cast<std::uint64_t>(i);
    out[static_cast<std::size_t>(i)] = name == "released" ? released_length(random, k) : caption_length(random, k);
  });
  return out;
}

Json explain_packing(const std::vector<std::int32_t>& lengths, std::int64_t capacity, std::uint64_t seed) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const Packs packs = pack_lengths(lengths, capacity, seed);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  std::int64_t next_fit = 1, room = capacity;
  for (const std::int32_t l : lengths) {
    if (l > room) ++next_fit, room = capacity;
    room -= l;
  }
  const auto samples = static_cast<double>(lengths.size());
  const auto tokens = static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}));
  const auto fill = [&](double rows) { return tokens / (rows * static_cast<double>(capacity)); };
  return Json::object({{"samples", lengths.size()},
                       {"mean_length", tokens / samples},
                       {"longest", std::int64_t{*std::max_element(lengths.begin(), lengths.end())}},
                       {"capacity", capacity},
                       {"packs", packs.size()},
                       {"fewest_packs", fewest_packs(lengths, capacity)},
                       {"samples_per_pack", samples / static_cast<double>(packs.size())},
                       {"samples_per_pack_limit", static_cast<double>(capacity) * samples / tokens},
                       {"fill", fill(static_cast<double>(packs.size()))},
                       {"fill_of_next_fit", fill(static_cast<double>(next_fit))},
                       {"fill_of_a_row_a_sample", fill(samples)},
                       {"seconds", seconds}});
}

}  // namespace ov
