#include "store/parquet/rows.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/utf8.h"

namespace ov {
namespace {

void append_string(std::string_view text, std::string* out) {
  if (utf8_prefix(text) != text.size()) input_error("a text that is not UTF-8");
  *out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') *out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) {
      *out += c;
    } else {
      constexpr char hex[] = "0123456789abcdef";
      (*out += "\\u00") += {hex[c >> 4], hex[c & 15]};
    }
  }
  *out += '"';
}

template <class T>
void append_number(T value, std::string* out) {
  char text[64];
  out->append(text, std::to_chars(text, text + sizeof text, value).ptr - text);
}

void append_real(double value, std::string* out) {
  if (std::isnan(value)) *out += "\"NaN\"";
  else if (std::isinf(value)) *out += value < 0 ? "\"-Infinity\"" : "\"Infinity\"";
  else {
    const std::size_t before = out->size();
    append_number(value, out);
    if (out->find_first_of(".e", before) == out->npos) *out += ".0";
  }
}

// IEEE 754 binary16.
double half(std::string_view bytes) {
  const int bits = static_cast<unsigned char>(bytes[0]) | static_cast<unsigned char>(bytes[1]) << 8;
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double size = exponent == 31 ? (fraction ? NAN : INFINITY)
                      : exponent     ? std::ldexp(1024 + fraction, exponent - 25)
                                     : std::ldexp(fraction, -24);
  return bits & 0x8000 ? -size : size;
}

// The digits of a number in two's complement, the highest byte first.
std::string digits(std::string_view big_endian, bool* negative) {
  if (big_endian.size() > 64) input_error("a decimal of ", big_endian.size(), " bytes");
  std::vector<unsigned> base256;  // the highest first
  for (const char c : big_endian) base256.push_back(static_cast<unsigned char>(c));
  *negative = !base256.empty() && base256[0] & 128;
  if (*negative) {
    unsigned carry = 1;
    for (std::size_t i = base256.size(); i-- > 0; carry >>= 8) base256[i] = (carry += base256[i] ^ 255u) & 255u;
  }
  std::string out;
  for (std::size_t first = 0; first < base256.size();) {
    unsigned rest = 0;
    for (std::size_t i = first; i < base256.size(); ++i) {
      const unsigned v = rest << 8 | base256[i];
      base256[i] = v / 10;
      rest = v % 10;
    }
    if (base256[first] == 0) ++first;
    out += static_cast<char>('0' + rest);
  }
  while (out.size() > 1 && out.back() == '0') out.pop_back();
  std::reverse(out.begin(), out.end());
  return out.empty() ? "0" : out;
}

// As Python's decimal.Decimal.__str__: with an exponent when the first digit is more than 6 places behind the point.
void append_decimal(std::string_view big_endian, int scale, std::string* out) {
  bool negative = false;
  std::string d = digits(big_endian, &negative);
  const int exponent = static_cast<int>(d.size()) - 1 - scale;  // of the first digit
  if (scale > 0 && exponent < -6) {
    if (d.size() > 1) d.insert(1, ".");
    d += cat("E", exponent);
  } else if (scale > 0) {
    if (exponent < 0) d.insert(0, static_cast<std::size_t>(-exponent), '0');
    d.insert(d.size() - static_cast<std::size_t>(scale), ".");
  }
  *out += cat('"', negative ? "-" : "", d, '"');
}

std::string big_endian_of(std::int64_t v) {
  std::string out;
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(v >> shift);
  return out;
}

// Nanoseconds of the day, then a Julian day number.
void append_int96(std::string_view bytes, std::string* out) {
  std::int64_t nanoseconds = 0;
  std::int32_t day = 0;
  std::memcpy(&nanoseconds, bytes.data(), 8);
  std::memcpy(&day, bytes.data() + 8, 4);
  // Within 64 bits for the years 1677 to 2262; beyond, the sum wraps as other readers' does.
  append_number(static_cast<std::int64_t>(static_cast<std::uint64_t>(day - std::int64_t{2440588}) * 86400000000000u +
                                          static_cast<std::uint64_t>(nanoseconds)),
                out);
}

}  // namespace

// One row: where each leaf stands in its levels and values.
class ParquetRows::Row {
 public:
  Row(const ParquetRows& rows, std::int64_t row, const Binary& binary, std::string* out)
      : rows_(rows), leaves_(rows.file_.leaves()), binary_(binary), out_(*out), at_(leaves_.size()) {
    for (const ParquetNode* node : rows.nodes_) {
      for (int l = node->first_leaf; l < node->first_leaf + node->leaves; ++l) {
        const ParquetColumn& c = column(l);
        const auto r = static_cast<std::size_t>(row - c.first_row);
        if (row < c.first_row || row - c.first_row >= c.rows) input_error("has not been read");
        Cursor& p = at(l);
        p.entry = c.row_entry.empty() ? r : c.row_entry[r];
        p.end = c.row_entry.empty() ? r + 1 : c.row_entry[r + 1];
        p.value = c.row_value.empty() ? r : c.row_value[r];
      }
    }
  }

  void append() {
    char before = '{';
    for (const ParquetNode* node : rows_.nodes_) member(*node, &before);
    out_ += before == '{' ? "{}" : "}";
    for (const ParquetNode* node : rows_.nodes_)
      for (int l = node->first_leaf; l < node->first_leaf + node->leaves; ++l)
        if (at(l).entry != at(l).end) disagree(l);
  }

 private:
  struct Cursor {
    std::size_t entry = 0, end = 0, value = 0;
  };

  Cursor& at(int leaf) { return at_[static_cast<std::size_t>(leaf)]; }
  const ParquetColumn& column(int leaf) const { return rows_.columns_[static_cast<std::size_t>(leaf)]; }

