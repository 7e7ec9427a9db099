// Training checkpoints: everything that a run needs to go on with the same bits, and the proof that it is what was
// written.
//
//   <out>/checkpoints/step-00000040/
//     model.safetensors        parameters, HF's names on disk; in bf16 the f32 masters of what is trained
//     optimizer.safetensors    m and v, flat, in the order of the trained parameters; in the metadata their names and
//                              the step count
//     state.json               version, step, loader state, the run's configuration and the program's revision
//     DONE                     SHA-256 of each, written last (base/io/durable_directory.h)
//
// Of several ranks each writes a part-00001-of-00004.safetensors in place of the first two, of the elements that it has
// (parallel/shares.h); rank 0 then an index, parts.json (store/parts.h), and what is left. Any number of ranks, one
// too, reads either, on any mesh, to the same bits:
//
//   rank 0   step-00000040.partial    all   write a part, fsync it    rank 0   parts.json, state.json, DONE, rename
//
// Between the three all ranks hear whether all are done. Whoever is killed before the end leaves a directory without
// DONE, which nobody takes for a checkpoint; the one before it stands.
#pragma once
#include <string>
#include <vector>

#include "train/engine.h"

namespace ov {

// `about`: configuration and counts, stored as they are. All ranks call it. Where one fails, on a full disk, all throw
// an Error that names the rank and the file, and nothing is left of it.
void save_checkpoint(const std::string& out, const TrainingState& state, const Json& about);
// Oldest first. What a cut save left behind is finished or ignored, as is what a cut prune left, which is older than
// the others; any other without DONE is listed: it is damaged.
std::vector<std::string> checkpoints(const std::string& out);
// state.json of a checkpoint that is whole. input_error that names the file and what is wrong with it: a missing file,
// a digest, another version, a step that is not that of the directory or of the optimiser.
Json checked_checkpoint(const std::string& directory);
// Restores parameters, optimiser, step and loader state from a checked one. input_error when it belongs to another
// model or freeze set; nothing is changed then.
void load_checkpoint(const std::string& directory, const Json& checked, TrainingState& state);
// Its weights alone, those of a head and of class centres too: for a run that begins where another ended.
void load_checkpoint_weights(const std::string& directory, TrainingState& state);
// Sets a damaged one aside as "<directory>.damaged", where it is no longer taken for a checkpoint.
void set_aside(const std::string& directory);
// Removes all but the newest `keep`, and what was cut while it was saved or removed; never one that holds files of
// others. Not while a save is under way.
void prune_checkpoints(const std::string& out, std::int64_t keep);

}  // namespace ov
