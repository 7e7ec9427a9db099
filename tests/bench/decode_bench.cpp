// Answers of language models with random weights: one request, sixteen at once, and the reading of a prompt, through
// the engine that serves them. Beside a token's time what reading the weights alone takes, by the same threads in the
// same turns; beside a prompt's time its products alone, of the same weights. Peers with a model of the same shape and
// type: Transformers, when --torch names a Python that has it (transformers_decode.py), and llama.cpp, by --llama
// (llamacpp_decode.py).
#include <cstdio>
#include <cstring>

#include "base/parallel.h"
#include "base/rng.h"
#include "base/sum.h"
#include "generate/engine.h"
#include "kernels/gemm.h"
#include "tests/bench/torch_peer.h"

namespace ov::bench {
namespace {

using std::int64_t;

constexpr int64_t prompt = 32, tokens = 16, crowd = 16, long_prompt = 512;

struct Case {
  const char* name;
  int64_t layers, hidden, intermediate, heads, kv_heads, head_dim, vocabulary;
  int rounds;
};
const Case cases[] = {
    {"configs/model/demo.json", 3, 128, 256, 4, 2, 32, 502, 15},  // its decoder, and its tokenizer's vocabulary
    {"101 M", 14, 768, 2048, 12, 4, 64, 16384, 9},
    {"596 M (Qwen3-0.6B)", 28, 1024, 3072, 16, 8, 128, 151936, 5},
};

std::string shape_of(const Case& c, Dtype dtype) {
  return cat(c.layers, "x", c.hidden, "x", c.intermediate, "x", c.heads, "x", c.kv_heads, "x", c.head_dim, "x",
             c.vocabulary, ",", dtype == Dtype::f32 ? "f32" : "bf16", ",", prompt, ",", long_prompt);
}

ModelConfig config_of(const Case& c) {
  ModelConfig config;
  config.has_tower = false;
  config.text = {.vocabulary = c.vocabulary,
                 .hidden = c.hidden,
                 .intermediate = c.intermediate,
                 .layers = c.layers,
                 .heads = c.heads,
                 .kv_heads = c.kv_heads,
                 .head_dim = c.head_dim,
                 .max_positions = 4096,
                 .tied = true};
  return config;
}

// Small random numbers: what they are does not change the time.
void fill(const Tensor& values) {
  const int64_t n = values.numel(), piece = 1 << 16;
  parallel_for((n + piece - 1) / piece, [&](int64_t p) {
    const Philox random(1, "decode", static_cast<std::uint64_t>(p));
    std::uint64_t state = random.below(0, 1u << 30);
    for (int64_t i = p * piece; i < std::min(n, (p + 1) * piece); ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const float x = (static_cast<float>(state >> 40) * 0x1p-24F - 0.5F) * 0.1F;
      if (values.dtype() == Dtype::f32) values.data<float>()[i] = x;
      else values.data<Bf16>()[i] = Bf16(x);
    }
  });
}

// Reads all of it once.
double read_seconds(const Tensor& values) {
  const auto bytes = static_cast<int64_t>(values.nbytes()), piece = int64_t{1} << 18,
             pieces = (bytes + piece - 1) / piece;
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(pieces));
  const double start = seconds();
  parallel_for(pieces, [&](int64_t p) {
    const auto* from = reinterpret_cast<const std::uint64_t*>(values.bytes() + p * piece);
    const int64_t n = std::min(piece, bytes - p * piece) / 8;
    std::uint64_t lane[32] = {}, all = 0;
    for (int64_t i = 0; i + 32 <= n; i += 32)
      for (int k = 0; k < 32; ++k) lane[k] ^= from[i + k];
    for (const std::uint64_t x : lane) all ^= x;
    sums[static_cast<std::size_t>(p)] = all;
  });
  const double end = seconds();
  volatile std::uint64_t sink = 0;
  for (const std::uint64_t x : sums) sink = sink ^ x;
  return end - start;
}

struct Ours {
  explicit Ours(const Case& c, Dtype dtype) : model(config_of(c)) {
    model.parameters().allocate(dtype, cpu());
    fill(model.parameters().values());
  }

