#include "comm/machines.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "comm/tcp.h"

namespace ov {
namespace {

constexpr double patience = 5;            // seconds for a guest's note
constexpr std::size_t most_guests = 256;  // who have said nothing yet
constexpr std::size_t most_named = 3;

std::string list_of(const std::vector<int>& ranks) {
  std::string names;
  for (const int r : ranks) names += cat(names.empty() ? "" : ", ", r);
  return names;
}

struct Heard {
  Descriptor socket;
  HostPort from;
  std::uint32_t version = note_version;
  Json note;
};

// Who knocks at a door. Each is heard by itself, so that one who says nothing holds up nobody.
class Guests {
 public:
  explicit Guests(Descriptor door) : door_(std::move(door)) {}
  HostPort at() const { return own_end(door_.get()); }
  void turn_away(const HostPort& guest) {
    if (++away_ <= most_named) names_ += cat(names_.empty() ? "" : ", ", guest.said());
  }
  // "; turned away, as not of this job: 10.0.0.9:40000"
  std::string turned_away() const {
    return away_ == 0 ? ""
                      : cat("; turned away, as not of this job: ", names_, away_ > most_named ? " and others" : "");
  }

  // The next who has said a note; nobody when `until` has passed. machine_error when one of `members` has ended.
  std::optional<Heard> next(double until, const std::vector<OtherMachine>& members, int ranks) {
    for (;;) {
      std::vector<pollfd> fds = {{door_.get(), POLLIN, 0}};
      for (const Guest& g : guests_) fds.push_back({g.socket.get(), POLLIN, 0});
      for (const OtherMachine& m : members) fds.push_back({m.connection.get(), POLLRDHUP, 0});
      const double left = until - monotonic_seconds();
      if (left <= 0) return {};
      if (::poll(fds.data(), fds.size(), static_cast<int>(std::min(left, 1.0) * 1000) + 1) < 0 && errno != EINTR)
        machine_error("ranks: poll: ", std::strerror(errno));
      for (std::size_t m = 0; m < members.size(); ++m)
        if (fds[1 + guests_.size() + m].revents != 0)
          machine_error("rank ", list_of(members[m].ranks), " at ", members[m].address, " ended before all ", ranks,
                        " ranks had met");
      std::optional<Heard> heard;
      for (Guest& g : guests_) {
        if (heard) break;
        const NoteIn::State state = g.note.hear(g.socket.get());
        if (state == NoteIn::State::coming && monotonic_seconds() <= g.since + patience) continue;
        if (state == NoteIn::State::whole) try {
            heard = Heard{std::move(g.socket), g.from, note_version, g.note.note()};
          } catch (const Error&) {}
        if (state == NoteIn::State::other_version) heard = Heard{std::move(g.socket), g.from, g.note.version(), Json()};
        if (!heard) turn_away(g.from);
        g.done = true;
      }
      std::erase_if(guests_, [](const Guest& g) { return g.done; });
      if (heard) return heard;
      if (fds[0].revents == 0) continue;
      Guest g;
      g.socket = accept_at(door_.get());
      if (g.socket.get() < 0) continue;
      g.from = other_end(g.socket.get()), g.since = monotonic_seconds();
      if (guests_.size() == most_guests) turn_away(guests_[0].from), guests_.erase(guests_.begin());
      guests_.push_back(std::move(g));
    }
  }

