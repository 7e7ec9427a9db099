#include "comm/machine_notes.h"

#include <algorithm>

#include "base/error.h"
#include "comm/rank_in_job.h"
#include "comm/tcp.h"

namespace ov {
namespace {

int whole(const Json& value, int least, int most) {
  const std::int64_t n = value.as_int();
  if (n < least || n > most) input_error("expected a whole number from ", least, " to ", most, ", found ", n);
  return static_cast<int>(n);
}

std::vector<int> ranks_in(const Json& list, int ranks) {
  std::vector<int> found;
  for (const Json& r : list.items()) found.push_back(whole(r, 0, ranks - 1));
  if (found.empty()) input_error("expected ranks, found none");
  return found;
}

// What a note says under a key; an error names it.
template <class F>
auto told(const Json& note, const char* key, F&& read) {
  try {
    return read(note.at(key));
  } catch (const Error& e) { input_error(key, ": ", e.what()); }
}
std::string text_of(const Json& value) { return value.as_string(); }

}  // namespace

std::string job_in(const Json& note) { return told(note, "job", text_of); }

int machine_in(const Json& note, int least, int most) {
  return told(note, "machine", [&](const Json& n) { return whole(n, least, most); });
}

MachineHello read_hello(const Json& note) {
  MachineHello h;
  h.job = told(note, "job", text_of);
  h.ranks = told(note, "ranks", [](const Json& n) { return whole(n, 1, most_ranks); });
  h.here = told(note, "here", [&](const Json& list) { return ranks_in(list, h.ranks); });
  h.port = told(note, "port", [](const Json& port) { return host_port("x:" + port.as_string(), "port").port; });
  return h;
}

std::vector<MachineEntry> read_machines(const Json& note, int ranks) {
  if (const Json* refused = note.find("refused"))
    throw Error(static_cast<Exit>(whole(note.at("exit"), 1, 255)), refused->as_string());
  std::vector<MachineEntry> list;
  std::vector<bool> there(static_cast<std::size_t>(ranks));
  const auto ranks_of = [&](const Json& named) { return ranks_in(named, ranks); };
  for (const Json& m : told(note, "machines", [](const Json& all) { return all.items(); })) {
    list.push_back({told(m, "ranks", ranks_of), told(m, "host", text_of), told(m, "port", text_of)});
    for (const int r : list.back().ranks) {
      if (there[static_cast<std::size_t>(r)])
        input_error("ranks: rank ", r, " stands twice in rank 0's list of machines");
      there[static_cast<std::size_t>(r)] = true;
    }
  }
  if (const auto lacks = std::find(there.begin(), there.end(), false); lacks != there.end())
    input_error("ranks: rank ", lacks - there.begin(), " stands not in rank 0's list of machines");
  return list;
}

}  // namespace ov
