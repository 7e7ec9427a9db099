#include "base/config.h"

#include <doctest/doctest.h>

#include "base/error.h"
#include "base/io/file.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

using namespace ov;
using namespace ov::test;

namespace {

const KeyTable& table() {
  static const KeyTable t({{"cook", "DISH [SIDE]", "cooks"}, {"wash", "", "washes"}},
                          {
                              {"stove.heat", "heat", 0.5, Allowed(0, 1), "cook", "how hot"},
                              {"stove.plates", "", std::int64_t{4}, at_least(1), "cook", "how many", Resume::free},
                              {"stove.fan", "fan", false, {}, "cook", "turns it on"},
                              {"stove.fuel", "", "gas", "gas wood", "cook", "what burns"},
                              {"herbs", "", Strings{"salt"}, "salt thyme sage", "cook", "what is added"},
                              {"guests", "", Strings{}, {}, "cook", "who comes"},
                              {"note.to.self", "", "", {}, "cook wash", "reminder"},
                              {"wash.water", "heat", 30.0, at_least(0), "wash", "how warm"},
                          });
  return t;
}

Config cook(Strings arguments) {
  arguments.insert(arguments.begin(), "soup");
  return Config::parse(table(), "cook", arguments);
}

std::string error_of(const std::string& command, const Strings& arguments) {
  return thrown([&] { Config::parse(table(), command, arguments); });
}

std::string file_error(const std::string& content) {
  const ScratchDirectory dir;
  write_durably(dir / "c.json", content);
  std::string message = error_of("cook", {"soup", "--config", dir / "c.json"});
  const auto at = message.find(dir / "c.json");
  return at == message.npos ? message : message.replace(at, (dir / "c.json").size(), "FILE");
}

}  // namespace

TEST_CASE("config: what files say of a section, of any command's keys, where the command line says nothing else") {
  const ScratchDirectory dir;
  write_durably(dir / "a.json", R"({"stove": {"plates": 2, "heat": 0.1}, "wash.water": 40})");
  write_durably(dir / "b.json", R"({"stove": {"plates": 3}})");
  const Config c = cook({"--config", dir / "a.json", dir / "b.json", "--heat", "0.2"});
  const auto said = c.in_files("stove");
  REQUIRE(said.size() == 1);
  CHECK(said[0].key == "stove.plates");
  CHECK(said[0].value == Value(std::int64_t{3}));
  CHECK(said[0].file == dir / "b.json");
  CHECK(c.in_files("wash.water").size() == 1);
  CHECK(c.in_files("sto").empty());
  CHECK(c.in_files("guests").empty());
  CHECK(c.unread().size() == cook({}).unread().size());
}

TEST_CASE("config: a key that a file gives twice, in one way or in both, is an error") {
  const ScratchDirectory dir;
  const auto said = [&](const std::string& text) {
    write_durably(dir / "a.json", text);
    return test::thrown([&] { cook({"--config", dir / "a.json"}); });
  };
  CHECK(said(R"({"stove": {"plates": 2}, "stove.heat": 0.1})") == "");
  CHECK(test::contains(said(R"({"stove": {"plates": 2}, "stove.plates": 3})"),
                       "a.json: stove.plates: stands there twice"));
  CHECK(test::contains(said(R"({"stove": {"plates": 2}, "stove": {"heat": 0.1}})"),
                       "a.json:1:26: the key \"stove\" stands twice"));
}

TEST_CASE("config: later sources win: default, files in order, command line") {
  const ScratchDirectory dir;
  write_durably(dir / "a.json",
                "// comment\n{\"stove\": {\"heat\": 0.1, \"plates\": 2}, \"herbs\": [\"sage\", \"thyme\"]}");
  write_durably(dir / "b.json", R"({"stove.plates": 3, "wash.water": 60})");
  const Config c = cook({"--config", dir / "a.json", dir / "b.json", "--stove.fuel=wood"});
  CHECK(c.number("stove.heat") == 0.1);
  CHECK(c.integer("stove.plates") == 3);
  CHECK(c.text("stove.fuel") == "wood");
  CHECK(c.list("herbs") == Strings{"sage", "thyme"});
  CHECK(c.list("guests").empty());
  CHECK(!c.flag("stove.fan"));
  // The command line wins over a file even when it comes first.
  CHECK(cook({"--heat=1", "--config=" + (dir / "a.json")}).number("stove.heat") == 1);
}

