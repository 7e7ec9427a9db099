// onevision COMMAND ...: the only place where errors become exit codes.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include "base/revision.h"
#include "cli/keys.h"
#include "cli/verbs.h"
#include "comm/launcher.h"

namespace {

using namespace ov;

bool asks_for_help(const std::string& argument) { return argument == "--help" || argument == "-h"; }

Exit run(const Strings& arguments) {
  std::string command = arguments.empty() ? "help" : arguments[0];
  Strings rest(arguments.begin() + !arguments.empty(), arguments.end());
  if (command == "--version") {
    cli::print(cat("onevision ", revision(), ", compiled by ", compiler(), "\n"));
    return Exit::done;
  }
  if (asks_for_help(command)) command = "help";
  cli::keys().command(command);  // an unknown command before anything about its arguments
  if (command != "help" && std::any_of(rest.begin(), rest.end(), asks_for_help)) rest = {command}, command = "help";
  const Command& verb = cli::keys().command(command);
  const Config config = Config::parse(cli::keys(), command, rest);
  if (verb.announces && cli::first_rank())
    std::fprintf(stderr, "onevision %s\n%s", command.c_str(), config.table().c_str());
  return verb.run(config);
}

// A file opened while one of the first three descriptors is closed would get its number, and with it what is written
// to stdout or stderr.
void open_standard_files() {
  for (const int fd : {0, 1, 2})
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF) ::open("/dev/null", O_RDWR);
}

int fail(Exit exit, std::string message) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  if (message.empty() || hand_over_error(exit, message)) return static_cast<int>(exit);  // another rank says it
  std::fprintf(stderr, "onevision: %s\n", message.c_str());
  return static_cast<int>(exit);
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_files();
  std::signal(SIGXFSZ, SIG_IGN);  // a write past RLIMIT_FSIZE is EFBIG, an error like any other
  try {
    return static_cast<int>(run(Strings(argv + 1, argv + argc)));
  } catch (const Error& e) { return fail(e.exit(), e.what()); } catch (const std::bad_alloc&) {
    return fail(Exit::machine_failed, "out of memory");
  } catch (const std::exception& e) { return fail(Exit::machine_failed, std::string("internal error: ") + e.what()); }
}
