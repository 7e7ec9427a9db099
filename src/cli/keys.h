// Every command and every key of the program, as data (base/config.h says how they are given).
#pragma once
#include "base/config.h"

namespace ov::cli {

const KeyTable& keys();

// What the tables' rows are written with.
inline const Allowed any;
inline Value whole(std::int64_t v) { return v; }

std::vector<Key> model_rows();     // the part of it in model_keys.cpp
std::vector<Key> answer_rows();    // in answer_keys.cpp
std::vector<Key> curate_rows();    // in curate_keys.cpp
std::vector<Key> instruct_rows();  // in instruct_keys.cpp
std::vector<Key> plan_rows();      // in plan_keys.cpp
std::vector<Key> rl_rows();        // in rl_keys.cpp
std::vector<Key> rank_rows();      // and in rank_keys.cpp

}  // namespace ov::cli
