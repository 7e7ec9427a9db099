// A planned step on many devices: what each stage of a pipeline holds and does, what passes over which link, how long
// the step takes and what it waits for.
//
// Bytes and FLOPs are counted: of every stage's first rank, or of the ranks that share its rows, each makes its part of
// the step on a device without memory, with ranks that are not there (audit/plan.h). Of those that share experts or
// class tables the first stands for all: it has as much as any. Time follows from them and from two tables,
// configs/devices.json and configs/links.json:
//
//   pass of a chunk    FLOPs / (mfu · peak), plus the calls within it, of tensor-parallel ranks and of those that share
//                      rows, experts or class tables: forward one part, backward one more, or two where blocks are
//                      recomputed. Of ranks that share a row the slowest decides
//   leaves             the pipeline's timetable (parallel/pipeline.h) with these passes, each begun when its rank is
//                      free and what it needs has come; of a rank's chunks each takes the same
//   calls of an axis   latency · calls + the larger of bytes / rate of the links inside a machine and between machines;
//                      of bytes sent and received the larger. The calls of one axis have the same partners
//   step               leaves + sums of gradients over ranks that share rows or experts + what goes over the data axis
//                      after the passes + update
//   beside backward    of each round's S seconds of sums in B buckets S (1 - 1/B) at most are hidden, and no more than
//                      the backward pass of its last micro-batch takes: the last bucket is complete at its end. Values
//                      are gathered after the update, and by ZeRO 3 within the passes: nothing hides them
//
// A process sums after the passes in its first step (parallel/overlap.h), and kernels that run beside a call are taken
// to be as fast as alone.
//
// `mfu` is of the passes alone: communication is counted by itself.
#pragma once
#include "audit/plan_device.h"

namespace ov {

struct LinkFacts {
  std::string name, about;
  double rate = 0, latency = 0;  // bytes a second, seconds
};
// A row of the table; what is to be measured, is. input_error with the file, the link and the key. `asked`: by which
// keys of the program.
LinkFacts find_link(const std::string& table, const std::string& name, const char* asked = "plan.inside, plan.between");

struct MeshFacts {
  int node = 0;  // ranks of one machine, neighbours; 0: all
  LinkFacts inside = {}, between = {};
  double mfu = 0;
};

struct MeshPlan {
  struct Time {
    double leaves = 0, sums = 0, data = 0, update = 0;  // seconds, one after another
    double busy = 0;    // of `leaves`, what a rank of the pipeline works on the average, the slowest of a row's
    double tensor = 0;  // of `busy`, tensor-parallel calls
    std::map<std::string, double> within = {};  // likewise, of every axis
    double uneven = 0;                          // of `busy`, what the average rank of a row waits for the slowest
    double hidden = 0;                          // what goes over the data axis beside the passes, not in `data`
    double data_machines_first = 0;             // `data`, if each machine added its own first
    double could_hide = 0;                      // of `data`, what comm.overlap would hide, where it is not on
    double step() const { return leaves + sums + data + update; }
  };
  DeviceFacts device;
  MeshFacts mesh;
  PlanOptions options;
  // By rank of the pipeline and, for each, by rank that shares its rows: of the first copy's first rank each.
  std::vector<Plan> stages;
  std::optional<std::int64_t> recomputed_blocks;  // where that was to be chosen: the fewest that fit, else all
  // Where a rank's part is too large: keys that make it smaller, as DevicePlan::remedies.
  struct Remedy {
    std::string keys;
    std::int64_t missing = 0;
    double seconds = 0;
  };
  std::vector<Remedy> remedies = {};
  Time time;
  double flops = 0, recomputed = 0;  // of the whole step, all ranks; the former without the latter

  int rank_of(std::size_t stage) const { return static_cast<int>(stage) * options.train.tensor; }
  std::int64_t missing() const;  // bytes, of the stage that needs most; 0 or less: it fits
  double mfu() const;            // that the whole step reaches
  double days(std::int64_t steps) const { return time.step() * static_cast<double>(steps) / 86400; }
  std::string report() const;  // follows Plan::report() of a stage
  // Beside a run of `steps` steps elsewhere that took so many days on as many devices: what explains the difference.
  std::string beside(double days, std::int64_t steps) const;
};

// What goes inside a rank's machine, and to others; what a rank sends and receives on an axis takes so many seconds.
struct LinkBytes {
  std::int64_t inside = 0, between = 0;
};
LinkBytes by_link(const std::map<int, std::int64_t>& by_rank, int rank, int node);
double seconds_of(const Plan::Traffic& traffic, int rank, const MeshFacts& mesh);
// The same sums where every machine adds its own first (a ring through machines one after another, or the ordered tree
// in two levels): a rank sends as much, and of what crosses machines its share, the n-th part of n neighbours.
LinkBytes machines_first(const Plan::Traffic& traffic, int rank, int node);
double seconds_machines_first(const Plan::Traffic& traffic, int rank, const MeshFacts& mesh);

// How long the leaves of a round take a pipeline whose ranks take forward[s] and backward[s] seconds for one of their
// `chunks` chunks, and message seconds to hand on what they made.
double makespan(const std::vector<double>& forward, const std::vector<double>& backward, int chunks,
                std::int64_t leaves, double message);

// choose: how many blocks are recomputed, in place of what options say.
MeshPlan plan_on_mesh(const DeviceFacts& device, const MeshFacts& mesh, const Planner& plan, const PlanOptions& options,
                      bool choose = false);

}  // namespace ov
