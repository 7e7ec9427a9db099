#include "store/tar.h"

#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/text.h"

namespace ov {
namespace {

// Fields of a header block: first byte and length.
struct Field {
  std::size_t at, size;
};
constexpr Field name_field{0, 100}, mode_field{100, 8}, owner_field{108, 8}, group_field{116, 8}, size_field{124, 12},
    time_field{136, 12}, checksum_field{148, 8}, type_field{156, 1}, magic_field{257, 8}, prefix_field{345, 155};

std::string_view of(std::string_view header, Field f) { return header.substr(f.at, f.size); }

// Up to the first zero byte.
std::string_view text_of(std::string_view header, Field f) {
  const std::string_view s = of(header, f);
  return s.substr(0, s.find('\0'));
}

// Octal digits between blanks and zero bytes; with the top bit of the first byte set, the rest is a binary number.
std::optional<std::uint64_t> number(std::string_view s) {
  std::uint64_t value = 0;
  if (static_cast<unsigned char>(s[0]) & 0x80) {
    for (std::size_t i = 0; i < s.size(); ++i) {
      if (value >> 55) return std::nullopt;
      value = value << 8 | (static_cast<unsigned char>(s[i]) & (i ? 0xffu : 0x7fu));
    }
    return value;
  }
  const std::size_t first = std::min(s.find_first_not_of(' '), s.size());
  const std::size_t last = std::min(s.find_first_of(std::string_view(" \0", 2), first), s.size());
  for (const char c : s.substr(first, last - first)) {
    if (c < '0' || c > '7') return std::nullopt;
    value = value << 3 | static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

// The sum of all bytes, those of the checksum's own field taken as blanks. Some old writers summed signed bytes.
template <class Byte>
std::uint64_t checksum(std::string_view header) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < header.size(); ++i) {
    const bool own = i >= checksum_field.at && i < checksum_field.at + checksum_field.size;
    sum += own ? ' ' : static_cast<Byte>(header[i]);
  }
  return static_cast<std::uint64_t>(sum);
}

std::uint64_t padded(std::uint64_t size) { return (size + tar_block - 1) / tar_block * tar_block; }

// The records of a pax header: "<length> <key>=<value>\n", the length counting itself. Nothing when malformed.
struct PaxRecords {
  std::optional<std::string> path;
  std::optional<std::uint64_t> size;
  bool sparse = false;  // GNU.sparse.*: the data has holes
};
std::optional<PaxRecords> pax_records(std::string_view text) {
  PaxRecords out;
  while (!text.empty()) {
    std::size_t length = 0;
    const auto digits = static_cast<std::size_t>(std::from_chars(text.begin(), text.end(), length).ptr - text.begin());
    if (length < digits + 3 || length > text.size() || text[digits] != ' ' || text[length - 1] != '\n') return {};
    const std::string_view record = text.substr(digits + 1, length - digits - 2);
    const std::size_t equals = record.find('=');
    if (equals == record.npos) return {};
    const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") out.path = std::string(value);
    out.sparse = out.sparse || key.starts_with("GNU.sparse");
    if (key == "size") {
      std::uint64_t n = 0;
      const auto [end, error] = std::from_chars(value.begin(), value.end(), n);
      if (error != std::errc() || end != value.end() || value.size() > 18) return {};
      out.size = n;
    }
    text.remove_prefix(length);
  }
  return out;
}

std::string octal(std::uint64_t value, std::size_t digits) {
  std::string s(digits, '0');
  for (std::size_t i = digits; i-- > 0; value /= 8) s[i] = static_cast<char>('0' + value % 8);
  return s;
}

constexpr std::uint64_t largest_octal_size = (std::uint64_t{1} << 33) - 1;  // 11 digits: 8 GiB

}  // namespace

std::shared_ptr<const MappedFile> unpacked_tar(std::shared_ptr<const MappedFile> file) {
  if (!file->text().starts_with("\x1f\x8b")) return file;
  struct Stream : z_stream {
    Stream() : z_stream{} {
      if (::inflateInit2(this, MAX_WBITS + 16) != Z_OK) machine_error("out of memory");
    }
    ~Stream() { ::inflateEnd(this); }
  } z;
  std::string all, piece(1 << 18, '\0');
  for (std::string_view rest = file->text(); !rest.empty() || z.avail_in;) {
    if (z.avail_in == 0) {
      z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(rest.data()));
      z.avail_in = static_cast<uInt>(std::min<std::size_t>(rest.size(), 1 << 30));
      rest.remove_prefix(z.avail_in);
    }
    int state = Z_OK;
    do {
      z.next_out = reinterpret_cast<Bytef*>(piece.data());
      z.avail_out = static_cast<uInt>(piece.size());
      state = ::inflate(&z, Z_NO_FLUSH);
      all.append(piece, 0, piece.size() - z.avail_out);
    } while (state == Z_OK && z.avail_out == 0);
    const bool last = rest.empty() && z.avail_in == 0;
    if (state == Z_STREAM_END && !last) state = ::inflateReset(&z);  // several members in a row
    if ((state != Z_OK && state != Z_STREAM_END && state != Z_BUF_ERROR) || (last && state != Z_STREAM_END))
      input_error(file->path(), ": damaged gzip data, or cut short");
  }
  return MappedFile::of(all, file->path());
}

TarReader::TarReader(std::shared_ptr<const MappedFile> file, std::uint64_t begin, std::uint64_t end)
    : file_(std::move(file)), at_(begin), end_(end) {}

