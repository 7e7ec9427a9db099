#include "store/parquet/schema.h"

#include <algorithm>
#include <optional>

#include "base/text.h"
#include "store/parquet/thrift.h"

namespace ov {
namespace {

using Meaning = ParquetMeaning;
using Type = ParquetType;
using Kind = ParquetNode::Kind;

constexpr int deepest = 100;  // nodes in each other, as in Apache Arrow
enum Repetition { required, optional, repeated };

// One entry of the footer's list, a node before its children.
struct Element {
  std::string_view name;
  std::optional<std::int64_t> type, repetition;
  std::int64_t width = 0, children = 0, scale = 0;
  bool named = false, list = false, map = false;
  std::optional<Meaning> meaning;
};

// ConvertedType, the older annotation.
void set_converted(Element* e, std::int64_t converted) {
  switch (converted) {
    case 0:                                      // UTF8
    case 4:                                      // ENUM
    case 19: e->meaning = Meaning::text; break;  // JSON
    case 1:
    case 2: e->map = true; break;
    case 3: e->list = true; break;
    case 5: e->meaning = Meaning::decimal; break;
    case 11:
    case 12:
    case 13:
    case 14: e->meaning = Meaning::unsigned_integer; break;
    default: break;  // dates, times and signed integers are the integers that are stored
  }
}

void read_logical(ThriftReader& in, Element* e) {
  in.fields([&](std::int64_t id) {
    switch (id) {
      case 1:
      case 4:
      case 12: e->meaning = Meaning::text; break;
      case 2: e->map = true; break;
      case 3: e->list = true; break;
      case 5:
        e->meaning = Meaning::decimal;
        in.fields([&](std::int64_t part) {
          if (part == 1) e->scale = in.integer();
        });
        break;
      case 10:
        in.fields([&](std::int64_t part) {
          if (part == 2) e->meaning = in.boolean() ? Meaning::integer : Meaning::unsigned_integer;
        });
        break;
      case 11: e->meaning = Meaning::nothing; break;
      case 15: e->meaning = Meaning::half; break;
      default: break;
    }
  });
}

Element read_element(ThriftReader& in) {
  Element e;
  std::optional<std::int64_t> converted;
  in.fields([&](std::int64_t id) {
    switch (id) {
      case 1: e.type = in.integer(); break;
      case 2: e.width = in.integer(); break;
      case 3: e.repetition = in.integer_or_boolean(); break;  // fastparquet's has_nulls is there as it was given
      case 4: e.name = in.binary(), e.named = true; break;
      case 5: e.children = in.integer(); break;
      case 6: converted = in.integer(); break;
      case 7: e.scale = in.integer(); break;
      case 10: read_logical(in, &e); break;
      default: break;
    }
  });
  if (!e.named) input_error("a column without a name");
  if (converted && !e.meaning && !e.list && !e.map) set_converted(&e, *converted);
  return e;
}

// What the type alone means, and the annotation where the two fit together.
Meaning meaning_of(const Element& e, Type type) {
  const bool integer = type == Type::int32 || type == Type::int64, raw = type == Type::bytes || type == Type::fixed;
  const Meaning plain = type == Type::boolean                          ? Meaning::boolean
                        : integer                                      ? Meaning::integer
                        : type == Type::int96                          ? Meaning::int96
                        : type == Type::real32 || type == Type::real64 ? Meaning::real
                                                                       : Meaning::binary;
  const Meaning said = e.meaning.value_or(plain);
  switch (said) {
    case Meaning::nothing: return Meaning::nothing;
    case Meaning::integer:
    case Meaning::unsigned_integer: return integer ? said : plain;
    case Meaning::decimal: return integer || raw ? Meaning::decimal : plain;
    case Meaning::text: return type == Type::bytes ? Meaning::text : plain;
    case Meaning::half: return type == Type::fixed && e.width == 2 ? Meaning::half : plain;
    default: return plain;
  }
}

// The tree of nodes out of the list of elements, which has it in depth-first order.
class Builder {
 public:
  Builder(const std::vector<Element>& elements, std::vector<ParquetLeaf>* leaves)
      : elements_(elements), leaves_(*leaves) {}

