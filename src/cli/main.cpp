// onevision COMMAND ...: the only place where errors become exit codes.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>

#include "cli/keys.h"
#include "cli/verbs.h"

namespace {

using namespace ov;

struct Verb {
  std::string_view name;
  Exit (*run)(const Config&);
  bool announces = false;  // long work: what is not at its default is shown first
};

const Verb verbs[] = {
    {"synth", cli::synth},
    {"tokenizer", cli::tokenizer, true},
    {"pretrain", cli::pretrain, true},
    {"merge", cli::merge, true},
    {"pack", cli::pack},
    {"train", cli::train, true},
    {"generate", cli::generate},
    {"recall", cli::recall},
    {"eval", cli::eval},
    {"report", cli::report},
    {"inspect", cli::inspect},
    {"trace", cli::trace},
    {"diff", cli::diff},
    {"plan", cli::plan},
    {"bench", cli::bench},
    {"help", cli::help},
};

bool asks_for_help(const std::string& argument) { return argument == "--help" || argument == "-h"; }

Exit run(const Strings& arguments) {
  std::string command = arguments.empty() ? "help" : arguments[0];
  Strings rest(arguments.begin() + !arguments.empty(), arguments.end());
  if (asks_for_help(command)) command = "help";
  cli::keys().command(command);  // an unknown command before anything about its arguments
  if (command != "help" && std::any_of(rest.begin(), rest.end(), asks_for_help)) rest = {command}, command = "help";
  const Config config = Config::parse(cli::keys(), command, rest);
  for (const Verb& verb : verbs) {
    if (verb.name != command) continue;
    if (verb.announces) std::fprintf(stderr, "onevision %s\n%s", command.c_str(), config.table().c_str());
    return verb.run(config);
  }
  throw std::logic_error("command '" + command + "' is declared and does nothing");
}

int fail(Exit exit, std::string message) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::fprintf(stderr, "onevision: %s\n", message.c_str());
  return static_cast<int>(exit);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return static_cast<int>(run(Strings(argv + 1, argv + argc)));
  } catch (const Error& e) { return fail(e.exit(), e.what()); } catch (const std::bad_alloc&) {
    return fail(Exit::machine_failed, "out of memory");
  } catch (const std::exception& e) { return fail(Exit::machine_failed, std::string("internal error: ") + e.what()); }
}
