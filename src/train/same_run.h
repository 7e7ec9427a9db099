// Is the run that a checkpoint is of the one that is asked for?
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "comm/communicator.h"

namespace ov {

// Members "config" and "sources" of both. One input_error that starts with `checkpoint` and lists old and new of every
// key that differs and is not in `may_change`, and every source. Returns the keys that do differ: {KEY: [OLD, NEW]}.
// A key of `defaults` that the stored run did not know yet is no difference: its default is what was done before it.
Json check_same_run(const std::string& checkpoint, const Json& stored, const Json& now,
                    const std::vector<std::string>& may_change, const std::vector<std::string>& defaults = {});

// All ranks call it: members "config", "sources" and "data" of what this rank was given, and `program`: the program
// itself, are those of rank 0. input_error names what differs. Once of the configuration alone, before a call that it
// decides about; once of all, before the first step.
void check_same_on_ranks(Communicator& ranks, Json given, bool program = true);

}  // namespace ov
