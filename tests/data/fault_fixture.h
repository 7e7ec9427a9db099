// Shards with members of any name, what comes out of a data set, and what it costs.
#pragma once
#include <ctime>
#include <functional>

#include "data/raw/records.h"
#include "tests/data/pack_fixture.h"

namespace ov::loader_test {

using Parts = std::vector<std::pair<std::string, std::string>>;  // member name, bytes
using Strings = std::vector<std::string>;

inline std::string shard(const DataSet& d, const std::string& name, const Parts& members) {
  TarWriter tar(d.path(name));
  for (const auto& [member, bytes] : members) tar.add(member, bytes);
  tar.finish();
  return d.path(name);
}

// "question | answer" of each record, or the reason why it is rejected.
inline Strings records_of(const std::string& path) {
  const auto records = open_records(path);
  Strings out;
  for (std::int64_t i = 0; i < records->size(); ++i) {
    std::string text;
    const std::string error = message_of([&] {
      const Conversation c = records->read(i);
      text = c.turns.at(0).text + " | " + c.turns.at(1).text;
    });
    out.push_back(error.empty() ? text : error.substr(0, error.find(" |")));
  }
  return out;
}

// Of the processor's time, which a busy machine does not stretch.
inline double seconds_of(const std::function<void()>& f) {
  const std::clock_t start = std::clock();
  f();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

}  // namespace ov::loader_test
