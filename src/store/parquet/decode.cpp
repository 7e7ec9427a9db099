#include "store/parquet/decode.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace ov {
namespace {

using Encoding = ParquetEncoding;
using Type = ParquetType;

template <class T>
T little_endian(const char* p) {  // x86 and what else we build for store numbers so
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

[[noreturn]] void too_short(std::int64_t n) { input_error("its data end before value ", n); }

struct Bytes {
  std::string_view rest;

  std::string_view take(std::uint64_t n) {
    if (n > rest.size()) input_error("its data end ", n - rest.size(), " bytes early");
    const std::string_view out = rest.substr(0, n);
    rest.remove_prefix(n);
    return out;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto b = static_cast<unsigned char>(take(1)[0]);
      value |= std::uint64_t{b & 127u} << shift;
      if (b < 128) return value;
    }
    input_error("a number of more than 10 bytes in its data");
  }
  std::int64_t zigzag() {
    const std::uint64_t z = varint();
    return static_cast<std::int64_t>(z >> 1) ^ -static_cast<std::int64_t>(z & 1);
  }
};

// Number i of those of `width` bits each, the lowest bits first. `bytes` holds it whole.
std::uint64_t packed(std::string_view bytes, std::uint64_t i, unsigned width) {
  const std::uint64_t bit = i * width, first = bit / 8;
  const unsigned shift = bit % 8;
  std::uint64_t low = 0, high = 0;
  if (first + 8 <= bytes.size()) low = little_endian<std::uint64_t>(bytes.data() + first);
  else std::memcpy(&low, bytes.data() + first, bytes.size() - first);
  if (shift + width > 64) high = static_cast<unsigned char>(bytes[first + 8]);
  const std::uint64_t value = low >> shift | (shift ? high << (64 - shift) : 0);
  return width == 64 ? value : value & ((std::uint64_t{1} << width) - 1);
}

// Runs of one value and of bit-packed values in turn, `n` in all: run(count, value) and bits(bytes, count).
template <class Run, class Bits>
void hybrid(Bytes in, std::int64_t n, unsigned width, Run&& run, Bits&& bits) {
  while (n > 0) {
    const std::uint64_t head = in.varint(), count = head >> 1;
    if (count == 0) input_error("a run of no values");
    if (head & 1) {  // groups of 8; those that pad the last one, or miss their bytes, are beyond n
      const auto k = count > static_cast<std::uint64_t>(n) / 8 ? n : static_cast<std::int64_t>(count * 8);
      const std::uint64_t needed = (static_cast<std::uint64_t>(k) * width + 7) / 8;
      if (needed > in.rest.size()) input_error("a run of ", count, " groups, of which the bytes are missing");
      const std::uint64_t whole = std::min<std::uint64_t>(count, in.rest.size()) * width;
      bits(in.take(std::max(needed, std::min(whole, in.rest.size()))), k);
      n -= k;
    } else {
      if (count > static_cast<std::uint64_t>(n)) input_error("a run of ", count, " values where ", n, " are left");
      const std::string_view bytes = in.take((width + 7) / 8);
      std::uint64_t value = 0;
      for (std::size_t b = 0; b < bytes.size(); ++b)
        value |= std::uint64_t{static_cast<unsigned char>(bytes[b])} << 8 * b;
      run(static_cast<std::int64_t>(count), value);
      n -= static_cast<std::int64_t>(count);
    }
  }
}

// Encodings.md, "Delta encoding": blocks of a smallest delta and of miniblocks with a width of their own. Sums wrap, at
// the type's width when the caller cuts them. Returns what stands behind.
template <class Put>
std::string_view deltas(std::string_view bytes, std::int64_t n, Put&& put) {
  Bytes in{bytes};
  const std::uint64_t block = in.varint(), minis = in.varint(), total = in.varint();
  std::uint64_t value = static_cast<std::uint64_t>(in.zigzag());
  if (block == 0 || block % 128 || block > 1 << 24 || minis == 0 || block % minis || block / minis % 32)
    input_error("blocks of ", block, " deltas in ", minis, " miniblocks");
  if (total != static_cast<std::uint64_t>(n)) input_error("deltas of ", total, " values, expected ", n);
  const std::uint64_t per_mini = block / minis;
  if (n > 0) put(value);
  for (std::int64_t left = n - 1; left > 0;) {
    const std::uint64_t smallest = static_cast<std::uint64_t>(in.zigzag());
    const std::string_view widths = in.take(minis);
    for (std::uint64_t m = 0; m < minis && left > 0; ++m) {
      const unsigned width = static_cast<unsigned char>(widths[m]);
      if (width > 64) input_error("deltas of ", width, " bits");
      const std::uint64_t k = std::min(per_mini, static_cast<std::uint64_t>(left));
      // The last miniblock is padded, though not by every writer.
      const std::uint64_t needed = (k * width + 7) / 8, padded = per_mini / 8 * width;
      const std::string_view packs = in.take(std::max(needed, std::min(padded, in.rest.size())));
      for (std::uint64_t i = 0; i < k; ++i) put(value += smallest + (width ? packed(packs, i, width) : 0));
      left -= static_cast<std::int64_t>(k);
    }
  }
  return in.rest;
}

std::vector<std::uint64_t> lengths(std::string_view* bytes, std::int64_t n) {
  std::vector<std::uint64_t> out;
  *bytes = deltas(*bytes, n, [&](std::uint64_t v) {
    const auto length = static_cast<std::int32_t>(v);
    if (length < 0) input_error("a value of ", length, " bytes");
    out.push_back(static_cast<std::uint64_t>(length));
  });
  return out;
}

void check_width(std::string_view value, const ParquetLeaf& leaf) {
  if (leaf.type == Type::fixed && value.size() != static_cast<std::size_t>(leaf.width))
    input_error("a value of ", value.size(), " bytes, expected ", leaf.width);
}

// Each value is the first bytes of the one before, and more.
void prefixed(std::string_view bytes, std::int64_t n, const ParquetLeaf& leaf, std::size_t* spare, ParquetValues* out) {
  const std::vector<std::uint64_t> prefixes = lengths(&bytes, n), suffixes = lengths(&bytes, n);
  Bytes in{bytes};
  std::string_view before;
  std::size_t room = 0;
  char* at = nullptr;
  for (std::size_t i = 0; i < prefixes.size(); ++i) {
    const std::string_view suffix = in.take(suffixes[i]);
    const std::size_t prefix = prefixes[i], size = prefix + suffix.size();
    if (prefix > before.size()) input_error("value ", i, " begins as ", prefix, " bytes of one of ", before.size());
    if (prefix == 0) {
      before = suffix;
    } else if (suffix.empty()) {
      before = before.substr(0, prefix);
    } else {
      if (size > *spare) input_error("its values become far longer than its data");
      *spare -= size;
      if (size > room) {
        room = std::max<std::size_t>(size, 1 << 16);
        const std::shared_ptr<char[]> memory(new char[room]);
        at = memory.get();
        out->memory.push_back(memory);
      }
      std::memcpy(at, before.data(), prefix);
      std::memcpy(at + prefix, suffix.data(), suffix.size());
      before = {at, size};
      at += size;
      room -= size;
    }
    check_width(before, leaf);
    out->bytes.push_back(before);
  }
}

void plain(std::string_view bytes, std::int64_t n, const ParquetLeaf& leaf, ParquetValues* out) {
  const auto count = static_cast<std::uint64_t>(n);
  Bytes in{bytes};
  const auto numbers = [&](auto as, auto& to) {
    const std::string_view all = in.take(count > bytes.size() ? bytes.size() + 1 : count * sizeof as);
    for (std::uint64_t i = 0; i < count; ++i) to.push_back(little_endian<decltype(as)>(all.data() + i * sizeof as));
  };
  switch (leaf.type) {
    case Type::boolean: {
      const std::string_view all = in.take((count + 7) / 8);
      for (std::uint64_t i = 0; i < count; ++i) out->integers.push_back(all[i / 8] >> i % 8 & 1);
      break;
    }
    case Type::int32: numbers(std::int32_t{}, out->integers); break;
    case Type::int64: numbers(std::int64_t{}, out->integers); break;
    case Type::real32: numbers(float{}, out->reals); break;
    case Type::real64: numbers(double{}, out->reals); break;
    case Type::bytes:
      if (count > bytes.size() / 4) too_short(static_cast<std::int64_t>(bytes.size() / 4));
      for (std::uint64_t i = 0; i < count; ++i)
        out->bytes.push_back(in.take(little_endian<std::uint32_t>(in.take(4).data())));
      break;
    case Type::int96:
    case Type::fixed:
      if (count > bytes.size()) too_short(static_cast<std::int64_t>(bytes.size()));
      for (std::uint64_t i = 0; i < count; ++i) out->bytes.push_back(in.take(static_cast<std::uint64_t>(leaf.width)));
      break;
  }
  // fastparquet leaves 8 bytes of zeros. Anything else would mean that what was read are not the values.
  if (in.rest.find_first_not_of('\0') != in.rest.npos) input_error(in.rest.size(), " bytes are left behind its values");
}

// Byte k of every value, one stream after the other.
void split(std::string_view bytes, std::int64_t n, const ParquetLeaf& leaf, ParquetValues* out) {
  const std::size_t count = static_cast<std::size_t>(n), width = static_cast<std::size_t>(leaf.width);
  if (bytes.size() / width != count || bytes.size() % width)
    input_error(bytes.size(), " bytes of ", n, " values of ", width, " bytes");
  const std::shared_ptr<char[]> joined(new char[bytes.size()]);
  for (std::size_t k = 0; k < width; ++k)
    for (std::size_t i = 0; i < count; ++i) joined[i * width + k] = bytes[k * count + i];
  plain({joined.get(), bytes.size()}, n, leaf, out);
  if (leaf.type == Type::fixed) out->memory.push_back(joined);
}

void indexed(std::string_view bytes, std::int64_t n, const ParquetValues* dictionary, ParquetValues* out) {
  if (!dictionary) input_error("its values stand in a dictionary, which the column does not have");
  if (n == 0) return;
  Bytes in{bytes};
  const unsigned width = static_cast<unsigned char>(in.take(1)[0]);
  if (width > 32) input_error("indices of ", width, " bits");
  const std::uint64_t size = dictionary->size();
  const auto put = [&](std::uint64_t index, std::int64_t times) {
    if (index >= size) input_error("index ", index, " of a dictionary of ", size);
    const auto k = static_cast<std::size_t>(times);
    if (!dictionary->integers.empty()) out->integers.insert(out->integers.end(), k, dictionary->integers[index]);
    else if (!dictionary->reals.empty()) out->reals.insert(out->reals.end(), k, dictionary->reals[index]);
    else out->bytes.insert(out->bytes.end(), k, dictionary->bytes[index]);
  };
  hybrid(
      in, n, width, [&](std::int64_t k, std::uint64_t index) { put(index, k); },
      [&](std::string_view packs, std::int64_t k) {
        for (std::int64_t i = 0; i < k; ++i) put(packed(packs, static_cast<std::uint64_t>(i), width), 1);
      });
}

void booleans(std::string_view bytes, std::int64_t n, ParquetValues* out) {
  Bytes in{bytes};
  in = {in.take(little_endian<std::uint32_t>(in.take(4).data()))};
  hybrid(
      in, n, 1,
      [&](std::int64_t k, std::uint64_t value) {
        if (value > 1) input_error("a boolean of ", value);
        out->integers.insert(out->integers.end(), static_cast<std::size_t>(k), static_cast<std::int64_t>(value));
      },
      [&](std::string_view packs, std::int64_t k) {
        for (std::int64_t i = 0; i < k; ++i)
          out->integers.push_back(static_cast<std::int64_t>(packed(packs, static_cast<std::uint64_t>(i), 1)));
      });
}

}  // namespace