  [[noreturn]] void disagree(int leaf) const {
    input_error("column '", leaves_[static_cast<std::size_t>(leaf)].dotted(),
                "' has more or fewer values in a list than the columns beside it");
  }

  // The definition level that comes next, of a leaf that has such levels.
  int defined(int leaf) {
    if (at(leaf).entry >= at(leaf).end) disagree(leaf);
    return column(leaf).defined[at(leaf).entry];
  }

  // Past the one entry that each leaf has where a node above it is null or empty. DuckDB writes a null ARRAY of n
  // elements as that entry n times, the later ones as if a list went on.
  void skip(const ParquetNode& node) {
    for (int l = node.first_leaf; l < node.first_leaf + node.leaves; ++l) {
      const int level = defined(l);
      if (level == leaves_[static_cast<std::size_t>(l)].max_definition) disagree(l);
      Cursor& p = at(l);
      const ParquetColumn& c = column(l);
      do ++p.entry;
      while (level < node.defined && p.entry < p.end && c.repeated[p.entry] > node.repeated &&
             c.defined[p.entry] == level);
    }
  }

  void member(const ParquetNode& node, char* before) {
    out_ += *before;
    *before = ',';
    append_string(node.name, &out_);
    out_ += ':';
    append(node);
  }

  void append(const ParquetNode& node) {
    if (node.optional && defined(node.first_leaf) < node.defined) {
      out_ += "null";
      return skip(node);
    }
    switch (node.kind) {
      case ParquetNode::Kind::leaf: return leaf(node.first_leaf);
      case ParquetNode::Kind::structure: {
        char before = '{';
        for (const ParquetNode& child : node.children) member(child, &before);
        out_ += '}';
        return;
      }
      case ParquetNode::Kind::list:
      case ParquetNode::Kind::map: break;
    }
    if (defined(node.first_leaf) < node.element_defined) {
      out_ += "[]";
      return skip(node);
    }
    const int first = node.first_leaf;
    char before = '[';
    do {
      out_ += before;
      before = ',';
      if (node.kind == ParquetNode::Kind::list) {
        append(node.children[0]);
      } else {
        out_ += '[';
        append(node.children[0]);
        out_ += ',';
        append(node.children[1]);
        out_ += ']';
      }
    } while (at(first).entry < at(first).end && column(first).repeated[at(first).entry] == node.element_repeated);
    out_ += ']';
  }

  void leaf(int l) {
    const ParquetLeaf& leaf = leaves_[static_cast<std::size_t>(l)];
    Cursor& p = at(l);
    if (p.entry >= p.end || (leaf.max_definition && defined(l) != leaf.max_definition)) disagree(l);
    const ParquetValues& values = column(l).values;
    const std::size_t i = p.value++;
    ++p.entry;
    switch (leaf.meaning) {
      case ParquetMeaning::nothing: out_ += "null"; break;
      case ParquetMeaning::boolean: out_ += values.integers[i] ? "true" : "false"; break;
      case ParquetMeaning::integer: append_number(values.integers[i], &out_); break;
      case ParquetMeaning::unsigned_integer:
        if (leaf.type == ParquetType::int32) append_number(static_cast<std::uint32_t>(values.integers[i]), &out_);
        else append_number(static_cast<std::uint64_t>(values.integers[i]), &out_);
        break;
      case ParquetMeaning::real: append_real(values.reals[i], &out_); break;
      case ParquetMeaning::half: append_real(half(values.bytes[i]), &out_); break;
      case ParquetMeaning::decimal:
        if (values.bytes.empty()) append_decimal(big_endian_of(values.integers[i]), leaf.scale, &out_);
        else append_decimal(values.bytes[i], leaf.scale, &out_);
        break;
      case ParquetMeaning::text: append_string(values.bytes[i], &out_); break;
      case ParquetMeaning::int96: append_int96(values.bytes[i], &out_); break;
      case ParquetMeaning::binary: binary_(values.bytes[i], &out_); break;
    }
  }

  const ParquetRows& rows_;
  const std::vector<ParquetLeaf>& leaves_;
  const Binary& binary_;
  std::string& out_;
  std::vector<Cursor> at_;
};

ParquetRows::ParquetRows(const ParquetFile& file, std::size_t group, const std::vector<std::string>& names,
                         std::optional<std::int64_t> around)
    : file_(file), group_(group), columns_(file.leaves().size()) {
  for (const ParquetNode& node : file.root().children)
    if (names.empty() || std::find(names.begin(), names.end(), node.name) != names.end()) nodes_.push_back(&node);
  for (const ParquetNode* node : nodes_)
    for (int l = node->first_leaf; l < node->first_leaf + node->leaves; ++l) {
      const ParquetChunk chunk(file, group, l);
      columns_[static_cast<std::size_t>(l)] = around ? chunk.read_around(*around) : chunk.read();
    }
}

void ParquetRows::append_json(std::int64_t row, const Binary& binary, std::string* out) const {
  if (row < 0 || row >= file_.groups()[group_].rows)
    input_error(file_.path(), ": row ", row, " of row group ", group_ + 1);
  try {
    Row(*this, row, binary, out).append();
  } catch (const Error& e) { input_error(file_.path(), ": row group ", group_ + 1, ", row ", row + 1, ": ", e.what()); }
}

std::vector<std::shared_ptr<const void>> ParquetRows::memory() const {
  std::vector<std::shared_ptr<const void>> out = {file_.file()};
  for (const ParquetColumn& c : columns_) out.insert(out.end(), c.values.memory.begin(), c.values.memory.end());
  return out;
}

}  // namespace ov
