// What a file can do to a reader: one target for each kind of file. A target reads arbitrary bytes as that kind, walks
// all that came out, and takes an Error for an answer; a crash, a sanitizer's report or another exception is a fault.
//
//   make fuzz          libFuzzer with the address and undefined-behaviour sanitizers, each target for FUZZ_SECONDS
//   replay_test.cpp    the files of tests/fuzz/corpus/<target>/ once each, in every `make test`
#pragma once
#include <string_view>
#include <vector>

namespace ov {

struct FuzzTarget {
  const char* name;
  void (*run)(std::string_view bytes);
};
const std::vector<FuzzTarget>& fuzz_targets();

// Runs one target on a copy of exactly these bytes, so that a read past their end is seen.
void fuzz(const FuzzTarget& target, std::string_view bytes);

}  // namespace ov
