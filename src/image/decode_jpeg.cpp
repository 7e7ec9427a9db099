// libjpeg-turbo with its defaults, which are Pillow's: accurate integer DCT, smooth ("fancy") chroma upsampling.
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
// jpeglib.h needs <cstdio> before it.
#include <jpeglib.h>

#include "base/error.h"
#include "image/formats.h"

namespace ov::formats {
namespace {

// libjpeg reports errors by a call that must not return. It longjmps back into the member function that called the
// library; between setjmp and longjmp no object with a destructor is alive, so nothing is skipped.
//
// The source suspends when the bytes run out instead of inventing an end marker: that is how Pillow tells a truncated
// file from a complete one.
class Reader {
 public:
  explicit Reader(std::string_view bytes) {
    info_.err = jpeg_std_error(&errors_);
    info_.client_data = this;
    errors_.error_exit = [](j_common_ptr c) {
      auto* self = static_cast<Reader*>(c->client_data);
      c->err->format_message(c, self->message_);
      std::longjmp(self->failed_, 1);
    };
    errors_.output_message = [](j_common_ptr) {};  // warnings: Pillow ignores them
    source_.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
    source_.bytes_in_buffer = bytes.size();
    source_.init_source = [](j_decompress_ptr) {};
    source_.fill_input_buffer = [](j_decompress_ptr) -> boolean { return FALSE; };
    source_.skip_input_data = [](j_decompress_ptr c, long n) {
      if (n <= 0) return;
      const auto step = std::min(static_cast<std::size_t>(n), c->src->bytes_in_buffer);
      c->src->next_input_byte += step;
      c->src->bytes_in_buffer -= step;
    };
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.term_source = [](j_decompress_ptr) {};
  }
  ~Reader() { jpeg_destroy_decompress(&info_); }
  Reader(const Reader&) = delete;

  // Each step returns false on failure; message() then says what is wrong.
  bool read_header() {
    if (setjmp(failed_)) return false;
    jpeg_create_decompress(&info_);
    info_.src = &source_;
    // Every scan of a progressive picture passes over all of it, so a small file with thousands costs minutes. Encoders
    // write about ten.
    progress_.progress_monitor = [](j_common_ptr c) {
      auto* self = static_cast<Reader*>(c->client_data);
      if (self->info_.input_scan_number <= most_scans) return;
      std::snprintf(self->message_, sizeof self->message_, "more than %d scans", most_scans);
      std::longjmp(self->failed_, 1);
    };
    info_.progress = &progress_;
    return jpeg_read_header(&info_, TRUE) == JPEG_HEADER_OK;
  }
  bool start() {
    if (setjmp(failed_)) return false;
    return jpeg_start_decompress(&info_);
  }
  bool read_row(std::uint8_t* samples) {
    if (setjmp(failed_)) return false;
    return jpeg_read_scanlines(&info_, &samples, 1) == 1;
  }
  // True also when only the end marker is missing: every row is there.
  bool finish() {
    if (setjmp(failed_)) return false;
    jpeg_finish_decompress(&info_);
    return true;
  }

  // 1 grey, 3 RGB, 4 CMYK: libjpeg turns YCbCr into RGB and YCCK into CMYK.
  int channels() const { return info_.num_components; }
  void choose_output() {
    info_.out_color_space = channels() == 1 ? JCS_GRAYSCALE : channels() == 3 ? JCS_RGB : JCS_CMYK;
  }
  ImageSize size() const { return {info_.image_width, info_.image_height}; }
  const char* message() const { return *message_ ? message_ : "the file is truncated"; }

 private:
  static constexpr int most_scans = 100;
  jpeg_decompress_struct info_{};
  jpeg_progress_mgr progress_{};
  jpeg_error_mgr errors_{};
  jpeg_source_mgr source_{};
  std::jmp_buf failed_{};
  char message_[JMSG_LENGTH_MAX] = {};
};

[[noreturn]] void fail(const Reader& reader, const std::string& name, const std::string& where) {
  input_error(name, ": JPEG ", where, ": ", reader.message());
}

// x / 255 rounded, for 0 <= x <= 255². Equation of Pillow's MULDIV255.
int div255(int x) {
  const int t = x + 128;
  return (t + (t >> 8)) >> 8;
}

// Samples as stored in the file, that is inverted: 255 is no ink. With K' = 255 - K and C' = 255 - C stored,
// R = K' - (255 - C') K' / 255; it cannot leave 0..255.
void cmyk_to_rgb(const std::uint8_t* cmyk, std::int64_t width, std::uint8_t* rgb) {
  for (std::int64_t x = 0; x < width; ++x, cmyk += 4, rgb += 3)
    for (int c = 0; c < 3; ++c) rgb[c] = static_cast<std::uint8_t>(cmyk[3] - div255((255 - cmyk[c]) * cmyk[3]));
}

}  // namespace

ImageSize jpeg_size(std::string_view bytes, const std::string& name) {
  Reader reader(bytes);
  if (!reader.read_header()) fail(reader, name, "header");
  return reader.size();
}

Image decode_jpeg(std::string_view bytes, const std::string& name) {
  // Damaged data holds coefficients out of range, which the library's vector code and its plain code round differently.
  // This variable would choose the plain one; the library asks for it at its first picture.
  [[maybe_unused]] static const int vectors = ::unsetenv("JSIMD_FORCENONE");
  Reader reader(bytes);
  if (!reader.read_header()) fail(reader, name, "header");
  check_size(reader.size(), name);
  const int channels = reader.channels();
  if (channels != 1 && channels != 3 && channels != 4)
    input_error(name, ": JPEG header: ", channels, " colour channels; expected 1, 3 or 4");
  reader.choose_output();
  if (!reader.start()) fail(reader, name, "data");

  Image image(reader.size().width, reader.size().height);
  std::vector<std::uint8_t> samples(static_cast<std::size_t>(image.width * channels));
  for (std::int64_t y = 0; y < image.height; ++y) {
    std::uint8_t* rgb = image.row(y);
    if (!reader.read_row(channels == 3 ? rgb : samples.data()))
      fail(reader, name, cat("data, row ", y, " of ", image.height));
    if (channels == 4) cmyk_to_rgb(samples.data(), image.width, rgb);
    if (channels == 1)
      for (std::int64_t x = 0; x < image.width; ++x) std::fill_n(rgb + 3 * x, 3, samples[static_cast<std::size_t>(x)]);
  }
  if (!reader.finish()) fail(reader, name, "data after the last row");
  return image;
}

}  // namespace ov::formats
