#include "store/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/io/file.h"
#include "base/text.h"

namespace ov {

struct Yaml::Node {
  YAML::Node is;
};

namespace {

// Where documents begin; what is in them goes nowhere.
struct Places : YAML::EventHandler {
  using Mark = YAML::Mark;
  using Anchor = YAML::anchor_t;
  using Style = YAML::EmitterStyle::value;
  std::vector<Mark> documents;

  void OnDocumentStart(const Mark& at) override { documents.push_back(at); }
  void OnDocumentEnd() override {}
  void OnNull(const Mark&, Anchor) override {}
  void OnAlias(const Mark&, Anchor) override {}
  void OnScalar(const Mark&, const std::string&, Anchor, const std::string&) override {}
  void OnSequenceStart(const Mark&, const std::string&, Anchor, Style) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const Mark&, const std::string&, Anchor, Style) override {}
  void OnMapEnd() override {}
};

// Of a file that begins with a comma yaml-cpp makes empty documents without end, all in one place, so its own reader of
// several is not asked.
void require_one_document(const std::string& text, const std::string& path) {
  std::istringstream in(text);
  YAML::Parser parser(in);
  Places places;
  const auto& begun = places.documents;
  while (begun.size() < 2 && parser.HandleNextDocument(places)) {}
  if (begun.size() < 2) return;
  if (begun[1].pos == begun[0].pos) input_error(path, ":", begun[0].line + 1, ": malformed YAML: a comma in front");
  input_error(path, ":", begun[1].line + 1, ": a second document; a file holds one here");
}

}  // namespace

Yaml Yaml::read(const std::string& path) {
  const std::string text = read_file(path);
  try {
    require_one_document(text, path);
    return {path, std::make_shared<const Node>(Node{YAML::Load(text)})};
  } catch (const YAML::Exception& e) { input_error(path, ":", e.mark.line + 1, ": malformed YAML: ", shown(e.msg)); }
}

Yaml::operator bool() const { return node_->is.IsDefined() && !node_->is.IsNull(); }
bool Yaml::is_list() const { return node_->is.IsSequence(); }
bool Yaml::is_map() const { return node_->is.IsMap(); }
std::string Yaml::where() const {
  return cat(path_, ":", node_->is.IsDefined() ? std::max(node_->is.Mark().line, 0) + 1 : 1);
}

std::string Yaml::word() const {
  if (!*this) return "";
  if (!node_->is.IsScalar()) input_error(where(), ": expected a plain word, found a ", is_list() ? "list" : "map");
  return node_->is.Scalar();
}

std::vector<Yaml> Yaml::items() const {
  std::vector<Yaml> out;
  if (!*this) return out;
  if (!is_list()) input_error(where(), ": expected a list, found ", is_map() ? "a map" : cat("'", shown(word()), "'"));
  for (const YAML::Node& item : node_->is) out.push_back({path_, std::make_shared<const Node>(Node{item})});
  return out;
}

std::vector<std::string> Yaml::words() const {
  std::vector<std::string> out;
  for (const Yaml& item : items()) out.push_back(item.word());
  return out;
}

std::vector<std::pair<std::string, Yaml>> Yaml::members() const {
  std::vector<std::pair<std::string, Yaml>> out;
  if (!*this) return out;
  if (!is_map())
    input_error(where(), ": expected 'key: value', found ", is_list() ? "a list" : cat("'", shown(word()), "'"));
  std::set<std::string> keys;
  for (const auto& entry : node_->is) {
    const Yaml key(path_, std::make_shared<const Node>(Node{entry.first}));
    if (!keys.insert(key.word()).second) input_error(key.where(), ": '", shown(key.word()), "' stands there twice");
    out.push_back({key.word(), Yaml(path_, std::make_shared<const Node>(Node{entry.second}))});
  }
  return out;
}

Yaml Yaml::operator[](const std::string& key) const {
  for (auto& [name, value] : members())
    if (name == key) return value;
  return {path_, std::make_shared<const Node>(Node{YAML::Node(YAML::NodeType::Undefined)})};
}

double Yaml::number(double otherwise) const {
  if (!*this) return otherwise;
  const std::string text = word();
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    input_error(where(), ": expected a number, found '", shown(text), "'");
  return value;
}

Json Yaml::json() const {
  std::int64_t left = 100000;  // an alias may stand for much, or for what it stands in
  const auto of = [&](const auto& self, const Yaml& y, int depth) -> Json {
    if (--left < 0 || depth > 64) input_error(where(), ": holds too much, or itself");
    if (!y) return {};
    if (y.is_list()) {
      Json list = Json::array();
      for (const Yaml& item : y.items()) list.push(self(self, item, depth + 1));
      return list;
    }
    if (y.is_map()) {
      Json map = Json::object();
      for (const auto& [key, value] : y.members()) map.set(key, self(self, value, depth + 1));
      return map;
    }
    const std::string text = y.word();
    if (y.node_->is.Tag() == "!") return text;  // quoted
    if (text == "true" || text == "false") return text == "true";
    try {
      if (const Json value = Json::parse(text, ""); value.is_number()) return value;
    } catch (const Error&) {}
    return text;
  };
  return of(of, *this, 0);
}

}  // namespace ov
