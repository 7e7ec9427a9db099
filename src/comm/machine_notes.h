// What machines say in the notes (comm/tcp.h) that they meet with. input_error, which names the key, where one says
// something else.
//
//   to rank 0's machine    {"job", "ranks": of the job, "here": its ranks, "port": where it listens}
//   the answer             {"machines": [{"ranks", "host", "port"}]}, or {"refused": an error, "exit": its code}
//   to each other          {"job", "machine": its place in that list}
#pragma once
#include <string>
#include <vector>

#include "base/json.h"

namespace ov {

std::string job_in(const Json& note);
int machine_in(const Json& note, int least, int most);

struct MachineHello {
  std::string job;
  int ranks;
  std::vector<int> here;
  std::string port;
};
MachineHello read_hello(const Json& note);
struct MachineEntry {
  std::vector<int> ranks;
  std::string host, port;
};
// Every one of `ranks` stands in it once. A note of refusal is thrown.
std::vector<MachineEntry> read_machines(const Json& note, int ranks);

}  // namespace ov