  ParquetNode root() {
    if (elements_.empty()) input_error("the schema is empty");
    const ParquetNode out = body(take(), 0, 0);
    if (at_ < elements_.size()) input_error("the schema has ", elements_.size() - at_, " columns outside of its root");
    if (out.kind != Kind::structure) input_error("the schema's root is not a structure");
    return out;
  }

 private:
  const Element& take() {
    if (at_ == elements_.size()) input_error("the schema ends before all the columns that it promises");
    return elements_[at_++];
  }

  // A node as a child: what says how often it occurs, then the node itself.
  ParquetNode child(int definition, int repetition) {
    const Element& e = take();
    const std::int64_t r = e.repetition.value_or(-1);
    if (r != required && r != optional && r != repeated)
      input_error("column '", shown(e.name), "': expected to be required, optional or repeated, found ", r);
    if (r == repeated) {  // a bare repeated node is a list that cannot be null, of elements that cannot
      ParquetNode list = list_of(e, definition, repetition, Kind::list);
      list.children.push_back(body(e, definition + 1, repetition + 1));
      return counted(list);
    }
    ParquetNode out = body(e, definition + (r == optional), repetition);
    out.optional = r == optional;
    return out;
  }

  static ParquetNode list_of(const Element& e, int definition, int repetition, Kind kind) {
    ParquetNode list;
    list.name = e.name;
    list.kind = kind;
    list.defined = definition;
    list.repeated = repetition;
    list.element_defined = definition + 1;
    list.element_repeated = repetition + 1;
    return list;
  }

  static ParquetNode counted(ParquetNode node) {
    for (const ParquetNode& c : node.children) node.leaves += c.leaves;
    if (!node.children.empty()) node.first_leaf = node.children[0].first_leaf;
    return node;
  }

  // The node of `e`, whose own occurrence is in `definition` and `repetition` already.
  ParquetNode body(const Element& e, int definition, int repetition) {
    if (++depth_ > deepest) input_error("the schema has more than ", deepest, " nodes in each other");
    path_.push_back(std::string(e.name));
    ParquetNode out;
    if (e.children < 0) input_error("column '", shown(e.name), "': ", e.children, " children");
    if (e.type && depth_ > 1) out = leaf(e, definition, repetition);
    else if ((e.list || e.map) && holds_one_repeated(e)) out = annotated(e, definition, repetition);
    else {
      out.kind = Kind::structure;
      for (std::int64_t i = 0; i < e.children; ++i) out.children.push_back(child(definition, repetition));
      out = counted(out);
      if (out.leaves == 0 && depth_ > 1)
        input_error("column '", shown(e.name), "' has neither a type nor a column in it");
    }
    out.name = e.name;
    out.defined = definition;
    out.repeated = repetition;
    path_.pop_back();
    --depth_;
    return out;
  }

  bool holds_one_repeated(const Element& e) const {
    return e.children == 1 && at_ < elements_.size() && elements_[at_].repetition == repeated;
  }

  // A list or a map: a group with one repeated node in it. Older writers left out the group between that node and the
  // elements; LogicalTypes.md, "Backward-compatibility rules", says how to tell.
  ParquetNode annotated(const Element& e, int definition, int repetition) {
    const Element& r = take();
    const bool pairs = e.map && !r.type && r.children == 2;
    ParquetNode out = list_of(e, definition, repetition, pairs ? Kind::map : Kind::list);
    const bool is_element =
        r.type || r.children != 1 || r.name == "array" || r.name == cat(e.name, "_tuple") || holds_one_repeated(r);
    if (is_element && !pairs) {
      out.children.push_back(body(r, definition + 1, repetition + 1));
      return counted(out);
    }
    path_.push_back(std::string(r.name));
    for (int i = 0; i < (pairs ? 2 : 1); ++i) out.children.push_back(child(definition + 1, repetition + 1));
    path_.pop_back();
    return counted(out);
  }

