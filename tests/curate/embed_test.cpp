// Pictures and words in one space: the rows are the model's, whatever they share a batch, a block or a run with.
#include "curate/embed.h"

#include <doctest/doctest.h>

#include "base/io/file.h"
#include "base/parallel.h"
#include "curate/embeddings.h"
#include "data/raw/captioned_pictures.h"
#include "image/decode.h"
#include "image/encode.h"
#include "model/files/clip_directory.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

struct Setup {
  ScratchDirectory dir;
  EmbedOptions options;
  std::unique_ptr<ClipModel> model;
  Setup() {
    const Tokenizer tokenizer = Tokenizer::read("data/tokenizer");
    ClipConfig c;
    c.image = 28, c.patch = 14, c.projection = 8, c.vocabulary = tokenizer.vocab_size(), c.max_positions = 12;
    c.eos = *tokenizer.token_id("<|endoftext|>");
    c.vision = {.layers = 1, .hidden = 16, .heads = 2, .intermediate = 32};
    c.text = {.layers = 1, .hidden = 16, .heads = 2, .intermediate = 32};
    model = std::make_unique<ClipModel>(c);
    model->parameters().allocate(Dtype::f32, cpu());
    initialize(*model, {}, 1);
    make_directories(dir / "model");
    write_clip(dir / "model", *model);
    tokenizer.write(dir / "model");
    std::string lines;
    for (int i = 0; i < 40; ++i) {  // picture 7 is missing
      Image image(30 + i, 31);
      for (std::size_t b = 0; b < image.rgb.size(); ++b) image.rgb[b] = static_cast<std::uint8_t>(b * 7 + i * 13);
      const std::string name = cat("p", i, ".png");
      if (i != 7) write_durably(dir / name, encode_png(image));
      lines += Json::object({{"image", name}, {"caption", cat("picture ", i)}}).dump() + "\n";
    }
    write_durably(dir / "data.jsonl", lines);
    options.model = dir / "model", options.sources = {dir / "data.jsonl"}, options.out = dir / "pictures";
    options.device = &cpu(), options.max_rejects = 1;
  }
};

}  // namespace

TEST_CASE("embed: a picture's row is its own, by threads, batches and shards; what is refused is counted") {
  Setup s;
  const Json report = embed(s.options);
  CHECK(report.at("in").as_int() == 40);
  CHECK(report.at("out").as_int() == 39);
  CHECK(report.at("rejects").at("image_missing").as_int() == 1);
  CHECK(read_file(s.options.out + ".rejects.jsonl").find("\"record\":7") != std::string::npos);
  const Embeddings made = Embeddings::open(s.options.out);
  CHECK(made.id(6) == "data.jsonl:6");
  CHECK(made.id(7) == "data.jsonl:8");
  CHECK(made.record(38) == 39);
  CHECK(made.source(0) == "data.jsonl");
  const auto records = open_records(s.dir / "data.jsonl");
  ProcessorConfig images;
  images.patch = 14, images.merge = 1;
  ClipInputs one;
  one.pixel_values = clip_picture(records->read(39), 28, images).pixel_values;
  const Tensor all = Safetensors::open(s.options.out).tensor("embeddings");
  CHECK(s.model->image_embeds(nullptr, one).value.to_vector<float>() == all.slice(0, 38, 39).to_vector<float>());
  const std::string whole = read_file(s.options.out);
  s.options.out = s.dir / "again";
  set_threads(1);
  for (const char* shard : {"2/2", "1/2", "merge"}) s.options.shard = Shard::parse(shard), embed(s.options);
  set_threads(2);
  CHECK(read_file(s.options.out) == whole);
  s.options.max_rejects = 0, s.options.shard = {};
  CHECK_THROWS_WITH_AS(embed(s.options), doctest::Contains("1 of 40 records rejected"), Error);
}

TEST_CASE("embed: pictures looked for in a wrong place are looked for again, and the error names what is kept") {
  Setup s;
  s.options.image_dir = s.dir / "nowhere";
  CHECK_THROWS_WITH_AS(embed(s.options), doctest::Contains(". What was read is kept in "), Error);
  s.options.image_dir = s.dir.path();
  CHECK(embed(s.options).at("out").as_int() == 39);
  const Embeddings made = Embeddings::open(s.options.out);
  CHECK(made.kind() == "pictures");
  CHECK(made.model().size() == 64);
  REQUIRE(made.fingerprints().size() == 1);
  CHECK(made.fingerprints()[0].first == "data.jsonl");
  CHECK(made.fingerprints()[0].second == open_records(s.dir / "data.jsonl")->fingerprint());
}

