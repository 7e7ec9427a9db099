// Checkpoints that several ranks write: a part each. Read by other numbers of them, cut, damaged, on a full disk.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

#include "audit/inspect.h"
#include "base/io/durable_directory.h"
#include "model/files/convert.h"
#include "parallel/shares.h"
#include "tests/parallel/mesh_world.h"

using namespace ov;
using namespace ov::test;

namespace {

// The model in bf16 with masters, the merger frozen, on a mesh.
struct Run {
  HostDevice device{Device::Kind::cpu, "test", cpu().table};
  Mesh mesh;
  Onevision model;
  FixedSteps data;
  LanguageObjective objective;
  StepEngine engine;
  Run(const Ways& w, Communicator& ranks, std::uint64_t seed = 1, const ModelConfig& config = mixture())
      : mesh(ranks, w.tensor, w.pipeline, w.context, w.experts),
        model(config, mesh.tensor, mesh.pipe, w.chunks, mesh.experts),
        data({uneven_step(4)}),
        objective(allocated(seed), data, options(w), mesh.context),
        engine(objective, options(w), mesh.data) {}
  static ModelConfig mixture() {
    ModelConfig c = six_layers(false, true);
    c.text.vocabulary = 400;
    return c;
  }
  Onevision& allocated(std::uint64_t seed) {
    model.parameters().allocate(Dtype::bf16, device);
    initialize(model.parameters(), {.matrix = "uniform_fan_in"}, seed);
    return model;
  }
  static TrainOptions options(const Ways& w) {
    TrainOptions o = short_run(9);
    o.modules = {"language_model", "vision_model"};
    o.optimizer.moments = Moments::bf16_stochastic;
    w.set(o);
    o.overlap.reset();
    return o;
  }
  void save(const std::string& out) { save_checkpoint(out, engine.state(), Json::object()); }
  // As if step `n` were done: no bit of it is that of another seed.
  void save_as(const std::string& out, std::int64_t n) {
    TrainingState state = engine.state();
    state.step = n, engine.optimizer().set_steps(n);
    save_checkpoint(out, state, Json::object());
  }
};

std::string step_of(const std::string& out, int step) { return cat(out, "/checkpoints/step-0000000", step); }

// Checkpoints that prove themselves, and the bits of each.
std::map<std::string, std::string> whole_in(const std::string& out) {
  std::map<std::string, std::string> found;
  for (const std::string& c : checkpoints(out)) {
    std::string bits = thrown([&] { checked_checkpoint(c); });
    if (bits.empty()) bits = saved_bits(c);
    found[c.substr(c.rfind('/') + 1)] = bits;
  }
  return found;
}

}  // namespace

TEST_CASE("parts: saved by N ranks and read by M, of any mesh and stage of ZeRO, weights and moments keep their bits") {
  const ScratchDirectory dir;
  Run one({}, one_rank());
  one.engine.step();
  one.save(dir / "0");
  const std::string expected = saved_bits(checkpoints(dir / "0").back());
  int folder = 0;
  for (const Ways& w : std::vector<Ways>{{.data = 2, .zero = 0},
                                         {.data = 4, .zero = 1},
                                         {},
                                         {.data = 2, .zero = 2},
                                         {.data = 4, .zero = 3},
                                         {.pipeline = 2, .chunks = 3},
                                         {.data = 2, .tensor = 2, .zero = 2},
                                         {.context = 2},
                                         {.data = 4, .experts = 2},
                                         {.data = 2, .zero = 3, .experts = 2},
                                         {.data = 2, .pipeline = 2, .tensor = 2},
                                         {.data = 3},
                                         {}}) {
    INFO(w.said());
    const std::string from = checkpoints(dir / cat(folder)).back(), to = dir / cat(++folder);
    all_well(in_ranks(w.ranks(), 60, [&](ProcessRanks& ranks) {
      Run run(w, ranks, 2);  // what is read replaces other values
      load_into(run.engine, from);
      run.save(to);
      ranks.barrier();
    }));
    CHECK(whole_in(to) == std::map<std::string, std::string>{{"step-00000001", expected}});
    CHECK(fs::exists(step_of(to, 1) + "/parts.json") == (w.ranks() > 1));
    CHECK(list_directory(step_of(to, 1)).size() == static_cast<std::size_t>(w.ranks() > 1 ? w.ranks() + 3 : 4));
  }
}