TEST_CASE("config: both spellings of an argument, bare flags, lists in one piece and in several") {
  const Config c =
      cook({"--heat", "0.25", "--fan", "--guests", "Ada", "Alan Turing", "--stove.plates=8", "--guests=Emmy"});
  CHECK(c.number("stove.heat") == 0.25);
  CHECK(c.flag("stove.fan"));
  CHECK(c.list("guests") == Strings{"Ada", "Alan Turing", "Emmy"});
  CHECK(c.integer("stove.plates") == 8);
  CHECK(!cook({"--fan", "false"}).flag("stove.fan"));
  CHECK(cook({"--note.to.self=--odd = text"}).text("note.to.self") == "--odd = text");
  CHECK(cook({"--note.to.self="}).text("note.to.self") == "");
  // A bare flag does not swallow an operand; a list on the command line replaces the default.
  const Config d = Config::parse(table(), "cook", {"--fan", "soup", "bread", "--herbs", "sage"});
  CHECK(d.operands() == Strings{"soup", "bread"});
  CHECK(d.list("herbs") == Strings{"sage"});
}

TEST_CASE("config: a short name belongs to the key that the command uses") {
  CHECK(Config::parse(table(), "wash", {"--heat", "95"}).number("wash.water") == 95);
  CHECK(cook({"--heat", "1"}).number("stove.heat") == 1);
}

TEST_CASE("config: what is wrong on the command line is named, with what was expected and what came") {
  CHECK(error_of("cook", {"soup", "--stove.haet=1"}) ==
        "cook: unknown key '--stove.haet'; did you mean '--stove.heat'?");
  // Without its section; in the right section nothing near; both alike.
  CHECK(error_of("cook", {"soup", "--plates", "3"}) == "cook: unknown key '--plates'; did you mean '--stove.plates'?");
  CHECK(error_of("cook", {"soup", "--water", "3"}) == "cook: unknown key '--water'");  // another command's
  CHECK(error_of("cook", {"soup", "--stove.watts=1"}) == "cook: unknown key '--stove.watts'");
  CHECK(error_of("cook", {"soup", "--stvoe.heat=1"}) ==
        "cook: unknown key '--stvoe.heat'; did you mean '--stove.heat'?");
  CHECK(error_of("cook", {"soup", "--heat=2"}) == "--heat: expected a number from 0 to 1, got '2'");
  CHECK(error_of("cook", {"soup", "--heat=nan"}) == "--heat: expected a number from 0 to 1, got 'nan'");
  CHECK(error_of("wash", {"--heat=inf"}) == "--heat: expected a number of at least 0, got 'inf'");
  CHECK(error_of("cook", {"soup", "--" + std::string(100000, 'k')}).size() < 500);
  CHECK(error_of("cook", {"soup", "--stove.plates", std::string(100000, '9')}).size() < 500);
  CHECK(error_of("cook", {"soup", "--heat=warm"}) == "--heat: expected a number from 0 to 1, got 'warm'");
  CHECK(error_of("cook", {"soup", "--stove.plates", "2.5"}) ==
        "--stove.plates: expected an integer of at least 1, got '2.5'");
  CHECK(error_of("cook", {"soup", "--stove.plates", "99999999999999999999"}).find("got '99999999999999999999'") !=
        std::string::npos);
  CHECK(error_of("cook", {"soup", "--stove.plates", "-1"}) ==
        "--stove.plates: expected an integer of at least 1, got '-1'");
  CHECK(error_of("cook", {"soup", "--stove.fuel", "wod"}) ==
        "--stove.fuel: expected one of gas wood, got 'wod'; did you mean 'wood'?");
  CHECK(error_of("cook", {"soup", "--herbs", "salt", "pepper"}) ==
        "--herbs: expected some of salt thyme sage, got 'pepper'");
  CHECK(error_of("cook", {"soup", "--heat"}) == "--heat: expected a number from 0 to 1, got nothing");
  CHECK(error_of("cook", {"soup", "--heat", "--fan"}) == "--heat: expected a number from 0 to 1, got nothing");
  CHECK(error_of("cook", {"soup", "--fan=maybe"}) == "--fan: expected true or false, got 'maybe'");
  CHECK(error_of("wash", {"--stove.fan"}) == "--stove.fan: 'wash' does not use this key; it belongs to: cook");
  CHECK(error_of("cook", {}) == "cook: expected DISH [SIDE]; DISH is missing");
  CHECK(error_of("cook", {"a", "b", "c"}) == "cook: unexpected argument 'c'; it takes DISH [SIDE]");
  CHECK(error_of("wash", {"a"}) == "wash: unexpected argument 'a'; it takes keys only");
  CHECK(error_of("cok", {}).starts_with("no command 'cok'; did you mean 'cook'?"));
}

