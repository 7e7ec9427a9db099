// Byte-pair encoding of one word (Sennrich et al. 2016, over bytes as in GPT-2), and the alphabet its files are
// written in.
//
// A word starts as its bytes, one symbol each. While two neighbours are a known pair, the pair of lowest rank (its
// line in merges.txt) is merged, the leftmost first among equals.
//
// Files cannot hold raw bytes, so each byte has a printable stand-in: '!'..'~', U+A1..U+AC and U+AE..U+FF stand for
// themselves, the other 68 bytes for U+0100, U+0101 ... in order. A blank is U+0120. "Symbol text" below is that
// spelling.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace ov {

// The 256 byte values in the order of their stand-ins: '!' first, the 68 shifted ones last. These are ids 0..255 in
// GPT-2 and Qwen2.
const std::array<unsigned char, 256>& byte_order();

std::string symbol_text(std::string_view bytes);
std::optional<std::string> symbol_bytes(std::string_view text);  // nothing when a character is not of the alphabet

struct Merge {
  std::string left, right;  // symbol text
};

class Bpe {
 public:
  using Entry = std::pair<std::string, std::int64_t>;  // symbol text, id

  // What one thread needs beside the tables: the words it has seen, and buffers. It never changes a result.
  struct Workspace {
    struct Hash {
      using is_transparent = void;
      std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
    };
    struct Symbol {
      std::int32_t id, previous,
          next;  // neighbours in the word, -1 at its ends; id -1 once merged into the left neighbour
    };
    struct Candidate {
      std::int32_t rank, at, result;  // merge symbol `at` with its right neighbour
    };
    std::unordered_map<std::string, std::vector<std::int32_t>, Hash, std::equal_to<>> seen;
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  // `where` names the source in errors. Throws input_error when a byte has no symbol, a text or an id occurs twice
  // or is out of range, or a merge names a symbol that the vocabulary lacks.
  Bpe(std::vector<Entry> vocabulary, std::vector<Merge> merges, const std::string& where);
  Bpe(Bpe&&) = default;
  Bpe(const Bpe&) = delete;

  // Appends the ids of one word (any bytes).
  void encode(std::string_view word, Workspace& workspace, std::vector<std::int64_t>& ids) const;

  std::optional<std::int64_t> id(std::string_view symbol_text) const;
  const std::string* text(std::int64_t id) const;   // symbol text; null when no symbol has this id
  const std::string* bytes(std::int64_t id) const;  // what it decodes to
  std::int64_t id_limit() const { return static_cast<std::int64_t>(texts_.size()); }  // one past the largest id
  const std::vector<Merge>& merges() const { return merges_; }                        // in order of rank

 private:
  struct Rule {
    std::uint64_t pair = empty;  // left id << 32 | right id
    std::int32_t rank = 0, result = 0;
  };
  static constexpr std::uint64_t empty = ~std::uint64_t{0};

  void add_rules(const std::string& where);
  std::size_t slot(std::uint64_t pair) const;
  const Rule* rule(std::int32_t left, std::int32_t right) const;
  void merge(std::string_view word, Workspace& w) const;

  std::vector<Merge> merges_;
  std::vector<std::string> texts_, bytes_;                  // by id; empty where no symbol has the id
  std::unordered_map<std::string_view, std::int64_t> ids_;  // views into texts_, which never grows after construction
  std::array<std::int32_t, 256> byte_ids_{};
  std::vector<Rule> rules_;  // open addressing, a power of two
  int shift_ = 0;
};

}  // namespace ov