  ParquetNode leaf(const Element& e, int definition, int repetition) {
    if (*e.type < 0 || *e.type > 7) input_error("column '", shown(e.name), "': unknown type ", *e.type);
    if (e.children) input_error("column '", shown(e.name), "' has a type and ", e.children, " children");
    ParquetLeaf leaf;
    leaf.type = static_cast<Type>(*e.type);
    leaf.path.assign(path_.begin() + 1, path_.end());
    leaf.meaning = meaning_of(e, leaf.type);
    constexpr int widths[] = {0, 4, 8, 12, 4, 8, 0};
    if (leaf.type != Type::fixed) leaf.width = widths[*e.type];
    else if (e.width < 1 || e.width > 1 << 24)
      input_error("column '", shown(e.name), "': values of ", e.width, " bytes");
    else leaf.width = static_cast<int>(e.width);
    if (leaf.meaning == Meaning::decimal && (e.scale < 0 || e.scale > 1000))
      input_error("column '", shown(e.name), "': a decimal with ", e.scale, " digits behind the point");
    leaf.scale = static_cast<int>(e.scale);
    leaf.max_definition = definition;
    leaf.max_repetition = repetition;
    ParquetNode out;
    out.first_leaf = static_cast<int>(leaves_.size());
    out.leaves = 1;
    leaves_.push_back(std::move(leaf));
    return out;
  }

