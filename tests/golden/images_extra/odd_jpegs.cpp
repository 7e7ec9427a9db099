// Writes JPEG files that Pillow cannot write: unusual subsampling, colour spaces, scans and markers.
// Build: g++ odd_jpegs.cpp -ljpeg -o odd_jpegs; run: odd_jpegs DIRECTORY. See make.py.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <jpeglib.h>

struct Options {
  const char* name;
  int channels = 3;
  J_COLOR_SPACE in = JCS_RGB, stored = JCS_YCbCr;
  int h = 1, v = 1;  // luma samples for one chroma sample
  int ch = 1, cv = 1;
  bool progressive = false, arithmetic = false, adobe = true, one_scan_per_channel = false;
  int restart = 0;
  int width = 53, height = 37;
};

static void write(const std::string& directory, const Options& o) {
  jpeg_compress_struct c{};
  jpeg_error_mgr e;
  c.err = jpeg_std_error(&e);
  jpeg_create_compress(&c);
  FILE* f = std::fopen((directory + "/" + o.name).c_str(), "wb");
  jpeg_stdio_dest(&c, f);
  c.image_width = static_cast<JDIMENSION>(o.width);
  c.image_height = static_cast<JDIMENSION>(o.height);
  c.input_components = o.channels;
  c.in_color_space = o.in;
  jpeg_set_defaults(&c);
  jpeg_set_colorspace(&c, o.stored);
  jpeg_set_quality(&c, 85, TRUE);
  c.comp_info[0].h_samp_factor = o.h, c.comp_info[0].v_samp_factor = o.v;
  for (int i = 1; i < c.num_components; ++i) {
    const bool k = i == 3;  // the K of YCCK is sampled like Y
    c.comp_info[i].h_samp_factor = k ? o.h : o.ch, c.comp_info[i].v_samp_factor = k ? o.v : o.cv;
  }
  std::vector<jpeg_scan_info> scans;
  if (o.progressive) jpeg_simple_progression(&c);
  if (o.one_scan_per_channel) {
    for (int i = 0; i < c.num_components; ++i) scans.push_back({1, {i, 0, 0, 0}, 0, 63, 0, 0});
    c.scan_info = scans.data(), c.num_scans = static_cast<int>(scans.size());
  }
  c.arith_code = o.arithmetic;
  c.restart_interval = static_cast<unsigned>(o.restart);
  c.write_Adobe_marker = o.adobe && (o.channels == 4 || o.stored == JCS_RGB);
  c.write_JFIF_header = c.write_JFIF_header && o.stored == JCS_YCbCr;
  jpeg_start_compress(&c, TRUE);
  std::vector<JSAMPLE> row(static_cast<std::size_t>(o.width * o.channels));
  for (int y = 0; y < o.height; ++y) {
    for (int x = 0; x < o.width; ++x)
      for (int k = 0; k < o.channels; ++k) {
        const double wave =
            127.5 + 100 * std::sin(0.21 * x * (k + 1) + 0.13 * y) + ((x / 7 + y / 5 + k) % 2 ? 27 : -27);
        row[static_cast<std::size_t>(x * o.channels + k)] = static_cast<JSAMPLE>(wave < 0     ? 0
                                                                                 : wave > 255 ? 255
                                                                                              : wave);
      }
    JSAMPLE* p = row.data();
    jpeg_write_scanlines(&c, &p, 1);
  }
  jpeg_finish_compress(&c);
  jpeg_destroy_compress(&c);
  std::fclose(f);
}

int main(int, char** argv) {
  const Options all[] = {
      {.name = "yuv440.jpg", .h = 1, .v = 2},
      {.name = "yuv411.jpg", .h = 4, .v = 1},
      {.name = "yuv410.jpg", .h = 4, .v = 2},
      {.name = "yuv420_odd_progressive_restart.jpg", .h = 2, .v = 2, .progressive = true, .restart = 3},
      {.name = "yuv422_restart.jpg", .h = 2, .v = 1, .restart = 2},
      {.name = "chroma_larger.jpg", .h = 1, .v = 1, .ch = 2, .cv = 1},
      {.name = "one_pixel_420.jpg", .h = 2, .v = 2, .width = 1, .height = 1},
      {.name = "scan_per_channel.jpg", .h = 2, .v = 2, .one_scan_per_channel = true},
      {.name = "arithmetic.jpg", .h = 2, .v = 2, .arithmetic = true},
      {.name = "rgb_stored.jpg", .stored = JCS_RGB},
      {.name = "gray_2x2.jpg", .channels = 1, .in = JCS_GRAYSCALE, .stored = JCS_GRAYSCALE, .h = 2, .v = 2},
      {.name = "ycck_420.jpg", .channels = 4, .in = JCS_CMYK, .stored = JCS_YCCK, .h = 2, .v = 2},
      {.name = "cmyk_no_adobe.jpg", .channels = 4, .in = JCS_CMYK, .stored = JCS_CMYK, .adobe = false},
      {.name = "cmyk_progressive.jpg", .channels = 4, .in = JCS_CMYK, .stored = JCS_CMYK, .progressive = true},
  };
  for (const Options& o : all) write(argv[1], o);
}
