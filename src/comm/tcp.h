// TCP between the machines of a job: addresses, doors, connections, and the notes that machines meet with.
//
// A door listens at one address of one interface: of a name that leads here alone (127.0.1.1 in Debian's /etc/hosts) at
// that of the only interface. Whoever can reach it can knock: a note says what job it is of, and beyond that nobody is
// asked to prove anything. Run this inside a network that you trust.
//
//   note   magic "ovnd", version, length (u32 each, in the byte order of the machine), then as many bytes of JSON
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "comm/descriptor.h"

namespace ov {

struct HostPort {
  std::string host, port;
  std::string said() const { return (host.find(':') == host.npos ? host : "[" + host + "]") + ":" + port; }
};
// "node3:29500", "10.0.0.3:29500", "[fd00::3]:29500"; `source` names it in the error.
HostPort host_port(const std::string& text, const std::string& source);
HostPort own_end(int socket), other_end(int socket);  // in numbers

// Where others find what `name` is here, all in numbers: `resolved`, or of a name that leads to this machine alone its
// other addresses, `own`, those of IPv4 if there are some. localhost stays.
std::vector<std::string> as_others_see(const std::string& name, const std::vector<std::string>& resolved,
                                       const std::vector<std::string>& own);

// machine_error when it is not this machine's; input_error for a name that leads here and could be several interfaces.
Descriptor listen_at(const HostPort& at, const std::string& source);
// Tries until `until` (base/clock.h): names may not be known yet, and nobody may listen. -1: in vain, and why.
Descriptor connect_to(const HostPort& to, double until, std::string* why);
Descriptor accept_at(int door);  // -1: nobody

constexpr std::uint32_t note_version = 1;
bool send_note(int socket, const Json& note);

// A note on its way in. No byte behind it is taken from the socket.
class NoteIn {
 public:
  enum class State { coming, whole, other_version, none };  // none: the other end is closed, or says something else
  State hear(int socket);
  Json note() const;  // input_error when it is not JSON
  std::uint32_t version() const;

 private:
  std::string said_;
};

}  // namespace ov