TEST_CASE("parts: the bytes that each rank writes are what parallel/shares.h says, and even within a chunk") {
  const ScratchDirectory dir;
  const Run alone({}, one_rank());
  const std::int64_t T = alone.model.parameters().trained(), F = alone.model.parameters().count() - T;
  const auto weights = [](const Run& run) {
    return run.device.memory().bytes[static_cast<std::size_t>(Segment::weights)];
  };
  const auto most = [](const Run& run) { return run.device.memory().peak[static_cast<std::size_t>(Segment::weights)]; };
  const std::int64_t tables = weights(alone) - 2 * (T + F) - 4 * T;
  REQUIRE(T > 8 * kernels::norm_chunk);
  for (const int zero : {0, 1, 2, 3})
    for (const int n : {2, 4}) {
      INFO("zero ", zero, ", ", n, " ranks");
      const std::string out = dir / cat(zero, "of", n);
      all_well(in_ranks(n, 60, [&](ProcessRanks& ranks) {
        Run run({.data = n, .zero = zero}, ranks);
        run.save(out);
        // The masters of a rank are those that it updates.
        const Range own = run.engine.optimizer().own();
        require(run.model.parameters().masters().numel() == own.size(), "masters of its own range alone");
        require(zero == 3 || weights(run) == tables + 2 * (T + F) + 4 * own.size(), "what it holds of weights");
        require(zero == 3 || most(run) == weights(run), "and never more, from the start on");
        require(zero == 0 || std::abs(own.size() - T / n) <= kernels::norm_chunk, "an even share");
        ranks.barrier();
      }));
      std::int64_t all = 0;
      for (int r = 0; r < n; ++r) {
        const std::string file = step_of(out, 0) + "/" + SavedParts::file_of(r, n);
        std::uint64_t header = 0;
        std::memcpy(&header, read_file(file).data(), sizeof header);
        const std::int64_t bytes = static_cast<std::int64_t>(fs::file_size(file) - sizeof header - header);
        CHECK(bytes == shard_of(T, r, n).size() * (4 + 2 * 2) + shard_of(F, r, n).size() * 2);
        CHECK(std::abs(bytes - (T * (4 + 2 * 2) + F * 2) / n) <= kernels::norm_chunk * (4 + 2 * 2 + 2));
        all += bytes;
      }
      CHECK(all == T * (4 + 2 * 2) + F * 2);
    }
}

namespace {

// A rank dies at one after another of its steps on the disk; of its writes at every `stride`-th.
void kill_at_steps(int stride) {
  static int every, countdown, writes;
  every = stride;
  const ScratchDirectory dir;
  const std::string out = dir / "run", whole = dir / "whole";
  const Ways two{.data = 2, .zero = 2};
  all_well(in_ranks(2, 60, [&](ProcessRanks& ranks) {
    Run(two, ranks, 1, small_config()).save_as(out, 1);
    Run(two, ranks, 2, small_config()).save_as(whole, 2);
    ranks.barrier();
  }));
  const auto before = whole_in(out), after = whole_in(whole);
  std::map<std::string, std::string> both = before;
  both.insert(after.begin(), after.end());
  REQUIRE(both.size() == 2);
  for (const int victim : {0, 1}) {
    int kills = 0, stayed = 0;
    for (bool killed = true; killed; ++kills) {
      const auto ended = in_ranks(2, 60, [&](ProcessRanks& ranks) {
        Run run(two, ranks, 2, small_config());
        countdown = kills, writes = 0;
        if (ranks.rank() == victim)
          set_file_step_hook([](const char* what, const std::string&, bool) {
            if (std::string_view(what) == "write" && writes++ % every != 0) return;
            if (countdown-- == 0) ::raise(SIGKILL);
          });
        run.save_as(out, 2);
        ranks.barrier();
      });
      killed = ended[static_cast<std::size_t>(victim)].exit == -SIGKILL;
      INFO("rank ", victim, ", kill ", kills + 1, ": ", ended[0].error, ended[1].error);
      for (const Ended& e : ended) CHECK((e.exit == 0 || (killed && (e.exit == 3 || e.exit == -SIGKILL))));
      const auto left = whole_in(out);
      CHECK((left == before || left == both));
      CHECK((killed || left == both));
      stayed += left == before;
      fs::remove_all(step_of(out, 2));  // what is half done stays for the next
    }
    MESSAGE("rank ", victim, ": ", kills - 1, " kills, ", stayed, " before the end");
    CHECK(kills > (victim == 0 ? 40 : 10));
    CHECK(stayed > 10);
  }
}

}  // namespace

TEST_CASE("parts: a rank killed at steps of its own on the disk leaves the former checkpoint, or the new one") {
  kill_at_steps(100);
}

TEST_CASE("parts: such kills at every step" * doctest::skip()) { kill_at_steps(1); }

