// Rows of every kind, and steps of one engine on them, for tests of ranks that share rows.
#pragma once
#include "kernels/adamw.h"
#include "tests/model/packed_rows.h"
#include "tests/parallel/mesh_world.h"

namespace ov::test {

// Hands every call on, and remembers which they were; of those that differ from rank to rank, an all-to-all and
// messages, how much was said to each other rank and heard from it.
class Recorder : public Communicator {
 public:
  explicit Recorder(Communicator& ranks) : Communicator(ranks.rank(), ranks.ranks()), ranks_(ranks) {}
  void all_reduce(const Tensor& t) override { note(Call::all_reduce, {t}), ranks_.all_reduce(t); }
  void reduce_scatter(const Tensor& part, const Parts& of, int adding) override {
    note(Call::reduce_scatter, of), ranks_.reduce_scatter(part, of, adding);
  }
  void all_gather(const Parts& of) override { note(Call::all_gather, of), ranks_.all_gather(of); }
  void broadcast(const Tensor& t, int from) override { note(Call::broadcast, {t}), ranks_.broadcast(t, from); }
  void all_to_all(const Parts& to, const Parts& from) override {
    note(Call::all_to_all, {});
    for (int peer = 0; peer < ranks(); ++peer) {
      if (peer == rank()) continue;
      if (const Tensor& t = from[static_cast<std::size_t>(peer)]) said(peer, t);
      if (const Tensor& t = to[static_cast<std::size_t>(peer)]) heard(peer, t);
    }
    ranks_.all_to_all(to, from);
  }
  void send(const Tensor& t, int to) override { said(to, t), ranks_.send(t, to); }
  void recv(const Tensor& t, int from) override { heard(from, t), ranks_.recv(t, from); }
  void barrier() override { note(Call::barrier, {}), ranks_.barrier(); }
  std::string calls;
  std::map<int, std::string> said_to, heard_from;

 protected:
  void exchange(Call, const Parts&, const Parts&) override { throw std::logic_error("a call that was not recorded"); }

 private:
  void said(int to, const Tensor& t) { said_to[to] += cat(t.numel(), "\n"); }
  void heard(int from, const Tensor& t) { heard_from[from] += cat(t.numel(), "\n"); }
  void note(Call call, const Parts& whole) {
    std::int64_t elements = 0;
    for (const Tensor& t : whole) elements += t ? t.numel() : 0;
    calls += cat(name_of(call), " ", elements, "\n");
  }
  Communicator& ranks_;
};

inline MicroBatch long_row(std::uint64_t seed) {
  MicroBatch b;
  add_sample(b, seed, 2, 4, 150);
  add_sample(b, seed + 1, 4, 4, 7);
  return b;
}
// Text that is cut, and a picture that is not.
inline MicroBatch apart_row(std::uint64_t seed) {
  MicroBatch b;
  add_sample(b, seed, 0, 0, 160);
  add_sample(b, seed + 1, 4, 4, 7);
  return b;
}
inline MicroBatch text_row(std::uint64_t seed) {
  MicroBatch b;
  add_sample(b, seed, 0, 0, 23);
  return b;
}
// Of fewer tokens than some have ranks.
inline MicroBatch short_row(std::uint64_t seed) {
  MicroBatch b;
  add_sample(b, seed, 0, 0, 2);
  return b;
}
inline MicroBatch even_row(std::uint64_t seed) {
  MicroBatch b;
  add_sample(b, seed, 2, 4, 12);
  return b;
}
inline MicroBatch without_labels(MicroBatch b) {
  std::fill(b.labels.begin(), b.labels.end(), ignored_label);
  return b;
}

struct ContextCase {
  Dtype dtype = Dtype::f32;
  bool experts = false, recompute = false, aux_global = false;
  std::vector<std::string> modules = {"language_model", "adapter", "vision_model"};
};

// Steps of one engine.
struct ContextRun {
  Mesh mesh;
  Recorder context;
  Onevision model;
  FixedSteps data;
  LanguageObjective objective;
  StepEngine engine;

  ContextRun(const ContextCase& c, const Ways& ways, Communicator& ranks, std::vector<GlobalStep> steps)
      : mesh(ranks, ways.tensor, ways.pipeline, ways.context, ways.experts),
        context(mesh.context),
        model(config(c), mesh.tensor, mesh.pipe, ways.chunks, mesh.experts),
        data(std::move(steps)),
        objective(allocated(c), data, options(c, ways), context),
        engine(objective, options(c, ways), mesh.data) {}

  static ModelConfig config(const ContextCase& c) {
    ModelConfig m = small_config();
    m.vision.heads = 4, m.text.vocabulary = 100;
    if (c.experts) m.text.experts = 4, m.text.experts_per_token = 2, m.text.expert_intermediate = 24;
    return m;
  }
  Onevision& allocated(const ContextCase& c) {
    model.parameters().allocate(c.dtype, cpu());
    initialize(model.parameters(), {.matrix = "uniform_fan_in", .projection_out_std = 0.2, .embedding_std = 0.5}, 1);
    model.recompute_blocks = c.recompute;
    return model;
  }
  static TrainOptions options(const ContextCase& c, const Ways& ways) {
    TrainOptions o = short_run(20);
    o.modules = c.modules, o.aux_global = c.aux_global;
    ways.set(o);
    return o;
  }
};

inline Strings experts() {
  return {"--text.experts", "8", "--text.experts_per_token", "2", "--text.expert_intermediate", "32"};
}

}  // namespace ov::test