  // Seconds of each of `steps` passes that write one token of each of n answers; their prompts were read before.
  double write(int64_t n, int64_t steps) {
    Engine engine(model, {.max_running = n, .share = false});
    for (int64_t i = 0; i < n; ++i) engine.submit({.prompt = ids(prompt, i), .max_new_tokens = steps + 1});
    engine.step();
    const double start = seconds();
    while (engine.step()) {}
    return (seconds() - start) / static_cast<double>(steps);
  }
  double read_prompt() {
    Engine engine(model, {.share = false});
    engine.submit({.prompt = ids(long_prompt, 0), .max_new_tokens = 1});
    const double start = seconds();
    while (engine.step()) {}
    return seconds() - start;
  }
  // The products of all layers, which is what reading a prompt should consist of.
  double products() {
    const TextConfig& t = model.config().text;
    const Dtype dtype = model.parameters().dtype();
    const auto rows = [&](int64_t width) { return Tensor::zeros({long_prompt, width}, dtype, cpu()); };
    const Tensor x = rows(t.hidden), o = rows(t.heads * t.head_dim), inner = rows(t.intermediate), y = rows(t.hidden),
                 qkv = rows((t.heads + 2 * t.kv_heads) * t.head_dim), gate_up = rows(2 * t.intermediate);
    const double start = seconds();
    for (const DecoderLayer& layer : model.decoder().layers) {
      const auto& mlp = static_cast<const DenseMlp&>(*layer.mlp);
      kernels::gemm({.c = qkv, .a = x, .b = layer.qkv_w->value, .trans_b = true});
      kernels::gemm({.c = y, .a = o, .b = layer.o_proj.w->value, .trans_b = true});
      kernels::gemm({.c = gate_up, .a = x, .b = mlp.gate_up_w->value, .trans_b = true});
      kernels::gemm({.c = y, .a = inner, .b = mlp.down_proj.w->value, .trans_b = true});
    }
    return seconds() - start;
  }
  std::vector<int64_t> ids(int64_t n, int64_t seed) const {
    std::vector<int64_t> all;
    for (int64_t i = 0; i < n; ++i) all.push_back((i * 37 + seed * 11) % model.config().text.vocabulary);
    return all;
  }

  Onevision model;
};

// What is measured, in the order in which the peers are asked for it.
enum What { one, sixteen, prefill, whats };
const char* const words[whats] = {"one", "sixteen", "prefill"};

struct Compared {
  const char* name;
  std::unique_ptr<Peer> peer;
  std::vector<double> times[whats];
};

void measure(const Case& c, Dtype dtype) {
  Ours ours(c, dtype);
  const Tensor& values = ours.model.parameters().values();
  const double bytes = static_cast<double>(values.nbytes());
  std::printf("%s, %s, %.1f MB of weights\n", c.name, dtype == Dtype::f32 ? "f32" : "bf16", bytes * 1e-6);
  std::fflush(stdout);
  std::vector<Compared> peers;
  const auto compare = [&](const char* name, const std::string& python, const char* script) {
    if (python.empty()) return;
    auto peer = std::make_unique<Peer>(python, script, shape_of(c, dtype), threads(), static_cast<int>(tokens));
    if (peer->facts.is_null()) return void(std::printf("  %s does not run %s: no peer\n", python.c_str(), script));
    std::printf("  %s\n", peer->facts.at("what").as_string().c_str());
    peers.push_back({name, std::move(peer), {}});
  };
  compare("Transformers", torch_python(), "tests/bench/transformers_decode.py");
  compare("llama.cpp", llama_python(), "tests/bench/llamacpp_decode.py");
  std::vector<double> reads, products, mine[whats];
  ours.write(1, 2);
  const int64_t repeats = std::max<int64_t>(1, static_cast<int64_t>(2e7 / bytes));  // small models: more tokens a turn
  for (int round = 0; round < c.rounds; ++round) {
    double read = 0;
    for (int64_t i = 0; i < 4 * repeats; ++i) read += read_seconds(values) / static_cast<double>(4 * repeats);
    reads.push_back(read);
    mine[one].push_back(ours.write(1, tokens * repeats));
    mine[sixteen].push_back(ours.write(crowd, tokens));
    products.push_back(ours.products());
    mine[prefill].push_back(ours.read_prompt());
    for (Compared& p : peers)
      for (int what = 0; what < whats; ++what) p.times[what].push_back(p.peer->seconds(words[what]));
  }
  const auto median = [](const std::vector<double>& t) { return summary(t).median; };
  const double read = median(reads), token = median(mine[one]), pass = median(mine[sixteen]);
  std::printf("  %-34s %9.1f GB/s\n", "weights, only read", bytes / read * 1e-9);
  std::printf("  %-34s %9.1f tokens/s  %6.1f GB/s, %.2f of only reading\n", "one request", 1 / token,
              bytes / token * 1e-9, read / token);
  std::printf("  %-34s %9.1f tokens/s  %6.2f times one request\n", "16 requests at once", 16 / pass, 16 * token / pass);
  std::printf("  %-34s %9.1f tokens/s  %6.2f of its products' rate\n", "prompt of 512", 512 / median(mine[prefill]),
              median(products) / median(mine[prefill]));
  for (const Compared& p : peers)
    for (int what = 0; what < whats; ++what) {
      const int at_once = what == one ? 1 : what == sixteen ? 16 : 512;
      std::printf("  %-34s %9.1f tokens/s  %6.2f times as many by ours\n", cat(p.name, ", ", words[what]).c_str(),
                  at_once / median(p.times[what]), median(p.times[what]) / median(mine[what]));
    }
  std::fflush(stdout);
}

void run() {
  std::printf("answers, %d threads: prompts of %d tokens, %d written; a prompt of %d; medians of turns\n", threads(),
              static_cast<int>(prompt), static_cast<int>(tokens), static_cast<int>(long_prompt));
  for (const Case& c : cases)
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) measure(c, dtype);
}

const Benchmark registered("decode", run);

}  // namespace
}  // namespace ov::bench
