// A data set in a directory that goes away with the test: pictures, a conversation file, and the 256-byte tokenizer.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "base/io/file.h"
#include "data/load/loader.h"
#include "image/encode.h"
#include "tests/base/scratch.h"
#include "tests/check.h"

namespace ov::loader_test {

inline Processor small_processor() {
  ProcessorConfig images;
  images.min_pixels = 28 * 28;
  images.max_pixels = 112 * 112;
  return {Tokenizer::read("data/tokenizer"), images};
}

inline Json turn(const char* from, const std::string& value) {
  return Json::object({{"from", from}, {"value", value}});
}

// Question and answer in turn, as the first keys of a record.
inline Json conversation(const std::vector<std::string>& texts) {
  Json list = Json::array();
  for (std::size_t i = 0; i < texts.size(); ++i) list.push(turn(i % 2 ? "gpt" : "human", texts[i]));
  return list;
}

inline Json record(const std::string& id, const Json& image, const std::vector<std::string>& texts) {
  Json r = Json::object({{"id", id}});
  if (!image.is_null()) r.set("image", image);
  r.set("conversations", conversation(texts));
  return r;
}

class DataSet {
 public:
  std::string path(const std::string& name) const { return dir_ / name; }
  std::string write(const std::string& name, const std::string& content) const {
    write_durably(path(name), content);
    return path(name);
  }
  std::string png(const std::string& name, std::int64_t width, std::int64_t height, int shade) const {
    return write(name, encode_png(drawn(width, height, shade)));
  }
  std::string jpeg(const std::string& name, std::int64_t width, std::int64_t height, int shade) const {
    return write(name, encode_jpeg(drawn(width, height, shade)));
  }
  std::string json(const std::vector<Json>& records, const std::string& name = "data.json") const {
    return write(name, Json(records).dump(1));
  }

  // Ten records: pictures of different sizes, one to three turns, two pictures in one record, and one of text alone.
  std::string ten() const {
    std::vector<Json> records;
    for (int i = 0; i < 10; ++i) {
      const std::string name = "p" + std::to_string(i) + (i % 2 ? ".png" : ".jpg");
      i % 2 ? png(name, 28 + 14 * i, 40 + 9 * i, 20 * i) : jpeg(name, 28 + 14 * i, 40 + 9 * i, 20 * i);
      std::vector<std::string> texts = {"<image>\nwhat is " + std::to_string(i) + "?", "number " + std::to_string(i)};
      for (int k = 0; k < i % 3; ++k) {
        texts.push_back("and then?");
        texts.push_back(std::string(static_cast<std::size_t>(k) + 1, 'x'));
      }
      if (i == 4) texts[0] = "<image><image> compare";
      if (i == 7) texts[0] = "no picture";
      const Json image = i == 7 ? Json() : i == 4 ? Json(std::vector<std::string>{"p4.jpg", "p1.png"}) : Json(name);
      records.push_back(record(std::to_string(i), image, texts));
    }
    return json(records);
  }

 private:
  static Image drawn(std::int64_t width, std::int64_t height, int shade) {
    Image image(width, height);
    for (std::int64_t y = 0; y < height; ++y)
      for (std::int64_t x = 0; x < 3 * width; ++x)
        image.row(y)[x] = static_cast<std::uint8_t>((shade + 3 * x + 5 * y + (x * y) % 17) % 256);
    return image;
  }

  ScratchDirectory dir_;
};

using test::contains;
using test::same_bits;

inline bool same(const MicroBatch& a, const MicroBatch& b) {
  return a.input_ids == b.input_ids && a.labels == b.labels && a.positions == b.positions && a.segments == b.segments &&
         a.grids == b.grids && a.sample_of_segment == b.sample_of_segment && a.samples == b.samples &&
         same_bits(a.pixel_values, b.pixel_values);
}

inline bool same(const GlobalStep& a, const GlobalStep& b) {
  return a.samples == b.samples && a.tokens == b.tokens && a.labelled_tokens == b.labelled_tokens &&
         a.patches == b.patches && a.micro_batches.size() == b.micro_batches.size() &&
         std::equal(a.micro_batches.begin(), a.micro_batches.end(), b.micro_batches.begin(),
                    [](const MicroBatch& x, const MicroBatch& y) { return same(x, y); });
}

// What f throws: its message, and how a Rejected names its reason. "" when nothing.
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Rejected& e) { return std::string(name_of(e.reason())) + " | " + e.what(); } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace ov::loader_test
