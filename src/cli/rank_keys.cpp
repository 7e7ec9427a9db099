// The keys of ranks: how many there are, what they divide, how they add.
#include "cli/keys.h"

namespace ov::cli {

std::vector<Key> rank_rows() {
  return {
      {"launch.ranks", "n", whole(2), Allowed(1, 64), "launch",
       "processes to start on this machine; -n 4. COMMAND's keys parallel.* say what they divide: the product of "
       "tensor, pipeline, context and experts (or classes) divides their number. Under srun, mpirun and torchrun "
       "--no-python COMMAND starts without launch, and reads their variables"},
      {"launch.nodes", "nodes", whole(1), Allowed(1, 1024), "launch",
       "machines, each with as many processes: on each the same command but for launch.node, with paths that all see"},
      {"launch.node", "node", whole(0), Allowed(0, 1023), "launch", "which of them this is, from 0"},
      {"launch.address", "address", "", any, "launch",
       "HOST:PORT of node 0, where it listens for the others: an address of one interface, in a network that you "
       "trust"},
      {"comm.address", "", "", any, "train pretrain rl",
       "HOST:PORT where rank 0 listens for ranks on other machines; not given: MASTER_ADDR and MASTER_PORT, or Slurm's "
       "list of nodes",
       Resume::free},
      {"comm.timeout", "", 600.0, Allowed(0.1, 1e6), "train pretrain rl",
       "seconds after which a rank that hears nothing from another ends the run", Resume::free},
      {"comm.sum", "", "ordered", "ordered nccl", "train pretrain rl",
       "how ranks on GPUs add: ordered, in one tree, with one rank's bits; nccl, the library's rings, with fewer "
       "messages and bits of their own"},
      {"comm.overlap", "", "auto", "false true auto", "train pretrain rl plan",
       "sum gradients over data-parallel ranks while the backward pass of the last micro-batch goes on; auto: on GPUs, "
       "in meshes for which it is built. Same bits (with comm.sum nccl within rounding)",
       Resume::free},
      {"parallel.zero", "", whole(1), Allowed(0, 3), "train pretrain rl plan",
       "what data-parallel ranks divide: 0 nothing, 1 the optimiser's state, 2 sums of gradients too, 3 values too "
       "(train and pretrain --what text, not in a pipeline); 2 and 3 for 2^k copies. Same bits",
       Resume::free},
      {"parallel.tensor", "", whole(1), Allowed(1, 64), "train pretrain plan",
       "ranks that hold one model together, each its heads and inner widths, between them each its tokens "
       "(sequence parallel); the others are copies of it. Other bits, within rounding",
       Resume::free},
      {"parallel.pipeline", "", whole(1), Allowed(1, 64), "train pretrain plan",
       "ranks that hold one model together, each some of its layers, the first the tower too; same bits. Tied "
       "embeddings need train.grad_sum tree. Not with parallel.experts; parallel.zero 2 makes its ranks wait more",
       Resume::free},
      {"parallel.chunks", "", whole(1), Allowed(1, 64), "train pretrain plan",
       "chunks of layers on each rank of parallel.pipeline (interleaved): less waiting, more messages; same bits",
       Resume::free},
      {"parallel.experts", "", whole(1), Allowed(1, 64), "train pretrain plan",
       "data-parallel ranks that share the experts of a mixture, each an equal range of them; same bits. A power of "
       "two; not with parallel.pipeline",
       Resume::free},
      {"parallel.classes", "", whole(1), Allowed(1, 64), "pretrain plan",
       "data-parallel ranks that share the tables of class centres (--what vision), each some of rice.class_blocks; "
       "same bits for a power of two",
       Resume::free},
      {"parallel.context", "", whole(1), Allowed(1, 64), "train pretrain plan",
       "ranks that share a micro-batch's tokens, whole segments where that will do; other bits, within rounding",
       Resume::free},
  };
}

}  // namespace ov::cli