TEST_CASE("embed: a region's row is its box's, cut out whole; what is refused or too small is counted") {
  Setup s;
  std::string lines;
  for (int i = 0; i < 20; ++i)
    lines += cat(R"({"image":"p)", i,
                 R"(.png","objects":[{"box":[1,2,11,20],"class":"a"},{"box":[0.5,3.2,20.1,7],"class":"b"}],)",
                 R"("ocr":[{"box":[0,0,5,5],"text":"7"}]})", "\n");
  lines += R"({"image":"p1.png","objects":[{"box":[0,0,90,9],"class":"a"}]})"
           "\n";
  write_durably(s.dir / "regions.jsonl", lines);
  s.options.sources = {}, s.options.regions = s.dir / "regions.jsonl", s.options.max_rejects = 2;
  const Json report = embed(s.options);
  CHECK(report.at("in").as_int() == 21);
  CHECK(report.at("out").as_int() == 38);
  CHECK(report.at("rejects").at("image_missing").as_int() == 1);
  CHECK(report.at("rejects").at("region_box").as_int() == 1);
  const Embeddings made = Embeddings::open(s.options.out);
  CHECK(made.id(15) == "regions.jsonl:8:1");  // picture 7 is missing
  CHECK(made.record(15) == 8);
  CHECK(made.region(15) == 1);
  CHECK(made.source(15) == "regions.jsonl");
  ProcessorConfig images;
  images.patch = 14, images.merge = 1;
  const Image whole = decode_image(read_file(s.dir / "p8.png"), "p8.png");
  ClipInputs one;
  one.pixel_values = clip_region(whole, 0, 3, 21, 4, 28, images).pixel_values;
  const Tensor all = Safetensors::open(s.options.out).tensor("embeddings");
  CHECK(s.model->image_embeds(nullptr, one).value.to_vector<float>() == all.slice(0, 15, 16).to_vector<float>());
  Image part(21, 4);
  for (int y = 0; y < 4; ++y) std::copy_n(whole.row(3 + y), 3 * 21, part.row(y));
  CHECK(cut_patches(resize_bicubic(part, 28, 28), images).pixel_values.to_vector<float>() ==
        one.pixel_values.to_vector<float>());
  const std::string before = read_file(s.options.out);
  s.options.out = s.dir / "again", s.options.shard = Shard::parse("1/1");
  embed(s.options);
  s.options.shard = Shard::parse("merge"), embed(s.options);
  CHECK(read_file(s.options.out) == before);
  s.options.shard = {}, s.options.min_edge = 4;
  const Json large = embed(s.options);
  CHECK(large.at("out").as_int() == 19);
  CHECK(large.at("below_min_edge").as_int() == 19);
  s.options.min_edge = 10000;
  CHECK_THROWS_WITH_AS(embed(s.options), doctest::Contains("38 regions are smaller than embed.min_edge 10000"), Error);
  s.options.sources = {s.dir / "data.jsonl"};
  CHECK_THROWS_WITH_AS(embed(s.options), doctest::Contains("one of them"), Error);
}

TEST_CASE("embed: a concept's row is its sentence's") {
  Setup s;
  write_durably(s.dir / "list.txt", "a red ring\nsand\n");
  s.options.sources = {}, s.options.concepts = s.dir / "list.txt", s.options.sentence = "a photo of {}.";
  embed(s.options);
  const Tokenizer tokenizer = Tokenizer::read("data/tokenizer");
  ClipInputs one;
  one.input_ids = clip_text(tokenizer, "a photo of sand.", s.model->config().eos, 12);
  one.text_lengths = {static_cast<std::int64_t>(one.input_ids.size())};
  const Tensor all = Safetensors::open(s.options.out).tensor("embeddings");
  CHECK(s.model->text_embeds(nullptr, one).value.to_vector<float>() == all.slice(0, 1, 2).to_vector<float>());
  CHECK(Embeddings::open(s.options.out).id(0) == "a red ring");
  s.options.sentence = "a photo";
  CHECK_THROWS_WITH_AS(embed(s.options), doctest::Contains("expected {}"), Error);
  s.options.concepts = "";
  CHECK_THROWS_WITH_AS(embed(s.options), doctest::Contains("embed.data"), Error);
}