  const std::vector<Element>& elements_;
  std::vector<ParquetLeaf>& leaves_;
  std::size_t at_ = 0;
  int depth_ = 0;
  std::vector<std::string> path_;
};

// ColumnMetaData against the leaf that stands at its place in the schema.
void read_chunk_metadata(ThriftReader& in, const ParquetLeaf& leaf, ParquetChunkInfo* out) {
  std::int64_t type = -1, codec = -1, data = -1, dictionary = 0;
  std::vector<std::string> path;
  out->values = out->size = -1;
  in.fields([&](std::int64_t id) {
    switch (id) {
      case 1: type = in.integer(); break;
      case 3: in.list([&] { path.push_back(std::string(in.binary())); }); break;
      case 4: codec = in.integer(); break;
      case 5: out->values = in.integer(); break;
      case 7: out->size = in.integer(); break;
      case 9: data = in.integer(); break;
      case 11: dictionary = in.integer(); break;
      default: break;
    }
  });
  // Some writers give 0 where there is no dictionary, some give its place as that of the data.
  out->begin = dictionary > 0 && dictionary < data ? dictionary : data;
  out->codec = static_cast<ParquetCodec>(codec);
  if (path != leaf.path) out->fault = "its chunk is that of another column";
  else if (type != static_cast<std::int64_t>(leaf.type))
    out->fault = cat("its chunk has type ", type, ", the schema type ", static_cast<int>(leaf.type));
  else if (codec < 0 || codec > 7 || codec == 3) out->fault = cat("codec ", codec, " is not read");
  else if (out->values < 0) out->fault = cat("its chunk has ", out->values, " values");
  else if (out->values > 0 && (dictionary < 0 || dictionary > data))
    out->fault = cat("its dictionary is at byte ", dictionary, ", its data at ", data);
}

ParquetChunkInfo read_chunk(ThriftReader& in, const ParquetLeaf& leaf) {
  ParquetChunkInfo out;
  out.fault = "its chunk has no metadata";
  bool elsewhere = false, encrypted = false;
  in.fields([&](std::int64_t id) {
    if (id == 1) elsewhere = !in.binary().empty();
    if (id == 3) out.fault.clear(), read_chunk_metadata(in, leaf, &out);
    if (id == 8) encrypted = true;  // how; the value is skipped
  });
  if (encrypted) out.fault = "it is encrypted, which is not read";
  if (elsewhere) out.fault = "its chunk is in another file, which is not opened";
  return out;
}

ParquetGroup read_group(ThriftReader& in, const std::vector<ParquetLeaf>& leaves) {
  ParquetGroup out;
  out.rows = -1;
  std::size_t chunks = 0;
  in.fields([&](std::int64_t id) {
    if (id == 3) out.rows = in.integer();
    if (id == 1)
      in.list([&] {
        if (chunks++ < leaves.size()) out.chunks.push_back(read_chunk(in, leaves[chunks - 1]));
      });
  });
  if (chunks != leaves.size()) input_error("a row group of ", chunks, " columns, the schema has ", leaves.size());
  if (out.rows < 0 || (out.rows > 0 && leaves.empty()))
    input_error("a row group of ", out.rows, " rows in ", leaves.size(), " columns");
  return out;
}

}  // namespace

std::string ParquetLeaf::dotted() const {
  std::string out;
  for (const std::string& name : path) out += (out.empty() ? "" : ".") + name;
  return shown(out);
}

ParquetFile::ParquetFile(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {
  const std::string_view all = file_->text();
  const std::string kind = looks_like(all.substr(0, 512));
  const std::string hint = kind.empty() ? "" : "; this looks like " + kind;
  if (all.ends_with("PARE")) input_error(path(), ": its footer is encrypted, which is not read");
  if (all.size() < 12 || !all.starts_with("PAR1") || !all.ends_with("PAR1"))
    input_error(path(), ": expected a Parquet file, which begins and ends with PAR1", hint,
                all.starts_with("PAR1") ? "; has it been cut short?" : "");
  std::uint64_t length = 0;
  for (std::size_t b = 0; b < 4; ++b)
    length |= std::uint64_t{static_cast<unsigned char>(all[all.size() - 8 + b])} << 8 * b;
  if (length > all.size() - 12)
    input_error(path(), ": a footer of ", length, " bytes is promised, the file has ", all.size());
  footer_ = all.substr(all.size() - 8 - length, length);
  try {
    read_footer();
  } catch (const Error& e) { input_error(path(), ": footer: ", e.what()); }
}

std::string_view ParquetFile::metadata(std::string_view key) const {
  for (const auto& [name, value] : metadata_)
    if (name == key) return value;
  return {};
}

void ParquetFile::read_footer() {
  ThriftReader in(footer_);
  std::int64_t rows = -1, groups_begin = 0;
  bool has_signature = false;
  in.fields([&](std::int64_t id) {
    if (id == 2) {
      std::vector<Element> elements;
      in.list([&] { elements.push_back(read_element(in)); });
      root_ = Builder(elements, &leaves_).root();
      groups_begin = 1;
    }
    if (id == 3) rows = in.integer();
    if (id == 4) {
      if (!groups_begin) input_error("row groups come before the schema");
      in.list([&] { groups_.push_back(read_group(in, leaves_)); });
    }
    if (id == 5)
      in.list([&] {
        std::string_view key, value;
        in.fields([&](std::int64_t part) {
          if (part == 1) key = in.binary();
          if (part == 2) value = in.binary();
        });
        metadata_.emplace_back(key, value);
      });
    if (id == 8) has_signature = true;  // the algorithm of encryption
  });
  if (!groups_begin) input_error("it has no schema");
  // Behind a footer that is plain beside encrypted columns stands its signature.
  constexpr std::size_t signature = 28;
  if (in.offset() + (has_signature ? signature : 0) != footer_.size())
    input_error("it ends ", footer_.size() - in.offset(), " bytes before the length that the file gives");
  std::int64_t sum = 0;
  for (ParquetGroup& g : groups_) {
    g.first_row = sum;
    if (__builtin_add_overflow(sum, g.rows, &sum)) input_error("too many rows");
  }
  if (sum != rows) input_error(rows, " rows are promised, the row groups have ", sum);
}

}  // namespace ov
