#include "image/encode.h"

#include <csetjmp>
#include <cstdio>
// jpeglib.h needs <cstdio> before it.
#include <jpeglib.h>
#include <png.h>

#include "base/error.h"

namespace ov {
namespace {

void check_image(const char* function, const Image& image, std::int64_t limit) {
  if (image.width < 1 || image.height < 1 || image.width > limit || image.height > limit)
    input_error(function, ": a picture of ", image.width, " x ", image.height, " pixels; expected 1..", limit,
                " on each side");
  if (image.rgb.size() != static_cast<std::size_t>(image.width * image.height * 3))
    input_error(function, ": ", image.rgb.size(), " bytes of RGB for ", image.width, " x ", image.height, " pixels");
}

// The bytes are owned by libjpeg's memory destination until the writer dies. Errors as in decode_jpeg.cpp.
class JpegWriter {
 public:
  JpegWriter() {
    info_.err = jpeg_std_error(&errors_);
    info_.client_data = this;
    errors_.error_exit = [](j_common_ptr c) {
      auto* self = static_cast<JpegWriter*>(c->client_data);
      c->err->format_message(c, self->message_);
      std::longjmp(self->failed_, 1);
    };
    errors_.output_message = [](j_common_ptr) {};
  }
  ~JpegWriter() {
    jpeg_destroy_compress(&info_);
    std::free(bytes_);
  }
  JpegWriter(const JpegWriter&) = delete;

  bool write(const Image& image, int quality, ChromaSampling sampling) {
    if (setjmp(failed_)) return false;
    jpeg_create_compress(&info_);
    jpeg_mem_dest(&info_, &bytes_, &size_);
    info_.image_width = static_cast<JDIMENSION>(image.width);
    info_.image_height = static_cast<JDIMENSION>(image.height);
    info_.input_components = 3;
    info_.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info_);
    jpeg_set_quality(&info_, quality, TRUE);
    info_.dct_method = JDCT_ISLOW;
    const int luma = sampling == ChromaSampling::yuv420 ? 2 : 1;  // luma samples for one chroma sample, each way
    info_.comp_info[0].h_samp_factor = info_.comp_info[0].v_samp_factor = luma;
    jpeg_start_compress(&info_, TRUE);
    while (info_.next_scanline < info_.image_height) {
      auto* row = const_cast<JSAMPLE*>(image.row(info_.next_scanline));
      jpeg_write_scanlines(&info_, &row, 1);
    }
    jpeg_finish_compress(&info_);
    return true;
  }
  std::string bytes() const { return {reinterpret_cast<const char*>(bytes_), size_}; }
  const char* message() const { return message_; }

 private:
  jpeg_compress_struct info_{};
  jpeg_error_mgr errors_{};
  unsigned char* bytes_ = nullptr;
  unsigned long size_ = 0;
  std::jmp_buf failed_{};
  char message_[JMSG_LENGTH_MAX] = {};
};

class PngWriter {
 public:
  PngWriter() = default;
  ~PngWriter() { png_destroy_write_struct(&png_, &info_); }
  PngWriter(const PngWriter&) = delete;

  bool write(const Image& image) {
    if (setjmp(failed_)) return false;
    png_ = png_create_write_struct(
        PNG_LIBPNG_VER_STRING, this,
        [](png_structp png, png_const_charp) {
          std::longjmp(static_cast<PngWriter*>(png_get_error_ptr(png))->failed_, 1);
        },
        [](png_structp, png_const_charp) {});
    if (!png_) return false;
    info_ = png_create_info_struct(png_);
    if (!info_) return false;
    png_set_write_fn(
        png_, this,
        [](png_structp png, png_bytep data, std::size_t n) {
          static_cast<PngWriter*>(png_get_io_ptr(png))->bytes_.append(reinterpret_cast<const char*>(data), n);
        },
        [](png_structp) {});
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_IHDR(png_, info_, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height), 8,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(png_, 1);  // a third of level 6's time, and a twelfth more bytes
    png_write_info(png_, info_);
    for (std::int64_t y = 0; y < image.height; ++y) png_write_row(png_, image.row(y));
    png_write_end(png_, info_);
    return true;
  }
  std::string take_bytes() { return std::move(bytes_); }

 private:
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::string bytes_;
  std::jmp_buf failed_{};
};

}  // namespace

std::string encode_jpeg(const Image& image, int quality, ChromaSampling sampling) {
  check_image("encode_jpeg", image, JPEG_MAX_DIMENSION);
  if (quality < 1 || quality > 100) input_error("encode_jpeg: quality ", quality, "; expected 1..100");
  JpegWriter writer;
  if (!writer.write(image, quality, sampling)) machine_error("encode_jpeg: ", writer.message());
  return writer.bytes();
}

std::string encode_png(const Image& image) {
  check_image("encode_png", image, std::int64_t{1} << 30);
  PngWriter writer;
  if (!writer.write(image))
    machine_error("encode_png: libpng failed on a picture of ", image.width, " x ", image.height);
  return writer.take_bytes();
}

}  // namespace ov