void decode_levels(std::string_view bytes, std::int64_t n, int max, std::vector<std::uint8_t>* out) {
  const auto width = static_cast<unsigned>(std::bit_width(static_cast<unsigned>(max)));
  const auto check = [&](std::uint64_t level) {
    if (level > static_cast<std::uint64_t>(max)) input_error("level ", level, " of at most ", max);
    return static_cast<std::uint8_t>(level);
  };
  hybrid(
      Bytes{bytes}, n, width,
      [&](std::int64_t k, std::uint64_t level) { out->insert(out->end(), static_cast<std::size_t>(k), check(level)); },
      [&](std::string_view packs, std::int64_t k) {
        for (std::int64_t i = 0; i < k; ++i) out->push_back(check(packed(packs, static_cast<std::uint64_t>(i), width)));
      });
}

void decode_values(ParquetEncoding encoding, std::string_view bytes, std::int64_t n, const ParquetLeaf& leaf,
                   const ParquetValues* dictionary, std::size_t* spare, ParquetValues* out) {
  const bool integer = leaf.type == Type::int32 || leaf.type == Type::int64;
  const bool raw = leaf.type == Type::bytes || leaf.type == Type::fixed;
  const auto wrong = [&](bool fits) {
    if (!fits) input_error("encoding ", static_cast<int>(encoding), " of values of type ", static_cast<int>(leaf.type));
  };
  switch (encoding) {
    case Encoding::plain: return plain(bytes, n, leaf, out);
    case Encoding::plain_dictionary:
    case Encoding::rle_dictionary: return indexed(bytes, n, dictionary, out);
    case Encoding::rle: wrong(leaf.type == Type::boolean); return n ? booleans(bytes, n, out) : void();
    case Encoding::delta_binary_packed:
      wrong(integer);
      if (n == 0) return;
      deltas(bytes, n, [&](std::uint64_t v) {
        out->integers.push_back(leaf.type == Type::int32 ? static_cast<std::int32_t>(v) : static_cast<std::int64_t>(v));
      });
      return;
    case Encoding::delta_length_byte_array: {
      wrong(raw);
      if (n == 0) return;
      const std::vector<std::uint64_t> sizes = lengths(&bytes, n);
      Bytes in{bytes};
      for (const std::uint64_t size : sizes) {
        out->bytes.push_back(in.take(size));
        check_width(out->bytes.back(), leaf);
      }
      return;
    }
    case Encoding::delta_byte_array: wrong(raw); return n ? prefixed(bytes, n, leaf, spare, out) : void();
    case Encoding::byte_stream_split:
      wrong(leaf.type != Type::boolean && leaf.type != Type::int96 && leaf.type != Type::bytes);
      return split(bytes, n, leaf, out);
    default: input_error("unknown encoding ", static_cast<int>(encoding));
  }
}

}  // namespace ov
