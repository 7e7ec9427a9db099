// What httplib 0.11 does not tell a handler: whether its client is still there.
#pragma once
#include "serve/http.h"

namespace ov::serve {

// The socket of a request: the one whose other end the client is, at the server's port, since both ends may be of this
// process. -1 when there is none.
int socket_of(const httplib::Request& request);
bool left(int socket);  // its client closed, or closed its half

}  // namespace ov::serve
