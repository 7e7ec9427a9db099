#include "store/parquet/column.h"

#include <zlib.h>

#include <algorithm>

#include "base/error.h"
#include "store/parquet/thrift.h"

namespace ov {
namespace {

// Nulls and repeated values take next to no bytes, so a few bytes can promise any number of them. What no writer makes
// in one row group is not believed: 17 million values, and a thousand for each byte of the chunk.
constexpr std::int64_t believed_values = 1 << 24, values_per_byte = 1024;
// What DELTA_BYTE_ARRAY may make out of beginnings that values share.
constexpr std::size_t believed_expansion = 64 << 20, expansion_per_byte = 256;

}  // namespace

ParquetChunk::ParquetChunk(const ParquetFile& file, std::size_t group, int leaf)
    : file_(file),
      group_(group),
      leaf_(file.leaves()[static_cast<std::size_t>(leaf)]),
      info_(file.groups()[group].chunks[static_cast<std::size_t>(leaf)]) {
  if (!info_.fault.empty()) fail(info_.fault);
  try {
    list_pages();
  } catch (const Error& e) { fail(cat("page ", pages_.size() + 1, ": ", e.what())); }
}

void ParquetChunk::fail(const std::string& what) const {
  input_error(file_.path(), ": row group ", group_ + 1, ", column '", leaf_.dotted(), "': ", what);
}

ParquetChunk::PageKind ParquetChunk::read_header(std::string_view bytes, Page* page, std::size_t* header) const {
  ThriftReader in(bytes);
  std::int64_t kind = -1, on_disk = -1, encoding = -1, levels = static_cast<std::int64_t>(ParquetEncoding::rle);
  page->size = -1;
  page->values = -1;
  const auto part = [&](int values, int encoded, bool v2) {
    in.fields([&](std::int64_t id) {
      if (id == values) page->values = in.integer();
      else if (id == encoded) encoding = in.integer();
      else if (!v2 && (id == 3 || id == 4) && kind == 0) {
        const std::int64_t e = in.integer();
        // Of levels that the column does not have any encoding may be said.
        if ((id == 3 && leaf_.max_definition) || (id == 4 && leaf_.max_repetition)) levels = std::max(levels, e);
      } else if (v2 && id == 5) page->defined_size = in.integer();
      else if (v2 && id == 6) page->repeated_size = in.integer();
      else if (v2 && id == 7) page->compressed = in.boolean();
    });
  };
  in.fields([&](std::int64_t id) {
    switch (id) {
      case 1: kind = in.integer(); break;
      case 2: page->size = in.integer(); break;
      case 3: on_disk = in.integer(); break;
      case 4: page->checksum = static_cast<std::uint32_t>(in.integer()), page->has_checksum = true; break;
      case 5:
        if (kind == 0) part(1, 2, false);
        break;
      case 7:
        if (kind == 2) part(1, 2, false);
        break;
      case 8:
        if (kind == 3) part(1, 4, true), page->v2 = true;
        break;
      default: break;
    }
  });
  *header = in.offset();
  if (on_disk < 0 || static_cast<std::uint64_t>(on_disk) > bytes.size() - *header)
    input_error(on_disk, " bytes are promised, ", bytes.size() - *header, " are left in the column chunk");
  page->body = bytes.substr(*header, static_cast<std::size_t>(on_disk));
  if (kind == 1) return PageKind::index;
  if (kind != 0 && kind != 2 && kind != 3) input_error("unknown kind ", kind);
  if (page->size < 0 || page->size > INT32_MAX) input_error(page->size, " bytes when decompressed");
  if (page->values < 0) input_error(page->values, " values");
  if (encoding < 0 || encoding > 9) input_error("unknown encoding ", encoding);
  if (levels != static_cast<std::int64_t>(ParquetEncoding::rle))
    input_error("levels in encoding ", levels, ", expected RLE");
  page->encoding = static_cast<ParquetEncoding>(encoding);
  if (page->defined_size < 0 || page->repeated_size < 0 || page->defined_size + page->repeated_size > on_disk ||
      page->defined_size + page->repeated_size > page->size)
    input_error("levels of ", page->repeated_size, " and ", page->defined_size, " bytes, of ", on_disk);
  return static_cast<PageKind>(kind);
}

void ParquetChunk::list_pages() {
  if (info_.values == 0 && file_.groups()[group_].rows == 0) return;
  const std::string_view all = file_.file()->text();
  const std::int64_t end = file_.footer().data() - all.data();
  if (info_.begin < 4 || info_.begin > end || info_.size < 0 || info_.size > end - info_.begin)
    input_error("the chunk's ", info_.size, " bytes from byte ", info_.begin,
                " on are not in front of the footer, which is at byte ", end);
  std::string_view rest = all.substr(static_cast<std::size_t>(info_.begin), static_cast<std::size_t>(info_.size));
  std::int64_t values = 0;
  while (values < info_.values) {
    Page page;
    std::size_t header = 0;
    const PageKind kind = read_header(rest, &page, &header);
    rest.remove_prefix(header + page.body.size());
    if (kind == PageKind::index) continue;
    if (kind == PageKind::dictionary) {
      if (!pages_.empty() || !dictionary_.empty()) input_error("a dictionary that is not the first page");
      if (page.encoding != ParquetEncoding::plain && page.encoding != ParquetEncoding::plain_dictionary)
        input_error("a dictionary in encoding ", static_cast<int>(page.encoding));
      dictionary_.push_back(page);
      continue;
    }
    if (page.values > info_.values - values)
      input_error(page.values, " values where ", info_.values - values, " are left of the chunk's");
    values += page.values;
    pages_.push_back(page);
    if (values > INT32_MAX) input_error("more than 2^31 values in a column chunk");
  }
  if (values / values_per_byte > info_.size + believed_values / values_per_byte)
    input_error("the chunk's ", info_.size, " bytes hold ", values, " values, which is more than is believed");
}

// What stands in the page behind the levels of v2, decompressed.
ParquetBytes ParquetChunk::open(const Page& page) const {
  if (page.has_checksum) {
    const auto found = ::crc32_z(0, reinterpret_cast<const Bytef*>(page.body.data()), page.body.size());
    if (found != page.checksum) input_error("its checksum is ", found, ", expected ", page.checksum);
  }
  const auto levels = static_cast<std::size_t>(page.repeated_size + page.defined_size);
  return decompress(page.compressed ? info_.codec : ParquetCodec::none, page.body.substr(levels),
                    static_cast<std::size_t>(page.size) - levels);
}

// Levels stand in front: of v2 outside of what is compressed, their sizes in the header; of v1 inside, each size in
// front of them.
void ParquetChunk::read_page(const Page& page, const ParquetValues* dictionary, std::size_t* spare,
                             ParquetColumn* out) const {
  const ParquetBytes opened = open(page);
  std::string_view data = opened.bytes, v2_levels = page.body;
  const auto take_levels = [&](int max, std::int64_t v2_size, std::vector<std::uint8_t>* to) {
    if (max == 0 && !page.v2) return;
    std::string_view& from = page.v2 ? v2_levels : data;
    auto n = static_cast<std::size_t>(v2_size);
    if (!page.v2) {
      if (data.size() < 4) input_error("it ends before the length of its levels");
      for (std::size_t b = 4; b-- > 0;) n = n << 8 | static_cast<unsigned char>(data[b]);
      data.remove_prefix(4);
    }
    if (n > from.size()) input_error("levels of ", n, " bytes, ", from.size(), " are left");
    if (max > 0) decode_levels(from.substr(0, n), page.values, max, to);
    from.remove_prefix(n);
  };
  const std::size_t before = out->defined.size(), had = out->values.size();
  take_levels(leaf_.max_repetition, page.repeated_size, &out->repeated);
  take_levels(leaf_.max_definition, page.defined_size, &out->defined);
  const std::int64_t there = leaf_.max_definition == 0
                                 ? page.values
                                 : std::count(out->defined.begin() + static_cast<std::ptrdiff_t>(before),
                                              out->defined.end(), leaf_.max_definition);
  decode_values(page.encoding, data, there, leaf_, dictionary, spare, &out->values);
  if (out->values.size() - had != static_cast<std::size_t>(there))
    input_error(out->values.size() - had, " values, expected ", there);
  if (opened.memory && !out->values.bytes.empty()) out->values.memory.push_back(opened.memory);
}

ParquetColumn ParquetChunk::read_pages(std::size_t begin, std::size_t end) const {
  ParquetColumn out;
  ParquetValues dictionary;
  std::size_t spare = believed_expansion + expansion_per_byte * static_cast<std::size_t>(info_.size), page = begin;
  bool in_dictionary = false;
  try {
    if (!dictionary_.empty() && std::any_of(pages_.begin() + static_cast<std::ptrdiff_t>(begin),
                                            pages_.begin() + static_cast<std::ptrdiff_t>(end), [](const Page& p) {
                                              return p.encoding == ParquetEncoding::plain_dictionary ||
                                                     p.encoding == ParquetEncoding::rle_dictionary;
                                            })) {
      in_dictionary = true;
      const ParquetBytes opened = open(dictionary_[0]);
      decode_values(ParquetEncoding::plain, opened.bytes, dictionary_[0].values, leaf_, nullptr, &spare, &dictionary);
      if (!dictionary.bytes.empty()) out.values.memory.push_back(opened.memory);
    }
    in_dictionary = false;
    for (; page < end; ++page) read_page(pages_[page], dictionary_.empty() ? nullptr : &dictionary, &spare, &out);
  } catch (const Error& e) {
    fail(cat(in_dictionary ? std::string("dictionary") : cat("page ", page + 1), ": ", e.what()));
  }
  for (std::size_t i = 0; i < begin; ++i) out.first_row += pages_[i].values;
  std::int64_t entries = 0;
  for (std::size_t i = begin; i < end; ++i) entries += pages_[i].values;
  find_rows(entries, &out);
  const std::int64_t rows = file_.groups()[group_].rows;
  if (end - begin == pages_.size() && out.rows != rows) fail(cat(out.rows, " rows, the row group has ", rows));
  return out;
}

void ParquetChunk::find_rows(std::int64_t entries, ParquetColumn* out) const {
  std::uint32_t value = 0;
  if (!out->repeated.empty() && out->repeated[0] != 0) fail("its first value goes on with a row that has not begun");
  for (std::int64_t i = 0; i < entries && leaf_.max_definition > 0; ++i) {
    const auto k = static_cast<std::size_t>(i);
    if (leaf_.max_repetition == 0 || out->repeated[k] == 0) {
      out->row_value.push_back(value);
      if (leaf_.max_repetition > 0) out->row_entry.push_back(static_cast<std::uint32_t>(i));
    }
    value += out->defined[k] == leaf_.max_definition;
  }
  out->rows = leaf_.max_definition > 0 ? static_cast<std::int64_t>(out->row_value.size()) : entries;
  if (leaf_.max_definition > 0) out->row_value.push_back(value);
  if (leaf_.max_repetition > 0) out->row_entry.push_back(static_cast<std::uint32_t>(entries));
}

ParquetColumn ParquetChunk::read_around(std::int64_t row) const {
  if (leaf_.max_repetition > 0) return read();
  std::size_t page = 0;
  std::int64_t begin = 0;
  while (page < pages_.size() && begin + pages_[page].values <= row) begin += pages_[page++].values;
  if (page == pages_.size()) fail(cat(begin, " rows, the row group has ", file_.groups()[group_].rows));
  return read_pages(page, page + 1);
}

}  // namespace ov