TEST_CASE("parts: a full disk on one rank: all ranks say whose and which file, and the former checkpoint stays") {
  const ScratchDirectory dir;
  const std::string out = dir / "run";
  const Ways three{.data = 3};
  all_well(in_ranks(3, 60, [&](ProcessRanks& ranks) {
    Run(three, ranks).save_as(out, 1);
    ranks.barrier();
  }));
  const auto before = whole_in(out);
  const auto room = fs::file_size(step_of(out, 1) + "/" + SavedParts::file_of(1, 3));
  for (const int full : {0, 1, 2})
    for (const std::size_t limit : {std::size_t{100}, room / 2}) {
      all_well(in_ranks(3, 60, [&](ProcessRanks& ranks) {
        Run run(three, ranks);
        const struct rlimit bytes = {limit, RLIM_INFINITY}, any = {RLIM_INFINITY, RLIM_INFINITY};
        if (ranks.rank() == full) ::setrlimit(RLIMIT_FSIZE, &bytes);
        std::string said;
        try {
          run.save_as(out, 2);
        } catch (const Error& e) { said = cat(static_cast<int>(e.exit()), ": ", e.what()); }
        ::setrlimit(RLIMIT_FSIZE, &any);
        require(said == cat("3: rank ", full, ": ", step_of(out, 2), ".partial/", SavedParts::file_of(full, 3),
                            ": cannot write: File too large"),
                cat("rank ", ranks.rank(), " says ", said));
        ranks.barrier();
      }));
      CHECK(whole_in(out) == before);
      CHECK(list_directory(out + "/checkpoints") == std::vector<std::string>{"step-00000001"});
    }
  all_well(in_ranks(3, 60, [&](ProcessRanks& ranks) {
    Run(three, ranks).save_as(out, 2);
    ranks.barrier();
  }));
  CHECK(whole_in(out).size() == 2);
}

TEST_CASE("parts: ranks that do not see one file system say so, and leave nothing that looks whole") {
  const ScratchDirectory dir;
  const std::string partial = "run/checkpoints/step-00000001.partial", part = SavedParts::file_of(1, 2);
  enum Elsewhere { not_there, there, there_and_here };  // a directory of that name; rank 0 has a file of that part's
  for (const Elsewhere elsewhere : {not_there, there, there_and_here})
    all_well(in_ranks(2, 60, [&](ProcessRanks& ranks) {
      Run run({.data = 2}, ranks, 1, small_config());
      const std::string here = dir / cat(elsewhere, "/", ranks.rank());  // a path that is not absolute is another's
      fs::create_directories(ranks.rank() == 1 && elsewhere != not_there ? here + "/" + partial : here);
      require(::chdir(here.c_str()) == 0, "goes there");
      if (ranks.rank() == 0 && elsewhere == there_and_here)
        set_file_step_hook([](const char*, const std::string& path, bool) {
          if (const auto at = path.find("/part-00001"); at != path.npos)
            std::ofstream(path.substr(0, at) + "/" + SavedParts::file_of(1, 2)) << "of another run";
        });
      const std::string said = thrown([&] { run.save_as("run", 1); });
      set_file_step_hook(nullptr);
      require(said == (elsewhere == not_there ? cat("rank 1: ", partial, ": rank 0 has made it, and it is not here")
                                              : cat("rank 0: ", partial, "/", part,
                                                    ": rank 0 does not find what another rank has written there")) +
                          "; give all ranks the same file system for train.out",
              cat("rank ", ranks.rank(), " says ", said));
      require(checkpoints("run").empty(), "no checkpoint");
      ranks.barrier();
    }));
}

TEST_CASE("parts: a cut save that a rank wrote on in is cleared away, one that was whole stays until it is replaced") {
  const ScratchDirectory dir;
  const std::string out = dir / "run", partial = step_of(out, 1) + ".partial";
  const Ways two{.data = 2};
  const auto save = [&] {
    all_well(in_ranks(2, 60, [&](ProcessRanks& ranks) {
      Run(two, ranks, 1, small_config()).save_as(out, 1);
      ranks.barrier();
    }));
  };
  fs::create_directories(partial);
  for (const int r : {1, 3}) std::ofstream(partial + "/" + SavedParts::file_of(r, 4)) << "cut";
  save();
  const auto whole = whole_in(out);
  CHECK(whole.size() == 1);
  CHECK(list_directory(step_of(out, 1)).size() == 5);

  fs::rename(step_of(out, 1), partial);  // killed before the last step
  all_well(in_ranks(2, 60, [&](ProcessRanks& ranks) {
    Run run(two, ranks, 2, small_config());
    const struct rlimit bytes = {100, RLIM_INFINITY}, any = {RLIM_INFINITY, RLIM_INFINITY};
    if (ranks.rank() == 1) ::setrlimit(RLIMIT_FSIZE, &bytes);
    const std::string said = thrown([&] { run.save_as(out, 1); }, Exit::machine_failed);
    ::setrlimit(RLIMIT_FSIZE, &any);
    require(contains(said, "cannot write: File too large"), said);
    ranks.barrier();
  }));
  CHECK(whole_in(out) == whole);
}

