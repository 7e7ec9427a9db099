#include "text/bpe.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"

namespace ov {
namespace {

constexpr std::size_t longest_remembered = 64;  // bytes; longer words hardly ever come twice
constexpr std::size_t most_remembered = 1 << 16;
constexpr std::int64_t largest_id =
    (std::int64_t{1} << 26) - 1;  // far above any vocabulary; bounds what a bad file allocates

struct Alphabet {
  std::array<unsigned char, 256> order{};
  std::array<char32_t, 256> stand_in{};
  std::array<int, 0x144> byte_of{};  // by stand-in; -1 for none

  Alphabet() {
    byte_of.fill(-1);
    const auto printable = [](int b) {
      return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
    };
    std::size_t n = 0;
    for (const bool pass : {true, false})
      for (int b = 0, shifted = 0; b < 256; ++b) {
        if (printable(b) != pass) continue;
        const auto c = static_cast<char32_t>(pass ? b : 0x100 + shifted++);
        order[n++] = static_cast<unsigned char>(b);
        stand_in[static_cast<std::size_t>(b)] = c;
        byte_of[c] = b;
      }
  }
};

const Alphabet& alphabet() {
  static const Alphabet a;
  return a;
}

// A heap's root is its largest element, so "less" means "to be merged later".
bool later(const Bpe::Workspace::Candidate& a, const Bpe::Workspace::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
}

}  // namespace

const std::array<unsigned char, 256>& byte_order() { return alphabet().order; }

std::string symbol_text(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) append_utf8(out, alphabet().stand_in[static_cast<unsigned char>(c)]);
  return out;
}

std::optional<std::string> symbol_bytes(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c >= alphabet().byte_of.size() || alphabet().byte_of[c] < 0) return std::nullopt;
    out += static_cast<char>(alphabet().byte_of[c]);
  }
  return out;
}

Bpe::Bpe(std::vector<Entry> vocabulary, std::vector<Merge> merges, const std::string& where)
    : merges_(std::move(merges)) {
  std::int64_t limit = 0;
  for (const auto& [text, id] : vocabulary) {
    if (id < 0 || id > largest_id)
      input_error(where, ": symbol '", text, "' has id ", id, ", expected 0..", largest_id);
    if (text.empty()) input_error(where, ": id ", id, " belongs to an empty symbol");
    limit = std::max(limit, id + 1);
  }
  texts_.resize(static_cast<std::size_t>(limit));
  bytes_.resize(texts_.size());
  for (auto& [text, id] : vocabulary) {
    std::string& place = texts_[static_cast<std::size_t>(id)];
    if (!place.empty()) input_error(where, ": id ", id, " belongs to both '", place, "' and '", text, "'");
    place = std::move(text);
    // A symbol outside the alphabet is never produced by a merge; should a model emit it, it decodes to its own text.
    bytes_[static_cast<std::size_t>(id)] = symbol_bytes(place).value_or(place);
  }
  for (std::size_t i = 0; i < texts_.size(); ++i) {
    if (texts_[i].empty()) continue;
    const auto [old, added] = ids_.emplace(texts_[i], static_cast<std::int64_t>(i));
    if (!added) input_error(where, ": symbol '", texts_[i], "' has two ids, ", old->second, " and ", i);
  }
  for (const unsigned char b : byte_order()) {
    const char byte = static_cast<char>(b);
    const std::string text = symbol_text({&byte, 1});
    const auto id = this->id(text);
    if (!id) input_error(where, ": byte ", int{b}, " has no symbol, expected '", text, "' in the vocabulary");
    byte_ids_[b] = static_cast<std::int32_t>(*id);
  }
  add_rules(where);
}