 private:
  struct Guest {
    Descriptor socket;
    HostPort from;
    NoteIn note;
    double since = 0;
    bool done = false;
  };
  const Descriptor door_;
  std::vector<Guest> guests_;
  std::size_t away_ = 0;
  std::string names_;
};

Json refusal(const Error& e) {
  return Json::object({{"refused", std::string(e.what())}, {"exit", static_cast<int>(e.exit())}});
}

// Refused by both: who knocked and who listens.
[[noreturn]] void refuse(const Heard& guest, const std::string& text) {
  const Error e(Exit::wrong_input, text);
  send_note(guest.socket.get(), refusal(e));
  throw e;
}

MachineHello hello_of(const Heard& guest) {
  try {
    return read_hello(guest.note);
  } catch (const Error& e) {
    refuse(guest, cat("ranks: what ", guest.from.said(), " says of itself rank 0 cannot take: ", e.what()));
  }
}

// At rank 0's machine: until all ranks are there.
std::vector<OtherMachine> receive_machines(const RankInJob& place, const std::vector<int>& here, double seconds) {
  const Share& share = *place.share;
  const HostPort address = host_port(share.address, share.source);
  const double until = monotonic_seconds() + seconds;
  Guests guests(listen_at(address, share.source));
  std::vector<OtherMachine> machines;
  std::vector<MachineEntry> list = {{here, address.host, address.port}};
  std::vector<bool> there(static_cast<std::size_t>(place.ranks));
  const auto is_there = [&](int r) { return there[static_cast<std::size_t>(r)]; };
  for (const int r : here) there[static_cast<std::size_t>(r)] = true;
  try {
    while (std::find(there.begin(), there.end(), false) != there.end()) {
      std::optional<Heard> guest = guests.next(until, machines, place.ranks);
      if (!guest) {
        std::vector<int> missing;
        for (int r = 0; r < place.ranks; ++r)
          if (!is_there(r)) missing.push_back(r);
        const std::string own = guests.at().said(), said = address.said();
        machine_error("rank 0: rank ", list_of(missing), " of ", place.ranks, " (", place.source, ") did not come to ",
                      said, own == said ? "" : cat(", where it listens at ", own, ","), " within ", seconds,
                      " s (comm.timeout)", guests.turned_away());
      }
      if (guest->version != note_version)
        refuse(*guest, cat("ranks: ", guest->from.said(), " speaks version ", guest->version, ", rank 0 version ",
                           note_version, ": expected one build of this program on all machines"));
      try {
        if (const std::string job = job_in(guest->note); job != share.job)
          input_error("ranks: ", address.said(), " is rank 0's of the job '", shown(share.job), "', not of '",
                      shown(job), "'");
      } catch (const Error& e) {
        send_note(guest->socket.get(), refusal(e));
        guests.turn_away(guest->from);
        continue;
      }
      const MachineHello hello = hello_of(*guest);
      if (hello.ranks != place.ranks)
        refuse(*guest,
               cat("ranks: rank ", list_of(hello.here), " says there are ", hello.ranks, " ranks, rank 0 ", place.ranks,
                   " (", place.source, "); give every machine the same number of ranks and of machines"));
      for (const int r : hello.here) {
        if (is_there(r)) refuse(*guest, cat("ranks: two processes are rank ", r, " (", place.source, ")"));
        there[static_cast<std::size_t>(r)] = true;
      }
      list.push_back({hello.here, guest->from.host, hello.port});
      machines.push_back({hello.here, guest->from.said(), std::move(guest->socket)});
    }
    Json all = Json::array();
    for (const MachineEntry& m : list)
      all.push(Json::object({{"ranks", Json(m.ranks)}, {"host", m.host}, {"port", m.port}}));
    for (const OtherMachine& m : machines)
      if (!send_note(m.connection.get(), Json::object({{"machines", all}})))
        machine_error("rank ", list_of(m.ranks), " at ", m.address, " ended before all ", place.ranks,
                      " ranks had met");
  } catch (const Error& e) {
    for (const OtherMachine& m : machines) send_note(m.connection.get(), refusal(e));
    throw;
  }
  return machines;
}

// From rank 0's machine, which answers when all are there.
std::vector<MachineEntry> list_from(int socket, const RankInJob& place, double until, double seconds) {
  NoteIn answer;
  for (;;) {
    const NoteIn::State state = answer.hear(socket);
    if (state == NoteIn::State::whole) return read_machines(answer.note(), place.ranks);
    if (state == NoteIn::State::other_version)
      input_error("ranks: rank 0 speaks version ", answer.version(), ", rank ", place.rank, " version ", note_version,
                  ": expected one build of this program on all machines");
    if (state == NoteIn::State::none)
      machine_error("rank ", place.rank, ": rank 0 at ", place.share->address,
                    " ended before the ranks had met, or is ", "no rank");
    pollfd waiting{socket, POLLIN, 0};
    const double left = until - monotonic_seconds();
    if (left <= 0 || ::poll(&waiting, 1, static_cast<int>(left * 1000) + 1) == 0)
      machine_error("rank ", place.rank, ": not all of ", place.ranks, " ranks (", place.source, ") came within ",
                    seconds, " s (comm.timeout)");
  }
}

std::vector<OtherMachine> join_machines(const RankInJob& place, const std::vector<int>& here, double seconds) {
  const Share& share = *place.share;
  const HostPort address = host_port(share.address, share.source);
  const double until = monotonic_seconds() + seconds;
  std::string why;
  Descriptor first = connect_to(address, until, &why);
  if (first.get() < 0)
    machine_error("rank ", place.rank, ": rank 0 of ", place.ranks, " (", place.source, ") did not come to ",
                  address.said(), " within ", seconds, " s (comm.timeout): ", why);
  Guests guests(listen_at({own_end(first.get()).host, "0"}, share.source));
  send_note(
      first.get(),
      Json::object({{"job", share.job}, {"ranks", place.ranks}, {"here", Json(here)}, {"port", guests.at().port}}));
  const double last = until + 2;  // rank 0, which says who is missing, began later
  const std::vector<MachineEntry> list = list_from(first.get(), place, last, seconds);

  std::vector<OtherMachine> machines;
  machines.push_back({list[0].ranks, address.said(), std::move(first)});
  const auto has = [&](std::size_t m, int rank) {
    return std::find(list[m].ranks.begin(), list[m].ranks.end(), rank) != list[m].ranks.end();
  };
  std::size_t self = 1;
  while (self < list.size() && !has(self, place.rank)) ++self;
  if (self == list.size()) machine_error("rank ", place.rank, ": rank 0's list of machines has it not");
  for (std::size_t m = 1; m < self; ++m) {
    const HostPort door{list[m].host, list[m].port};
    Descriptor other = connect_to(door, last, &why);
    if (other.get() < 0 || !send_note(other.get(), Json::object({{"job", share.job}, {"machine", self}})))
      machine_error("rank ", place.rank, " cannot reach rank ", list_of(list[m].ranks), " at ", door.said(), ": ", why);
    machines.push_back({list[m].ranks, door.said(), std::move(other)});
  }
  std::vector<bool> met(list.size());
  for (std::size_t missing = list.size() - 1 - self; missing > 0;) {
    std::optional<Heard> guest = guests.next(last, machines, place.ranks);
    if (!guest)
      machine_error("rank ", place.rank, ": ", missing, " of ", list.size(), " machines did not come to ",
                    guests.at().said(), " within ", seconds, " s (comm.timeout)", guests.turned_away());
    try {
      if (job_in(guest->note) != share.job) input_error("another job");
      const auto m = static_cast<std::size_t>(
          machine_in(guest->note, static_cast<int>(self) + 1, static_cast<int>(list.size()) - 1));
      if (met[m]) input_error("it is here already");
      met[m] = true, --missing;
      machines.push_back({list[m].ranks, guest->from.said(), std::move(guest->socket)});
    } catch (const Error&) { guests.turn_away(guest->from); }
  }
  return machines;
}

}  // namespace

std::vector<OtherMachine> meet_machines(const RankInJob& place, const std::vector<int>& here, double seconds) {
  if (place.share->address.empty())
    input_error("ranks: ", place.source, " speak of ranks on other machines, and nobody says where rank 0 is: set ",
                "comm.address HOST:PORT, or MASTER_ADDR and MASTER_PORT");
  return place.rank == 0 ? receive_machines(place, here, seconds) : join_machines(place, here, seconds);
}

}  // namespace ov
