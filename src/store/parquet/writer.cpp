#include "store/parquet/writer.h"

#include <zlib.h>

#include <bit>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "store/parquet/codec.h"
#include "store/parquet/thrift.h"

namespace ov {
namespace {

using Kind = ParquetField::Kind;

constexpr std::string_view magic = "PAR1";

ParquetType type_of(Kind kind) {
  switch (kind) {
    case Kind::boolean: return ParquetType::boolean;
    case Kind::integer: return ParquetType::int64;
    case Kind::real: return ParquetType::real64;
    default: return ParquetType::bytes;
  }
}

template <class T>
void append(std::string* out, T value) {  // little endian, as every machine we build for has it
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out->append(bytes, sizeof value);
}

// Runs of equal levels, behind their length in bytes. A level fits a byte: a schema is at most 100 deep.
std::string encoded_levels(const std::vector<std::uint8_t>& levels) {
  std::string runs;
  for (std::size_t i = 0, end = 0; i < levels.size(); i = end) {
    while (end < levels.size() && levels[end] == levels[i]) ++end;
    std::uint64_t head = (end - i) << 1;
    for (; head > 127; head >>= 7) runs += static_cast<char>(head | 128);
    runs += static_cast<char>(head);
    runs += static_cast<char>(levels[i]);
  }
  std::string out;
  append(&out, static_cast<std::uint32_t>(runs.size()));
  return out + runs;
}

void write_schema(ThriftWriter& out, const ParquetField& field, const std::string& name) {
  const bool group = field.kind == Kind::structure || field.kind == Kind::list;
  out.open_element();
  if (!group) out.i32(1, static_cast<int>(type_of(field.kind)));
  out.i32(3, 1).binary(4, name);
  if (group) out.i32(5, static_cast<std::int64_t>(field.children.size()));
  if (field.kind == Kind::text) out.i32(6, 0).open(10).open(1).close().close();
  if (field.kind == Kind::list) out.i32(6, 3).open(10).open(3).close().close();
  out.close();
  if (field.kind == Kind::list) {
    out.open_element().i32(3, 2).binary(4, "list").i32(5, 1).close();
    write_schema(out, field.children[0], "element");
  } else {
    for (const ParquetField& child : field.children) write_schema(out, child, child.name);
  }
}

std::size_t schema_elements(const ParquetField& field) {
  std::size_t n = field.kind == Kind::list ? 2 : 1;
  for (const ParquetField& child : field.children) n += schema_elements(child);
  return n;
}

}  // namespace

ParquetField parquet_image(const std::string& name) {
  return {name, Kind::structure, {{"bytes", Kind::binary}, {"path", Kind::text}}};
}

ParquetWriter::ParquetWriter(const std::string& path, std::vector<ParquetField> columns, ParquetWriterOptions options)
    : columns_(std::move(columns)), options_(options), file_(path) {
  for (const ParquetField& column : columns_) list_leaves(column, {column.name}, 0, 0);
  file_.write(magic);
  offset_ = static_cast<std::int64_t>(magic.size());
}

void ParquetWriter::list_leaves(const ParquetField& field, std::vector<std::string> path, int definition,
                                int repetition) {
  if ((field.kind == Kind::list && field.children.size() != 1) ||
      (field.kind == Kind::structure && field.children.empty()) || definition > 90)
    input_error("column '", shown(path[0]), "': a list has one child, a structure has some, and none is 90 deep");
  if (field.kind == Kind::list) {
    path.insert(path.end(), {"list", "element"});
    list_leaves(field.children[0], std::move(path), definition + 2, repetition + 1);
  } else if (field.kind == Kind::structure) {
    for (const ParquetField& child : field.children) {
      path.push_back(child.name);
      list_leaves(child, path, definition + 1, repetition);
      path.pop_back();
    }
  } else {
    leaves_.push_back({std::move(path), field.kind, definition + 1, repetition, {}, {}, "", "", 0, 0});
  }
}

// Puts one entry into each leaf beneath, or one for each element of the lists on the way. `defined` nodes above are
// there; `repeated`: the innermost list that goes on with this value; `lists` are open.
void ParquetWriter::shred(const ParquetField& field, const Json* value, int repeated, int defined, int lists,
                          std::size_t* leaf) {
  const bool null = !value || value->is_null();
  if (field.kind == Kind::structure) {
    if (!null) value->members();
    for (const ParquetField& child : field.children)
      shred(child, null ? nullptr : value->find(child.name), repeated, defined + !null, lists, leaf);
    return;
  }
  if (field.kind == Kind::list) {
    const std::size_t first = *leaf, n = null ? 0 : value->items().size();
    if (n == 0) return shred(field.children[0], nullptr, repeated, defined + !null, lists + 1, leaf);
    for (std::size_t i = 0; i < n; ++i) {
      *leaf = first;
      shred(field.children[0], &(*value)[i], i ? lists + 1 : repeated, defined + 2, lists + 1, leaf);
    }
    return;
  }
  Leaf& to = leaves_[(*leaf)++];
  to.repeated.push_back(static_cast<std::uint8_t>(repeated));
  to.defined.push_back(static_cast<std::uint8_t>(defined + !null));
  if (null) return;
  switch (field.kind) {
    case Kind::boolean: to.values += static_cast<char>(value->as_bool()); break;  // packed at the page's end
    case Kind::integer: append(&to.values, value->as_int()); break;
    case Kind::real: append(&to.values, value->as_double()); break;
    default: {
      const std::string& text = value->as_string();
      if (field.kind == Kind::text) require_utf8(text, field.name);
      if (text.size() > INT32_MAX / 2) input_error(text.size(), " bytes in one value");
      append(&to.values, static_cast<std::uint32_t>(text.size()));
      to.values += text;
    }
  }
}

void ParquetWriter::add(const Json& row) {
  struct Mark {
    std::size_t entries, bytes;
  };
  std::vector<Mark> marks;
  for (const Leaf& l : leaves_) marks.push_back({l.defined.size(), l.values.size()});
  std::size_t leaf = 0;
  try {
    for (const ParquetField& column : columns_) shred(column, row.find(column.name), 0, 0, 0, &leaf);
  } catch (const Error& e) {
    for (std::size_t i = 0; i < leaves_.size(); ++i) {
      leaves_[i].defined.resize(marks[i].entries);
      leaves_[i].repeated.resize(marks[i].entries);
      leaves_[i].values.resize(marks[i].bytes);
    }
    input_error("row ", rows_ + 1, ", column ", leaves_[std::min(leaf, leaves_.size() - 1)].path[0], ": ", e.what());
  }
  ++rows_;
  ++group_rows_;
  std::int64_t bytes = 0;
  for (Leaf& l : leaves_) {
    if (static_cast<std::int64_t>(l.values.size() + l.defined.size()) >= options_.page_bytes) end_page(l);
    bytes += static_cast<std::int64_t>(l.pages.size() + l.values.size());
  }
  if (group_rows_ >= options_.group_rows || bytes >= options_.group_bytes) end_group();
}

void ParquetWriter::end_page(Leaf& l) {
  if (l.defined.empty()) return;
  std::string page;
  if (l.max_repetition > 0) page = encoded_levels(l.repeated);
  page += encoded_levels(l.defined);
  if (l.kind == Kind::boolean) {
    std::string bits((l.values.size() + 7) / 8, '\0');
    for (std::size_t i = 0; i < l.values.size(); ++i) bits[i / 8] |= static_cast<char>(l.values[i] << i % 8);
    l.values = std::move(bits);
  }
  page += l.values;
  if (page.size() > INT32_MAX) input_error("a page of ", page.size(), " bytes");
  const std::string body = compress(options_.codec, page);
  const auto checksum = ::crc32_z(0, reinterpret_cast<const Bytef*>(body.data()), body.size());
  ThriftWriter header;
  header.i32(1, 0).i32(2, static_cast<std::int64_t>(page.size())).i32(3, static_cast<std::int64_t>(body.size()));
  header.i32(4, static_cast<std::int32_t>(checksum));
  header.open(5).i32(1, static_cast<std::int64_t>(l.defined.size())).i32(2, 0).i32(3, 3).i32(4, 3).close();
  header.close();
  l.pages += header.bytes() + body;
  l.uncompressed += static_cast<std::int64_t>(header.bytes().size() + page.size());
  l.entries += static_cast<std::int64_t>(l.defined.size());
  l.defined.clear();
  l.repeated.clear();
  l.values.clear();
}

void ParquetWriter::end_group() {
  if (group_rows_ == 0) return;
  Group group{group_rows_, {}};
  for (Leaf& l : leaves_) {
    end_page(l);
    group.chunks.push_back({offset_, static_cast<std::int64_t>(l.pages.size()), l.uncompressed, l.entries});
    file_.write(l.pages);
    offset_ += group.chunks.back().size;
    l.pages.clear();
    l.entries = l.uncompressed = 0;
  }
  groups_.push_back(std::move(group));
  group_rows_ = 0;
}

std::string ParquetWriter::footer() const {
  ThriftWriter out;
  std::size_t elements = 1;
  for (const ParquetField& column : columns_) elements += schema_elements(column);
  out.i32(1, 1).list(2, ThriftWriter::type_struct, elements);
  out.open_element().binary(4, "schema").i32(5, static_cast<std::int64_t>(columns_.size())).close();
  for (const ParquetField& column : columns_) write_schema(out, column, column.name);
  out.i64(3, rows_).list(4, ThriftWriter::type_struct, groups_.size());
  for (const Group& group : groups_) {
    std::int64_t size = 0, uncompressed = 0;
    out.open_element().list(1, ThriftWriter::type_struct, leaves_.size());
    for (std::size_t i = 0; i < leaves_.size(); ++i) {
      const Chunk& c = group.chunks[i];
      out.open_element().i64(2, 0).open(3);  // offset 0: the metadata stands here alone
      out.i32(1, static_cast<int>(type_of(leaves_[i].kind)));
      out.list(2, ThriftWriter::type_i32, 2).element_i32(0).element_i32(3);
      out.list(3, ThriftWriter::type_binary, leaves_[i].path.size());
      for (const std::string& name : leaves_[i].path) out.element_binary(name);
      out.i32(4, static_cast<int>(options_.codec)).i64(5, c.entries).i64(6, c.uncompressed).i64(7, c.size);
      out.i64(9, c.begin).close().close();
      size += c.size;
      uncompressed += c.uncompressed;
    }
    out.i64(2, uncompressed).i64(3, group.rows).i64(5, group.chunks.empty() ? 0 : group.chunks[0].begin);
    out.i64(6, size).close();
  }
  if (!options_.metadata.empty()) out.list(5, ThriftWriter::type_struct, options_.metadata.size());
  for (const auto& [key, value] : options_.metadata) out.open_element().binary(1, key).binary(2, value).close();
  return out.binary(6, "onevision").close().bytes();
}

void ParquetWriter::finish() {
  end_group();
  std::string end = footer();
  append(&end, static_cast<std::uint32_t>(end.size()));
  file_.write(end);
  file_.write(magic);
  file_.commit();
}

}  // namespace ov
