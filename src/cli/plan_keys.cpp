// What `plan` is asked: the row, the machine, the mesh.
#include "cli/keys.h"

namespace ov::cli {

std::vector<Key> plan_rows() {
  return {
      {"plan.height", "", whole(560), at_least(1), "plan", "height of each picture in pixels"},
      {"plan.width", "", whole(560), at_least(1), "plan", "width of each picture in pixels"},
      {"plan.images", "", whole(1), Allowed(0, 1 << 16), "plan", "pictures in the row"},
      {"plan.text_tokens", "", whole(112), Allowed(1, 1 << 24), "plan", "other tokens in the row"},
      {"plan.segments", "", whole(1), Allowed(1, 1 << 20), "plan",
       "equal parts of the row, samples that do not see each other"},
      {"plan.labelled", "", whole(0), at_least(0), "plan", "tokens that pass through the head; 0: all"},
      {"plan.classes", "", whole(1000000), at_least(0), "plan",
       "of objects, with --what vision; the paper has a million"},
      {"plan.characters", "", whole(0), at_least(0), "plan", "of strings, with --what vision"},
      {"plan.strings", "", whole(0), at_least(0), "plan", "regions of a picture that are strings, with --what vision"},
      {"plan.device", "", "", any, "plan",
       "the one machine that it is for, by its name in plan.devices: does it fit, how long does a step take; empty: "
       "any"},
      {"plan.devices", "", "configs/devices.json", any, "plan", "table of machines"},
      {"plan.mfu", "", 0.0, Allowed(0, 1), "plan",
       "share of the device's peak that forward and backward passes reach; 0: as the table says, or on the cpu as "
       "measured"},
      {"plan.ranks", "", whole(1), Allowed(1, 1 << 16), "plan",
       "devices that share the step as parallel.* says: bytes of each stage and over each link, time, waiting"},
      {"plan.node", "", whole(0), at_least(0), "plan", "ranks of one machine, neighbours; 0: as plan.devices says"},
      {"plan.inside", "", "", any, "plan", "the link between them, by its name in plan.links; empty: the device's"},
      {"plan.between", "", "", any, "plan", "the link between machines; empty: the device's"},
      {"plan.links", "", "configs/links.json", any, "plan", "table of links"},
      {"plan.pictures", "", whole(0), Allowed(0, 1e13), "plan",
       "with --what clip: what embedding and balancing so many takes, on one device and on more; 0: a step of "
       "training"},
      {"plan.concepts", "", whole(500000), at_least(1), "plan", "of the vocabulary that they are balanced by"},
      {"plan.cores", "", whole(0), Allowed(0, 1 << 16), "plan",
       "of a machine, which decode those pictures, of plan.width x plan.height; 0: on the cpu threads, else 8 a "
       "device"},
      {"plan.storage", "", "nvme", any, "plan",
       "where embeddings lie, by its name in plan.links: a rate for a machine"},
      {"plan.days", "", 0.0, at_least(0), "plan",
       "what a run of train.steps steps took elsewhere on as many devices: what its steps were spent on; 0: nothing to "
       "compare"},
  };
}

}  // namespace ov::cli
