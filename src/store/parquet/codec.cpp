#include "store/parquet/codec.h"

#include <brotli/decode.h>
#include <lz4.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/error.h"

namespace ov {
namespace {

[[noreturn]] void damaged(const char* codec) { input_error("damaged ", codec, " data"); }

// Bytes that grow by doubling up to `limit`.
class Output {
 public:
  Output(std::size_t first, std::size_t limit) : limit_(limit) { resize(std::min(first, limit)); }
  ~Output() { std::free(data_); }
  Output(const Output&) = delete;

  char* data() { return data_; }
  std::size_t size() const { return size_; }
  bool grow() {
    if (size_ == limit_) return false;
    resize(size_ > limit_ / 2 ? limit_ : 2 * size_);
    return true;
  }
  ParquetBytes take() {
    const std::shared_ptr<const void> memory(data_, [](const void* p) { std::free(const_cast<void*>(p)); });
    return {{std::exchange(data_, nullptr), size_}, memory};
  }

 private:
  void resize(std::size_t size) {
    char* grown = static_cast<char*>(std::realloc(data_, std::max<std::size_t>(size, 1)));
    if (!grown) throw std::bad_alloc();
    data_ = grown;
    size_ = size;
  }
  char* data_ = nullptr;
  std::size_t size_ = 0;
  const std::size_t limit_;
};

// What the input could become at the most: `ratio` times its size, by the format.
ParquetBytes whole(std::size_t input, std::size_t ratio, std::size_t size, const char* codec, auto&& into) {
  if (size / ratio > input) damaged(codec);
  Output out(size, size);
  if (!into(out.data())) damaged(codec);
  return out.take();
}

// step(out, room, &finished) returns how many bytes it made; 0 while not finished means that the input is at its end.
ParquetBytes stepwise(std::string_view input, std::size_t size, const char* codec, auto&& step) {
  Output out(4 * input.size() + 1024, size);
  bool finished = false;
  char beyond = 0;  // room for one byte too many
  for (std::size_t at = 0; !finished;) {
    if (at == out.size() && !out.grow()) {
      if (step(&beyond, 1, &finished) != 0 || !finished) damaged(codec);
      break;
    }
    const std::size_t made = step(out.data() + at, out.size() - at, &finished);
    if (made == 0 && !finished) damaged(codec);
    at += made;
    if (finished && at != size) damaged(codec);
  }
  return out.take();
}

ParquetBytes gunzip(std::string_view input, std::size_t size) {
  struct Stream : z_stream {
    Stream() : z_stream{} {
      if (::inflateInit2(this, MAX_WBITS + 32) != Z_OK) throw std::bad_alloc();  // 32: gzip or zlib, by the header
    }
    ~Stream() { ::inflateEnd(this); }
  } z;
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
  z.avail_in = static_cast<uInt>(input.size());
  return stepwise(input, size, "gzip", [&](char* out, std::size_t room, bool* finished) {
    z.next_out = reinterpret_cast<Bytef*>(out);
    z.avail_out = static_cast<uInt>(room);
    for (int state = Z_OK; state == Z_OK && z.avail_out > 0 && !*finished;) {
      state = ::inflate(&z, Z_NO_FLUSH);
      *finished = state == Z_STREAM_END && z.avail_in == 0;
      if (state == Z_STREAM_END && z.avail_in > 0) state = ::inflateReset(&z);  // several members in a row
      if (state != Z_OK && state != Z_STREAM_END && state != Z_BUF_ERROR) damaged("gzip");
    }
    return room - z.avail_out;
  });
}

ParquetBytes unzstd(std::string_view input, std::size_t size) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&::ZSTD_freeDCtx)> stream(::ZSTD_createDCtx(), ::ZSTD_freeDCtx);
  if (!stream) throw std::bad_alloc();
  ::ZSTD_DCtx_setParameter(stream.get(), ZSTD_d_windowLogMax, 27);
  ZSTD_inBuffer in{input.data(), input.size(), 0};
  return stepwise(input, size, "zstd", [&](char* out, std::size_t room, bool* finished) {
    ZSTD_outBuffer o{out, room, 0};
    do {  // a frame at a time
      const std::size_t left = ::ZSTD_decompressStream(stream.get(), &o, &in);
      if (::ZSTD_isError(left)) damaged("zstd");
      *finished = left == 0 && in.pos == in.size;
    } while (o.pos < o.size && in.pos < in.size);
    return o.pos;
  });
}

