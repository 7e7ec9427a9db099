// libpng reads samples as stored; what they mean as 8-bit RGB is decided here, since Pillow's choices are not libpng's.
#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "image/formats.h"

namespace ov::formats {
namespace {

enum class Kind { rgb, gray, gray16, palette };  // how samples become RGB

// Errors of libpng longjmp back into the member function that called it; see decode_jpeg.cpp.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  ~Reader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Reader(const Reader&) = delete;

  bool read_header() {
    if (setjmp(failed_)) return false;
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    if (!png_) return false;
    info_ = png_create_info_struct(png_);
    if (!info_) return false;
    png_set_read_fn(png_, this, read);
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // check_size decides
    png_read_info(png_, info_);
    return true;
  }
  // One byte a sample: 1, 2 and 4 bits are unpacked, 16 bits lose their low byte; alpha goes. Grey of 16 bits without
  // alpha stays as it is: two bytes, high one first.
  // `piece`: how many bytes of image data libpng asks for at a time; it decodes none of a piece that is incomplete.
  bool start(std::size_t piece) {
    if (setjmp(failed_)) return false;
    png_set_compression_buffer_size(png_, piece);
    const int color = png_get_color_type(png_, info_), depth = png_get_bit_depth(png_, info_);
    if (color == PNG_COLOR_TYPE_PALETTE) kind_ = Kind::palette;
    else if (color & PNG_COLOR_MASK_COLOR) kind_ = Kind::rgb;
    else kind_ = color == PNG_COLOR_TYPE_GRAY && depth == 16 ? Kind::gray16 : Kind::gray;

    // From here on only image data follows. Pillow leaves its checksums unread, so a wrong one is no error.
    png_set_crc_action(png_, PNG_CRC_QUIET_USE, PNG_CRC_NO_CHANGE);
    png_set_interlace_handling(png_);
    if (kind_ == Kind::palette) png_set_packing(png_);
    if (kind_ == Kind::gray && depth < 8) png_set_expand_gray_1_2_4_to_8(png_);
    if (kind_ != Kind::gray16 && depth == 16) png_set_strip_16(png_);
    if (color & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(png_);
    png_read_update_info(png_, info_);
    return true;
  }
  bool read_rows(png_bytepp rows) {
    if (setjmp(failed_)) return all_rows_read();
    png_read_image(png_, rows);
    return true;
  }

  ImageSize size() const { return {png_get_image_width(png_, info_), png_get_image_height(png_, info_)}; }
  std::size_t row_bytes() const { return png_get_rowbytes(png_, info_); }
  bool ran_out() const { return ran_out_; }
  Kind kind() const { return kind_; }  // after start()
  // Entries the file does not define are black.
  std::array<png_color, 256> palette() const {
    std::array<png_color, 256> entries{};
    png_colorp stored = nullptr;
    int n = 0;
    if (png_get_PLTE(png_, info_, &stored, &n)) std::copy_n(stored, std::min(n, 256), entries.begin());
    return entries;
  }
  const char* message() const { return *message_ ? message_ : "libpng could not start"; }

 private:
  static void on_error(png_structp png, png_const_charp message) {
    auto* self = static_cast<Reader*>(png_get_error_ptr(png));
    std::strncpy(self->message_, message, sizeof self->message_ - 1);
    std::longjmp(self->failed_, 1);
  }
  static void read(png_structp png, png_bytep out, std::size_t n) {
    auto* self = static_cast<Reader*>(png_get_io_ptr(png));
    if (n > self->bytes_.size() - self->at_) {
      self->ran_out_ = true;
      png_error(png, "the file is truncated");
    }
    std::memcpy(out, self->bytes_.data() + self->at_, n);
    self->at_ += n;
  }
  // libpng looks for the end of the data behind the last row. When that is cut off, the pixels are there all the same.
  bool all_rows_read() const {
    if (png_get_interlace_type(png_, info_) != PNG_INTERLACE_NONE) return png_get_current_pass_number(png_) >= 7;
    return png_get_current_row_number(png_) >= png_get_image_height(png_, info_);
  }

  std::string_view bytes_;
  std::size_t at_ = 0;
  bool ran_out_ = false;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  Kind kind_ = Kind::rgb;
  std::jmp_buf failed_{};
  char message_[128] = {};
};

[[noreturn]] void fail(const Reader& reader, const std::string& name, const char* where) {
  input_error(name, ": PNG ", where, ": ", reader.message());
}

// Null when the image data is damaged or truncated.
std::optional<Image> decode(Reader& reader, std::size_t piece, const std::string& name) {
  if (!reader.read_header()) fail(reader, name, "header");
  check_size(reader.size(), name);
  if (!reader.start(piece)) fail(reader, name, "header");

  Image image(reader.size().width, reader.size().height);
  const bool rgb = reader.kind() == Kind::rgb;
  // Interlaced files fill every row several times, so all rows exist at once; RGB needs no second buffer.
  std::vector<std::uint8_t> samples(rgb ? 0 : reader.row_bytes() * static_cast<std::size_t>(image.height));
  std::vector<png_bytep> rows(static_cast<std::size_t>(image.height));
  for (std::size_t y = 0; y < rows.size(); ++y)
    rows[y] = rgb ? image.row(static_cast<std::int64_t>(y)) : samples.data() + y * reader.row_bytes();
  if (!reader.read_rows(rows.data())) return std::nullopt;
  if (rgb) return image;

  const auto palette = reader.palette();
  for (std::int64_t y = 0; y < image.height; ++y) {
    const std::uint8_t* in = rows[static_cast<std::size_t>(y)];
    std::uint8_t* out = image.row(y);
    for (std::int64_t x = 0; x < image.width; ++x, out += 3) {
      if (reader.kind() == Kind::palette) {
        const png_color& c = palette[in[x]];
        out[0] = c.red, out[1] = c.green, out[2] = c.blue;
      } else if (reader.kind() == Kind::gray16) {
        std::fill_n(out, 3, in[2 * x] ? std::uint8_t{255} : in[2 * x + 1]);  // min(value, 255)
      } else {
        std::fill_n(out, 3, in[x]);
      }
    }
  }
  return image;
}

}  // namespace

ImageSize png_size(std::string_view bytes, const std::string& name) {
  Reader reader(bytes);
  if (!reader.read_header()) fail(reader, name, "header");
  return reader.size();
}

Image decode_png(std::string_view bytes, const std::string& name) {
  Reader reader(bytes);
  if (auto image = decode(reader, 8192, name)) return *std::move(image);
  if (!reader.ran_out()) fail(reader, name, "data");
  // Only the checksums at the end may be missing: byte by byte every row that the file holds comes out.
  Reader slow(bytes);
  if (auto image = decode(slow, 1, name)) return *std::move(image);
  fail(slow, name, "data");
}

}  // namespace ov::formats