TEST_CASE("parts: one that is damaged, missing or another step's is named, and the checkpoint before is used") {
  const World world;
  TrainJob undisturbed = world.job("undisturbed");
  undisturbed.data.micro_batches_per_step = 4, undisturbed.data.samples_per_micro_batch = 1;
  quietly(undisturbed);
  const auto run = [](int n, TrainJob job) {
    all_well(in_ranks(n, 60, [job](ProcessRanks& ranks) mutable {
      job.ranks = &ranks;
      quietly(job);
      ranks.barrier();
    }));
  };
  const std::string part = SavedParts::file_of(1, 4);
  struct Fault {
    std::string said;
    std::function<void(const std::string& checkpoint)> make;
  };
  const auto flip = [&](const std::string& c) {
    std::string text = read_file(c + part);
    text[text.size() / 2] = static_cast<char>(text[text.size() / 2] ^ 4);
    write_durably(c + part, text);
  };
  const auto take_former = [&](const std::string& c) {
    fs::copy(c.substr(0, c.size() - 2) + "4/" + part, c + part, fs::copy_options::overwrite_existing);
    CHECK(contains(thrown([&] { SavedParts::open(c.substr(0, c.size() - 1)); }), part + ": is of step 4"));
  };
  TrainJob saved = undisturbed;
  saved.out = world.path("saved");
  run(4, saved);
  int runs = 0;
  for (const Fault& fault :
       {Fault{"is not what", flip}, Fault{"is missing", [&](const std::string& c) { fs::remove(c + part); }},
        Fault{"is not what", take_former}}) {
    TrainJob job = undisturbed;
    job.out = world.path(cat("run", runs++));
    fs::copy(saved.out, job.out, fs::copy_options::recursive);
    const std::string newest = step_of(job.out, 6) + "/";
    fault.make(newest);
    CHECK(contains(thrown([&] { checked_checkpoint(step_of(job.out, 6)); }), newest + part + ": " + fault.said));
    run(2, job);
    const Json resume = [&] {
      for (const Json& line : lines_of(job.out + "/run.jsonl"))
        if (line.at("type").as_string() == "resume") return line;
      return Json();
    }();
    CHECK(resume.at("step").as_int() == 4);
    CHECK(contains(resume.at("damaged").dump(), part));
    CHECK(model_sha(job) == model_sha(undisturbed));
    CHECK(saved_bits(step_of(job.out, 6)) == saved_bits(step_of(undisturbed.out, 6)));
  }
}

TEST_CASE("parts: bf16 runs of ranks that divide masters write the model and the adapter that one rank writes") {
  const World world;
  TrainJob one = world.job("one");
  one.data.micro_batches_per_step = 4, one.data.samples_per_micro_batch = 1, one.dtype = Dtype::bf16;
  TrainJob adapter = one;
  adapter.out = world.path("adapter");
  adapter.lora.rank = 2, adapter.lora.targets = {"q_proj"}, adapter.merged_model = true;
  for (const TrainJob& job : {one, adapter}) {
    quietly(job);
    TrainJob two = job;
    two.out += "2";
    all_well(in_ranks(2, 60, [two](ProcessRanks& ranks) mutable {
      two.ranks = &ranks, two.train.zero = 1;
      quietly(two);
      ranks.barrier();
    }));
    CHECK(model_sha(two) == model_sha(job));
    if (job.lora.rank > 0)
      CHECK(sha256_file(two.out + "/adapter/adapter_model.safetensors") ==
            sha256_file(job.out + "/adapter/adapter_model.safetensors"));
    const std::string parts = checkpoints(two.out).back();
    CHECK(saved_bits(parts) == saved_bits(checkpoints(job.out).back()));
    std::string report;
    CHECK(diff_weights(parts, checkpoints(job.out).back(), report));
    if (job.lora.rank > 0) continue;
    // With a config.json beside them, parts are a model like any other.
    fs::copy(job.model_dir + "/config.json", parts + "/config.json");
    const CheckpointReport seen = inspect_checkpoint(parts);
    CHECK(seen.problems.empty());
    CHECK(seen.bytes == inspect_checkpoint(job.out + "/model").bytes);
    convert_model(parts, world.path("converted"), {});
    CHECK(diff_weights(world.path("converted"), job.out + "/model", report));
  }
}
