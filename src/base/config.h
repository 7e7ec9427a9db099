// Configuration: keys are declared once, as data. Parser, help, start-up table, the dump in a checkpoint, and
// the message for a misspelt key all come from that one declaration (src/cli/*keys.cpp).
//
// A value comes from, later ones win: the key's default; --config FILE... in order; the command line.
//
//   --optimizer.lr=1e-4    --optimizer.lr 1e-4    --lr 1e-4      a key, or its short name
//   --train.recompute      --train.recompute false               bare: true
//   --image a.png b.jpg    --image a.png --image b.jpg           a list, up to the next "--"
//
// A value that itself begins with "--" needs the form with "=". A file is JSON with // comments; {"optimizer": {"lr":
// 1e-4}} and {"optimizer.lr": 1e-4} mean the same. It may hold keys of other commands, so that one file can describe a
// whole recipe; on the command line such a key is an error.
//
// Errors (input_error): an unknown key, with the nearest known name; a value of the wrong type or out of range, with
// the key, what was expected and what came. Those from a file begin with its name.
#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace ov {

class Config;

using Strings = std::vector<std::string>;
using Value = std::variant<bool, std::int64_t, double, std::string, Strings>;

// What a value may be: a range of numbers, ends included, or one (for a list: each) of the words in `choices`.
struct Allowed {
  Allowed() = default;
  Allowed(double low, double high) : low(low), high(high) {}
  Allowed(const char* choices) : choices(choices) {}
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
  std::string_view choices;  // separated by blanks; empty: any
};
inline Allowed at_least(double low) { return {low, std::numeric_limits<double>::infinity()}; }

// May a resumed run give a key another value? `free`: yes, the run is the same all the same. Paths are free where what
// they lead to is compared by its content.
enum class Resume { same, free };

// One row of the table. The type of the default is the key's type.
struct Key {
  std::string_view name;        // "optimizer.lr"
  std::string_view short_name;  // "lr" for --lr, or empty; two keys may share one when no command uses both
  Value value;
  Allowed allowed;
  std::string_view commands;  // that use it, separated by blanks
  std::string_view help;
  Resume resume = Resume::same;
};

struct Command {
  std::string_view name;
  std::string_view operands;  // "A B"; one in brackets may be left out; "-- A...": all that follows "--"
  std::string_view summary;
  Exit (*run)(const Config&) = nullptr;
  bool announces = false;  // long work: what it is told is shown first
};

class KeyTable {
 public:
  KeyTable(std::vector<Command> commands, std::vector<Key> keys);

  const std::vector<Command>& commands() const { return commands_; }
  const std::vector<Key>& keys() const { return keys_; }
  const Command& command(std::string_view name) const;  // input_error with the nearest name when there is none
  const Key* find(std::string_view name) const;         // by full name; null when there is none
  std::vector<const Key*> of(std::string_view command) const;

  std::string help() const;                          // the commands, one a line
  std::string help(std::string_view command) const;  // its keys
  std::string markdown() const;                      // all keys as one table

 private:
  std::vector<Command> commands_;
  std::vector<Key> keys_;
};

class Config {
 public:
  // `arguments` without the program's and the command's name. The table must outlive the result.
  static Config parse(const KeyTable& table, std::string_view command, const Strings& arguments);

  bool flag(std::string_view key) const { return get<bool>(key); }
  std::int64_t integer(std::string_view key) const { return get<std::int64_t>(key); }
  double number(std::string_view key) const { return get<double>(key); }
  const std::string& text(std::string_view key) const { return get<std::string>(key); }
  const Strings& list(std::string_view key) const { return get<Strings>(key); }
  // A text or list that must not be empty: input_error says which argument to give.
  const std::string& required(std::string_view key) const;
  const Strings& required_list(std::string_view key) const;
  const Strings& operands() const { return operands_; }  // arguments without "--"
  bool given(std::string_view section) const;            // a key of it, "text" or "text.layers", has not its default's

  // What files say of a section or a key, of this command's or of others, where the command line does not say another
  // thing. It does not count as read. The values live as long as this.
  struct Filed {
    std::string_view key;
    const Value& value;
    std::string_view file;
  };
  std::vector<Filed> in_files(std::string_view section) const;

  Json dump() const;  // every key of the command, nested; as a --config file it gives the same values
  // The files, and one line for every key that the command line sets to another value than they do.
  std::string table() const;
  Strings free_keys() const;  // keys of the command that a resumed run may change
  Strings defaults() const;   // keys of the command that have their default's value because nobody gave one

  // Which of the command's keys a verb really reads: a key that it has not read when it begins to work has no effect.
  Strings unread() const;
  // input_error that names those of them which the command line sets: "... have no effect " + why. A file may hold
  // them, since it may describe a whole recipe.
  void refuse_unread(std::string_view why) const;
  // Every text of the command, also in lists, and every operand, but for the key `except`; they do not count as read.
  Strings texts(std::string_view except) const;

 private:
  struct Setting {
    const Key* key = nullptr;
    Value value;
    std::string source = "default";
    bool typed = false;  // on the command line
    mutable bool read = false;
  };
  std::vector<const Setting*> own() const;  // of the command
  [[noreturn]] void missing(std::string_view key) const;
  const Setting& setting(std::string_view key) const;
  template <class T>
  const T& get(std::string_view key) const;

  void read_file(const KeyTable& table, const std::string& path);
  void read_object(const KeyTable& table, const Json& object, const std::string& prefix, const std::string& path);
  void set(const Key& key, Value value, const std::string& where, const std::string& source, const std::string& typed);

  const Command* command_ = nullptr;
  std::vector<Setting> settings_;  // in the table's order
  Strings files_, operands_;
};

std::string to_text(const Value& value);  // as one would type it; lists with blanks

}  // namespace ov