std::string_view TarReader::block(std::uint64_t at, const char* what) const {
  const std::string_view all = file_->text();
  if (all.size() < tar_block || at > all.size() - tar_block)
    throw TruncatedTar(Exit::wrong_input, cat(file_->path(), ": cut short: expected ", what, " at byte ", at,
                                              ", but the file ends at byte ", all.size()));
  return all.substr(at, tar_block);
}

bool TarReader::next(TarMember* member) {
  std::uint64_t at = at_, begin = at_;
  std::optional<std::string> long_name;
  bool has_long_size = false, sparse = false;  // of a pax header before the member
  std::uint64_t long_size = 0;
  while (at < end_) {
    // A whole last member may be the end of the file, as Python's tarfile has it: nothing of it is missing.
    if (at > 0 && at == file_->size() && end_ == to_closing_blocks && begin == at) break;
    const std::string_view header = block(at, "a header or the blocks of zeros that close an archive");
    if (std::all_of(header.begin(), header.end(), [](char c) { return c == 0; })) break;
    const auto sum = number(of(header, checksum_field)), written_size = number(of(header, size_field));
    const bool sum_fits = sum && (*sum == checksum<unsigned char>(header) || *sum == checksum<signed char>(header));
    if (!sum_fits || !written_size) {
      const std::string kind = at == 0 ? looks_like(file_->text()) : "";
      input_error(file_->path(), ": byte ", at, ": expected a tar header, but the ",
                  sum_fits ? "size is no number" : "checksum does not fit",
                  kind.empty() ? "" : "; this looks like " + kind);
    }
    const char type = header[type_field.at];
    std::string name(text_of(header, name_field));
    if (of(header, magic_field).substr(0, 6) == std::string_view("ustar\0", 6))
      if (const auto prefix = text_of(header, prefix_field); !prefix.empty()) name = cat(prefix, "/", name);
    if (long_name) name = *long_name;
    // Links, devices, directories and pipes have no data, whatever their size says.
    const std::uint64_t size = type >= '1' && type <= '6' ? 0 : has_long_size ? long_size : *written_size;
    const std::uint64_t rest = file_->size() - at - tar_block;
    if (size > rest)
      throw TruncatedTar(Exit::wrong_input, cat(file_->path(), ": cut short: member '", shown(name), "' at byte ", at,
                                                " has ", size, " bytes, but the file ends after ", rest, " of them"));
    const std::string_view data = file_->text().substr(at + tar_block, size);
    const std::uint64_t header_at = at;
    at += tar_block + padded(size);

    switch (type) {
      case 'x':
      case 'X':
      case 'g': {
        const auto records = pax_records(data);
        if (!records) input_error(file_->path(), ": byte ", header_at, ": malformed pax header");
        if (type == 'g') {  // defaults for members that give no value of their own
          if (records->path || records->size)
            input_error(file_->path(), ": byte ", header_at, ": a pax header gives one name or size to all members");
          continue;
        }
        if (records->path) long_name = records->path;
        if (records->size) has_long_size = true, long_size = *records->size;
        sparse = sparse || records->sparse;
        continue;  // they belong to the member after it
      }
      case 'L': long_name = std::string(data.substr(0, data.find('\0'))); continue;
      case 'K': continue;  // a long link target
      case 'S': sparse = true; [[fallthrough]];
      case '\0':
      case '0':
      case '7':
        if (sparse)
          input_error(file_->path(), ": byte ", header_at, ": member '", shown(name),
                      "' is a sparse file, which is not read; pack it without --sparse");
        if (type == '\0' && name.ends_with('/')) break;  // how a tar of 1979 writes a directory
        *member = {name, data, begin, at};
        at_ = at;
        return true;
      default: break;  // directories, links, devices: without content for us
    }
    long_name.reset();
    has_long_size = sparse = false;
    begin = at;
  }
  at_ = at;
  return false;
}

void TarWriter::entry(const std::string& name, char type, std::string_view data) {
  std::string h(tar_block, '\0');
  const auto put = [&](Field f, std::string_view text) { h.replace(f.at, text.size(), text); };
  put(name_field, std::string_view(name).substr(0, name_field.size));
  put(mode_field, "0000644");
  put(owner_field, "0000000");
  put(group_field, "0000000");
  put(size_field, octal(data.size() > largest_octal_size ? 0 : data.size(), 11));
  put(time_field, octal(0, 11));
  put(type_field, std::string_view(&type, 1));
  put(magic_field, std::string_view("ustar\00000", 8));
  put(checksum_field, octal(checksum<unsigned char>(h), 6) + std::string("\0 ", 2));
  file_.write(h);
  file_.write(data);
  file_.write(std::string(padded(data.size()) - data.size(), '\0'));
  offset_ += tar_block + padded(data.size());
}

void TarWriter::add(const std::string& name, std::string_view data) {
  if (name.empty() || name.find('\0') != name.npos)
    input_error("tar: a member of ", data.size(), " bytes: expected a name without zero bytes");
  const auto record = [](const std::string& key, const std::string& value) {
    const std::size_t rest = key.size() + value.size() + 3;  // blank, '=' and line end
    std::size_t length = rest + 1;
    while (std::to_string(length).size() + rest != length) ++length;
    return cat(length, " ", key, "=", value, "\n");
  };
  std::string extended;
  if (name.size() > name_field.size) extended += record("path", name);
  if (data.size() > largest_octal_size) extended += record("size", std::to_string(data.size()));
  if (!extended.empty()) entry("pax_header", 'x', extended);
  entry(name, '0', data);
}

void TarWriter::finish() {
  file_.write(std::string(2 * tar_block, '\0'));
  file_.commit();
}

}  // namespace ov