void Bpe::add_rules(const std::string& where) {
  int bits = 4;
  while ((std::size_t{1} << bits) < 2 * merges_.size() + 1) ++bits;
  rules_.resize(std::size_t{1} << bits);
  shift_ = 64 - bits;
  for (std::size_t rank = 0; rank < merges_.size(); ++rank) {
    const std::string &left = merges_[rank].left, &right = merges_[rank].right;
    const auto known = [&](const std::string& text) {
      const auto id = this->id(text);
      if (!id)
        input_error(where, ": merge ", rank + 1, " ('", left, "' '", right, "') needs the symbol '", text,
                    "', which is not in the vocabulary");
      return static_cast<std::uint64_t>(*id);
    };
    const std::uint64_t pair = known(left) << 32 | known(right);
    rules_[slot(pair)] = {pair, static_cast<std::int32_t>(rank), static_cast<std::int32_t>(known(left + right))};
  }
}

std::size_t Bpe::slot(std::uint64_t pair) const {
  std::size_t i = (pair * 0x9E3779B97F4A7C15u) >> shift_;
  while (rules_[i].pair != pair && rules_[i].pair != empty) i = (i + 1) & (rules_.size() - 1);
  return i;
}

const Bpe::Rule* Bpe::rule(std::int32_t left, std::int32_t right) const {
  const auto pair = static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  const Rule& r = rules_[slot(pair)];
  return r.pair == empty ? nullptr : &r;
}

std::optional<std::int64_t> Bpe::id(std::string_view symbol_text) const {
  const auto found = ids_.find(symbol_text);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Bpe::text(std::int64_t id) const {
  if (id < 0 || id >= id_limit() || texts_[static_cast<std::size_t>(id)].empty()) return nullptr;
  return &texts_[static_cast<std::size_t>(id)];
}

const std::string* Bpe::bytes(std::int64_t id) const {
  return text(id) ? &bytes_[static_cast<std::size_t>(id)] : nullptr;
}

void Bpe::encode(std::string_view word, Workspace& w, std::vector<std::int64_t>& ids) const {
  if (word.size() == 1) {
    ids.push_back(byte_ids_[static_cast<unsigned char>(word[0])]);
    return;
  }
  const bool short_word = word.size() <= longest_remembered;
  if (short_word)
    if (const auto known = w.seen.find(word); known != w.seen.end()) {
      ids.insert(ids.end(), known->second.begin(), known->second.end());
      return;
    }
  merge(word, w);
  std::vector<std::int32_t> result;
  for (const auto& s : w.symbols)
    if (s.id >= 0) result.push_back(s.id);
  ids.insert(ids.end(), result.begin(), result.end());
  if (!short_word) return;
  if (w.seen.size() >= most_remembered) w.seen.clear();
  w.seen.emplace(word, std::move(result));
}

void Bpe::merge(std::string_view word, Workspace& w) const {
  auto& symbols = w.symbols;
  auto& heap = w.heap;
  const auto n = static_cast<std::int32_t>(word.size());
  symbols.clear();
  heap.clear();
  for (std::int32_t i = 0; i < n; ++i)
    symbols.push_back(
        {byte_ids_[static_cast<unsigned char>(word[static_cast<std::size_t>(i)])], i - 1, i + 1 < n ? i + 1 : -1});

  const auto symbol = [&](std::int32_t i) -> Workspace::Symbol& { return symbols[static_cast<std::size_t>(i)]; };
  const auto consider = [&](std::int32_t at) {
    if (at < 0 || symbol(at).next < 0) return;
    if (const Rule* r = rule(symbol(at).id, symbol(symbol(at).next).id)) {
      heap.push_back({r->rank, at, r->result});
      std::push_heap(heap.begin(), heap.end(), later);
    }
  };
  for (std::int32_t i = 0; i < n; ++i) consider(i);

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Workspace::Candidate best = heap.back();
    heap.pop_back();
    Workspace::Symbol& left = symbol(best.at);
    if (left.id < 0 || left.next < 0) continue;
    Workspace::Symbol& right = symbol(left.next);
    const Rule* r = rule(left.id, right.id);
    if (!r || r->rank != best.rank) continue;  // one of the two has merged with another neighbour since
    left.id = best.result;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbol(left.next).previous = best.at;
    consider(left.previous);
    consider(best.at);
  }
}

}  // namespace ov