ParquetBytes unbrotli(std::string_view input, std::size_t size) {
  const std::unique_ptr<BrotliDecoderState, decltype(&::BrotliDecoderDestroyInstance)> stream(
      ::BrotliDecoderCreateInstance(nullptr, nullptr, nullptr), ::BrotliDecoderDestroyInstance);
  if (!stream) throw std::bad_alloc();
  std::size_t left = input.size();
  auto* next = reinterpret_cast<const std::uint8_t*>(input.data());
  return stepwise(input, size, "brotli", [&](char* out, std::size_t room, bool* finished) {
    std::size_t free = room;
    auto* at = reinterpret_cast<std::uint8_t*>(out);
    const auto state = ::BrotliDecoderDecompressStream(stream.get(), &left, &next, &free, &at, nullptr);
    if (state == BROTLI_DECODER_RESULT_ERROR || (state == BROTLI_DECODER_RESULT_SUCCESS && left > 0)) damaged("brotli");
    *finished = state == BROTLI_DECODER_RESULT_SUCCESS;
    return room - free;
  });
}

bool lz4_block(std::string_view input, char* out, std::size_t size) {
  return size <= LZ4_MAX_INPUT_SIZE && input.size() <= LZ4_MAX_INPUT_SIZE &&
         ::LZ4_decompress_safe(input.data(), out, static_cast<int>(input.size()), static_cast<int>(size)) ==
             static_cast<int>(size);
}

// Hadoop's framing: blocks of (length, compressed length, both u32 big endian, data). What does not fit it exactly is a
// raw block, which some writers stored under the same number.
bool lz4_hadoop(std::string_view input, char* out, std::size_t size) {
  const auto number = [&](std::size_t at) {
    std::size_t n = 0;
    for (std::size_t b = 0; b < 4; ++b) n = n << 8 | static_cast<unsigned char>(input[at + b]);
    return n;
  };
  while (input.size() >= 8) {
    const std::size_t length = number(0), packed = number(4);
    if (length > size || packed > input.size() - 8 || !lz4_block(input.substr(8, packed), out, length)) return false;
    out += length;
    size -= length;
    input.remove_prefix(8 + packed);
  }
  return input.empty() && size == 0;
}

}  // namespace

ParquetBytes decompress(ParquetCodec codec, std::string_view input, std::size_t size) {
  if (codec == ParquetCodec::none) {
    if (input.size() != size) input_error(input.size(), " bytes, which are not compressed, ", size, " are promised");
    return {input, nullptr};
  }
  if (size == 0) return {{}, nullptr};  // some writers compress nothing, some leave it out
  switch (codec) {
    case ParquetCodec::snappy:
      // A copy of 64 bytes takes 3; the length stands in front, and must be the one that is promised.
      return whole(input.size(), 22, size, "snappy", [&](char* out) {
        std::size_t length = 0;
        return ::snappy_uncompressed_length(input.data(), input.size(), &length) == SNAPPY_OK && length == size &&
               ::snappy_uncompress(input.data(), input.size(), out, &length) == SNAPPY_OK && length == size;
      });
    case ParquetCodec::gzip: return gunzip(input, size);
    case ParquetCodec::brotli: return unbrotli(input, size);
    case ParquetCodec::zstd: return unzstd(input, size);
    case ParquetCodec::lz4:
    case ParquetCodec::lz4_raw:
      return whole(input.size(), 256, size, "lz4", [&](char* out) {
        return (codec == ParquetCodec::lz4 && lz4_hadoop(input, out, size)) || lz4_block(input, out, size);
      });
    default: input_error("codec ", static_cast<int>(codec), " is not read");
  }
}

std::string compress(ParquetCodec codec, std::string_view input) {
  std::string out;
  std::size_t size = 0;
  bool done = true;
  switch (codec) {
    case ParquetCodec::none: return std::string(input);
    case ParquetCodec::snappy:
      size = ::snappy_max_compressed_length(input.size());
      out.resize(size);
      done = ::snappy_compress(input.data(), input.size(), out.data(), &size) == SNAPPY_OK;
      break;
    case ParquetCodec::zstd:
      out.resize(::ZSTD_compressBound(input.size()));
      size = ::ZSTD_compress(out.data(), out.size(), input.data(), input.size(), 3);
      done = !::ZSTD_isError(size);
      break;
    case ParquetCodec::gzip: {
      z_stream z{};
      done = ::deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
      if (!done) break;
      out.resize(::deflateBound(&z, input.size()));
      z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
      z.avail_in = static_cast<uInt>(input.size());
      z.next_out = reinterpret_cast<Bytef*>(out.data());
      z.avail_out = static_cast<uInt>(out.size());
      done = ::deflate(&z, Z_FINISH) == Z_STREAM_END;
      size = z.total_out;
      ::deflateEnd(&z);
      break;
    }
    default: done = false;
  }
  if (!done) input_error("cannot compress ", input.size(), " bytes with codec ", static_cast<int>(codec));
  out.resize(size);
  return out;
}

}  // namespace ov
