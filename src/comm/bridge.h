// Carries what the ranks of this machine and those of others say to each other: a thread in the machine's first rank
// between the rings of the region (comm/shared_region.h) and a TCP connection to each other machine (comm/link.h says
// what goes over it). To a rank there is no difference between one that is here and one that is away.
//
//   a connection ends without a farewell   that machine's ranks are lost, and the first of them is named; what they
//                                          said and the bridge had not sent is lost with them
//   a machine is silent                    the ranks that wait for it give up after comm.timeout; a connection that
//                                          nobody answers ends after a minute
//   nonsense comes                         a failure of the rank it came from
//
// Two ranks that fail on two machines at the same moment each say so on their own.
#pragma once
#include <atomic>
#include <thread>
#include <vector>

#include "comm/link.h"
#include "comm/machines.h"

namespace ov {

class Bridge {
 public:
  // `here`: the ranks of this machine, the one that has the bridge first. `bell`: the region's eventfd. `timeout`:
  // seconds that the end may take.
  Bridge(const SharedRegion& region, int ranks, std::vector<int> here, std::vector<OtherMachine> machines, int bell,
         double timeout);
  // Of a rank that has left: when all here have, and every machine has what they said. After a failure: when every
  // machine knows it. Otherwise at once: this rank is lost, and with it its machine.
  ~Bridge();
  Bridge(const Bridge&) = delete;

 private:
  struct Line {
    Descriptor socket;
    std::string address;
    Link link;
    bool open = true;
  };
  void run();
  bool send(Line& line);  // whether anything went
  void receive(Line& line, std::vector<std::byte>& room);
  void close(Line& line);
  void broke_off(const Line& line) const;
  bool at_end(double* deadline);

  const SharedRegion& region_;
  const std::vector<int> here_;
  const int bell_;
  const double timeout_;
  std::vector<Line> lines_;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace ov