TEST_CASE("config: what is wrong in a file is named with the file and the key") {
  CHECK(file_error(R"({"stove": {"haet": 1}})") == "FILE: unknown key 'stove.haet'; did you mean 'stove.heat'?");
  CHECK(file_error(R"({"stvoe": {"heat": 1}})") == "FILE: unknown key 'stvoe.heat'; did you mean 'stove.heat'?");
  CHECK(file_error(R"({"plates": 3})") == "FILE: unknown key 'plates'; did you mean 'stove.plates'?");
  CHECK(file_error(R"({"fan": true})") == "FILE: unknown key 'fan'; did you mean 'stove.fan'?");
  CHECK(file_error(R"({"heat": 1})") == "FILE: unknown key 'heat'; did you mean 'stove.heat'?");    // of this command
  CHECK(file_error(R"({"water": 1})") == "FILE: unknown key 'water'; did you mean 'wash.water'?");  // of another
  CHECK(file_error(R"({"stove": {"heat": "1"}})") == "FILE: stove.heat: expected a number from 0 to 1, got \"1\"");
  CHECK(file_error(R"({"stove.heat": -1})") == "FILE: stove.heat: expected a number from 0 to 1, got -1");
  CHECK(file_error(R"({"stove.plates": 2.0})").starts_with("FILE: stove.plates: expected an integer"));
  CHECK(file_error(R"({"stove.fan": 1})") == "FILE: stove.fan: expected true or false, got 1");
  CHECK(file_error(R"({"herbs": ["salt", 3]})") == "FILE: herbs: expected some of salt thyme sage, got [\"salt\",3]");
  CHECK(file_error(R"({"stove.fuel": "wod"})") ==
        "FILE: stove.fuel: expected one of gas wood, got \"wod\"; did you mean 'wood'?");
  CHECK(file_error(R"({"herbs": "pepper"})") == "FILE: herbs: expected some of salt thyme sage, got 'pepper'");
  for (const std::string& key : {std::string("stove.plates"), std::string(100000, 'k')})
    CHECK(file_error("{\"" + key + "\": \"" + std::string(100000, 'x') + "\"}").size() < 500);
  CHECK(file_error("[1]") == "FILE: expected an object of keys, found an array");
  CHECK(file_error("{\"herbs\": \n ,}").starts_with("FILE:2:"));
  CHECK(error_of("cook", {"soup", "--config", "/nowhere/c.json"}).find("/nowhere/c.json") != std::string::npos);
}

TEST_CASE("config: the dump gives the same values when it is read as a file") {
  const ScratchDirectory dir;
  const Config c = cook({"--heat=0.3", "--fan", "--guests", "a", "b", "--note.to.self", "say \"hi\""});
  write_durably(dir / "dump.json", c.dump().dump(2));
  const Config again = cook({"--config", dir / "dump.json"});
  CHECK(again.dump().dump() == c.dump().dump());
  CHECK(again.text("note.to.self") == "say \"hi\"");
  CHECK(c.dump().find("wash") == nullptr);
  CHECK(cook({}).dump().dump() != c.dump().dump());
}

TEST_CASE("config: the start-up table names the files, and what the command line sets to something else") {
  const ScratchDirectory dir;
  write_durably(dir / "c.json", R"({"stove": {"heat": 0.1, "plates": 3, "fuel": "wood"}})");
  const Config c = cook({"--config", dir / "c.json", "--fan", "--stove.plates", "5", "--heat", "0.1"});
  CHECK(c.table() == "  " + (dir / "c.json") + "\n  stove.plates  5\n  stove.fan     true\n");
  CHECK(cook({"--fan", "false"}).table() == "");
  CHECK(c.free_keys() == Strings{"stove.plates"});
}

TEST_CASE("config: keys that nobody read are known, and refused where the command line sets them") {
  const ScratchDirectory dir;
  write_durably(dir / "c.json", R"({"stove": {"fuel": "wood"}})");
  const Config c = cook({"--config", dir / "c.json", "--fan", "--heat", "0.1", "--herbs", "sage"});
  CHECK(thrown([&] { c.refuse_unread("here"); }) == "cook: --stove.heat, --stove.fan, --herbs have no effect here");
  CHECK(c.unread() ==
        Strings{"stove.heat", "stove.plates", "stove.fan", "stove.fuel", "herbs", "guests", "note.to.self"});
  c.number("stove.heat");
  c.list("herbs");
  CHECK(thrown([&] { c.refuse_unread("on a stove"); }) == "cook: --stove.fan has no effect on a stove");
  c.flag("stove.fan");
  c.refuse_unread("here");
  CHECK(c.texts("note.to.self") == Strings{"soup", "wood", "sage"});
}

TEST_CASE("config: reading a key that the command does not declare is a mistake of ours, not of the user") {
  CHECK_THROWS_AS(cook({}).number("wash.water"), std::logic_error);
  CHECK_THROWS_AS(cook({}).flag("stove.heat"), std::logic_error);
  CHECK_THROWS_AS(cook({}).text("nowhere"), std::logic_error);
  CHECK_THROWS_WITH_AS(Config::parse(table(), "wash", {}).required("note.to.self"),
                       "wash: --note.to.self is missing: reminder", Error);
  CHECK_THROWS_WITH_AS(cook({}).required_list("guests"), "cook: --guests is missing: who comes", Error);
  CHECK(thrown([] { cook({"--guests", "ann", "--guests="}).required_list("guests"); }) == "guests: an entry is empty");
}

TEST_CASE("config: whether anything of a section is given") {
  CHECK_FALSE(cook({}).given("stove"));
  CHECK(cook({"--heat", "0.25"}).given("stove"));
  CHECK(cook({"--heat", "0.25"}).given("stove.heat"));
  CHECK_FALSE(cook({"--heat", "0.25"}).given("stove.fan"));
  CHECK_FALSE(cook({"--heat", "0.25"}).given("sto"));
}

TEST_CASE("config: help and the markdown table name every key with its default and range") {
  const std::string help = table().help("cook");
  CHECK(help.find("--heat, --stove.heat") != std::string::npos);
  CHECK(help.find("how hot (a number from 0 to 1; default 0.5)") != std::string::npos);
  CHECK(help.find("wash.water") == std::string::npos);
  // A list's default is shown as one types it.
  CHECK(to_text(Strings{"salt", "thyme"}) == "salt thyme");
  CHECK(cook({"--herbs", "salt", "thyme"}).table() == "  herbs  salt thyme\n");
  for (const Key& key : table().keys())
    CHECK(table().markdown().find("| `" + std::string(key.name) + "` |") != std::string::npos);
  CHECK(table().help().find("wash  washes") != std::string::npos);
}
