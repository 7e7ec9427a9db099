#include "store/safetensors.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "base/json.h"
#include "tests/base/scratch.h"
#include "tests/check.h"
#include "tests/golden_case.h"

using namespace ov;
using namespace ov::test;

namespace {

// The file of a header as given and `data_bytes` zeros; `says` replaces the header's length.
std::string file_of(const std::string& header, std::size_t data_bytes, std::uint64_t says) {
  std::string file(8, '\0');
  std::memcpy(file.data(), &says, 8);
  return file + header + std::string(data_bytes, '\0');
}
std::string file_of(const std::string& header, std::size_t data_bytes) {
  return file_of(header, data_bytes, header.size());
}

std::string fault_of(const std::string& path) {
  return thrown([&] { Safetensors::open(path); });
}

}  // namespace

TEST_CASE("every dtype, a scalar, an empty tensor and a strided view come back with the same bits") {
  const ScratchDirectory dir;
  const Tensor wide = Tensor::of<float>({0, 1, 2, 3, 4, 5, 6, 7}, {2, 4});
  const std::vector<NamedTensor> tensors = {
      {"u8", Tensor::of<std::uint8_t>({0, 127, 255}, {3})},
      {"f32", Tensor::of<float>({0.0f, -0.0f, 1.5f, INFINITY, -INFINITY, NAN}, {2, 3})},
      {"bf16", Tensor::of<Bf16>({Bf16::from_bits(0x3f80), Bf16::from_bits(0x8000), Bf16::from_bits(0x7fc0)}, {3, 1})},
      {"f64", Tensor::of<double>({M_PI, -1e-310}, {1, 2})},
      {"i64", Tensor::of<std::int64_t>({INT64_MIN, INT64_MAX}, {2})},
      {"i32", Tensor::of<std::int32_t>({-7}, {})},
      {"none", Tensor::of<float>({}, {0, 4})},
      {"view", wide.slice(1, 1, 3)},
      {"second row", wide.slice(0, 1, 2)},
      {"last f64", Tensor::of<double>({M_PI, -1e-310}, {2}).slice(0, 1, 2)},
      {"last bf16", Tensor::of<Bf16>({Bf16::from_bits(0x3f80), Bf16::from_bits(0x8000), Bf16::from_bits(0x7fc0)}, {3})
                        .slice(0, 1, 3)},
  };
  write_safetensors(dir / "t", tensors, {{"order", "a b"}, {"ünï \"quoted\"", "\\ \n"}});
  const Safetensors st = Safetensors::open(dir / "t");
  CHECK(st.entries().size() == tensors.size());
  CHECK(st.metadata() == Metadata{{"order", "a b"}, {"ünï \"quoted\"", "\\ \n"}});
  for (const NamedTensor& t : tensors) {
    CAPTURE(t.name);
    CHECK(same_bits(st.tensor(t.name), t.tensor.contiguous_copy()));
    CHECK(st.tensor(t.name).storage()->owner != nullptr);  // aligned, so nothing was copied
  }
  CHECK(st.tensor("view").to_vector<float>() == std::vector<float>{1, 2, 5, 6});

  write_safetensors(dir / "again", tensors, {{"order", "a b"}, {"ünï \"quoted\"", "\\ \n"}});
  CHECK(read_file(dir / "again") == read_file(dir / "t"));
  write_safetensors(dir / "nothing", {});
  CHECK(Safetensors::open(dir / "nothing").entries().empty());
}

TEST_CASE("our writer gives the bytes of the reference writer") {
  const ScratchDirectory dir;
  for (const char* shard : {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
    const Safetensors st = Safetensors::open(std::string("tests/golden/dense/checkpoint/") + shard);
    std::vector<NamedTensor> tensors;
    for (const SafetensorsEntry& e : st.entries()) tensors.push_back({e.name, st.tensor(e.name)});
    write_safetensors(dir / shard, tensors, st.metadata());
    CHECK(read_file(dir / shard) == read_file(st.path()));
  }
}

TEST_CASE("a tensor outlives the reader it came from") {
  Tensor t;
  { t = Safetensors::open(test::dense_case(0)).tensor("token_loss"); }
  CHECK(std::isfinite(t.to_vector<double>().at(0)));
}

TEST_CASE("F16 arrives as f32, exactly, for all 65536 values") {
  const ScratchDirectory dir;
  std::string file = file_of(R"({"h":{"dtype":"F16","shape":[65536],"data_offsets":[0,131072]}})", 131072);
  const std::size_t data = file.size() - 131072;
  for (unsigned h = 0; h < 65536; ++h) {
    const auto bits = static_cast<std::uint16_t>(h);
    std::memcpy(file.data() + data + 2 * h, &bits, 2);
  }
  write_durably(dir / "h", file);
  const auto values = Safetensors::open(dir / "h").tensor("h").to_vector<float>();
  int wrong = 0;
  for (int h = 0; h < 65536; ++h) {
    const int exponent = h / 1024 % 32, fraction = h % 1024;
    double expected = exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24);
    if (exponent == 31) expected = fraction ? NAN : INFINITY;
    if (h >= 32768) expected = -expected;
    const float v = values[static_cast<std::size_t>(h)];
    wrong += std::isnan(expected) ? !std::isnan(v) : v != expected || std::signbit(v) != std::signbit(expected);
  }
  CHECK(wrong == 0);
}

TEST_CASE("data that does not lie aligned is copied, with the same values") {
  const ScratchDirectory dir;
  std::string file = file_of(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("f":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})",
                             9);
  const float values[] = {1.25f, -3};
  std::memcpy(file.data() + file.size() - 8, values, 8);
  write_durably(dir / "t", file);
  CHECK(Safetensors::open(dir / "t").tensor("f").to_vector<float>() == std::vector<float>{1.25f, -3});
}

TEST_CASE("a dtype without counterpart is listed and refused only when asked for") {
  const ScratchDirectory dir;
  write_durably(dir / "t", file_of(R"({"mask":{"dtype":"BOOL","shape":[4],"data_offsets":[0,4]}})", 4));
  const Safetensors st = Safetensors::open(dir / "t");
  CHECK(st.entries().at(0).dtype == "BOOL");
  CHECK(!st.entries()[0].loads_as());
  CHECK_THROWS_WITH(st.tensor("mask"),
                    (dir / "t: tensor 'mask': dtype BOOL cannot be used; F64 F32 BF16 F16 I64 I32 U8 can").c_str());
  CHECK_THROWS_WITH(st.tensor("maks"), (dir / "t: tensor 'maks' is missing; did you mean 'mask'?").c_str());
}

TEST_CASE("a header that lies is one line naming the file, the tensor and the lie") {
  const ScratchDirectory dir;
  const auto one = [](const char* dtype, const char* shape, const char* offsets) {
    return std::string(R"({"x":{"dtype":")") + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  const std::string good = one("F32", "[2,3]", "[0,24]");
  const std::string a = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  struct Case {
    std::string file, says;
  };
  const Case cases[] = {
      {"", "0 bytes, too short for a safetensors file"},
      {"1234567", "7 bytes, too short"},
      {file_of(good, 24, good.size() + 25), "says its header has 82 bytes, the file has 89"},
      {file_of(good, 24, std::uint64_t{1} << 63), "says its header has 9223372036854775808 bytes, the file has 89"},
      {file_of(good, 24, UINT64_MAX), "says its header has 18446744073709551615 bytes"},
      {file_of(good, 24, good.size() - 1), "header:1:57: malformed JSON"},
      {file_of("", 24), "header:1:1: malformed JSON"},
      {file_of("[1]", 0), "header: expected an object, found an array"},
      {file_of("{} // \"", 0), "header: byte 3: a comment"},
      {file_of(good, 23), "tensor 'x': data_offsets [0,24] end beyond the file's 23 bytes of data"},
      {file_of(good, 25), "1 bytes after the last tensor belong to none"},
      {file_of(one("F32", "[2,3]", "[0,20]"), 20),
       "tensor 'x': F32 [2, 3] takes 24 bytes, data_offsets [0,20] span 20"},
      {file_of(one("F32", "[2,4]", "[0,24]"), 24), "tensor 'x': F32 [2, 4] takes 32 bytes"},
      {file_of(one("F32", "[-2,-3]", "[0,24]"), 24), "tensor 'x': shape holds -2"},
      {file_of(one("F32", "[2.0,3]", "[0,24]"), 24), "tensor 'x': expected an integer, found a number"},
      {file_of(one("F32", "6", "[0,24]"), 24), "tensor 'x': expected an array, found an integer"},
      {file_of(one("F32", "[1,1,1,1,2,3]", "[0,24]"), 24), "tensor 'x': shape of rank 6"},
      {file_of(one("U8", "[9223372036854775807,9223372036854775807]", "[0,1]"), 1), "is too large for 64 bits"},
      {file_of(one("F64", "[4294967296,4294967296]", "[0,0]"), 0), "is too large for 64 bits"},
      {file_of(one("U8", "[9223372036854775808]", "[0,1]"), 1), "tensor 'x': expected an integer"},
      {file_of(one("F32", "[2,3]", "[-24,0]"), 24), "tensor 'x': data_offsets hold -24"},
      {file_of(one("F32", "[2,3]", "[24,0]"), 24), "tensor 'x': data_offsets [24,0] end before they begin"},
      {file_of(one("F32", "[2,3]", "[0,24,48]"), 24), "tensor 'x': data_offsets hold 3 numbers, expected 2"},
      {file_of(one("F32", "[2,3]", "[8,32]"), 32), "tensor 'x': begins at byte 8, after a hole from 0"},
      {file_of(one("Q4", "[2,3]", "[0,24]"), 24), "tensor 'x': dtype 'Q4' is unknown"},
      {file_of(R"({"x":{"dtype":"F32","shape":[2,3]}})", 0), "tensor 'x': key 'data_offsets' is missing"},
      {file_of(R"({"x":7})", 0), "tensor 'x': expected an object, found an integer"},
      {file_of("{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})", 7),
       "tensor 'b': begins at byte 3, overlapping what ends at 4"},
      {file_of("{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4),
       "tensor 'b': begins at byte 0, overlapping what ends at 4"},
      {file_of("{" + a + "," + a + "}", 4), ": header:1:54: the key \"a\" stands twice"},
      {file_of("{" + a + R"(,"\u0061":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4),
       "the key \"a\" stands twice"},
      {file_of(one("F32", "[4611686018427387904,2,0]", "[0,0]"), 0), "is too large for 64 bits"},
      {file_of(one("F32", "[0,4611686018427387904,2]", "[0,0]"), 0), "is too large for 64 bits"},
      {file_of(std::string("{}\0\"aaaa", 8), 0), "header:1:3: malformed JSON: a zero byte"},
      {file_of(std::string(400000, '[') + std::string(400000, ']'), 0),
       "header:1:501: arrays and objects are more than"},
      {"\x1f\x8b\x08\x08 and so on", "no safetensors file (14 bytes); it looks like a gzip file"},
      {"PK\x03\x04 and so on", "it looks like a zip archive, such as a .bin of PyTorch"},
      {"version https://git-lfs.github.com/spec/v1\n", "it looks like a Git LFS pointer"},
      {"{\"weight_map\": {}}", "it looks like JSON text"},
      {"some words, no more", "no safetensors file (19 bytes)"},
      {file_of(R"({"__metadata__":{"format":1}})", 0), "'__metadata__': expected a string, found an integer"},
  };
  write_durably(dir / "t", file_of(good, 24));
  CHECK(fault_of(dir / "t") == "");  // the header the cases are made from is right
  for (const Case& c : cases) {
    write_durably(dir / "t", c.file);
    const std::string fault = fault_of(dir / "t");
    CHECK_MESSAGE(fault.find(c.says) != std::string::npos, "found: ", fault, "; expected: ", c.says);
    CHECK(fault.rfind(dir / "t: ", 0) == 0);
    CHECK(fault.find('\n') == std::string::npos);
    CHECK(fault.size() < 600);
  }
}

TEST_CASE("a file cut at any byte is refused") {
  const ScratchDirectory dir;
  write_safetensors(dir / "t", {{"x", Tensor::of<float>({1, 2, 3}, {3})}, {"y", Tensor::of<std::uint8_t>({4}, {1})}});
  const std::string whole = read_file(dir / "t");
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    write_durably(dir / "t", whole.substr(0, bytes));
    CHECK_MESSAGE(fault_of(dir / "t") != "", bytes, " bytes were accepted");
  }
}

TEST_CASE("a file with one wrong byte is refused or read within its bounds") {
  const ScratchDirectory dir;
  write_safetensors(dir / "t", {{"x", Tensor::of<float>({1, 2, 3}, {3})}, {"y", Tensor::of<std::uint8_t>({4}, {1})}},
                    {{"format", "pt"}});
  const std::string whole = read_file(dir / "t");
  int refused = 0, read = 0, sum = 0;
  for (std::size_t at = 0; at < whole.size(); ++at)
    for (const char byte : {'\0', '"', '\\', '/', '0', '9', ',', '{', ']', '\xff'}) {
      std::string wrong = whole;
      wrong[at] = byte;
      write_durably(dir / "t", wrong);
      try {
        const Safetensors st = Safetensors::open(dir / "t");
        for (const SafetensorsEntry& e : st.entries()) {
          if (!e.loads_as()) continue;
          const Tensor t = st.tensor(e.name);
          for (std::size_t i = 0; i < t.nbytes(); ++i) sum += std::to_integer<int>(t.bytes()[i]);
        }
        ++read;
      } catch (const Error& e) { ++refused; }
    }
  CHECK(refused > 0);
  CHECK(read > 0);  // bytes of the data, letters of a name
  CHECK(sum > 0);
}

TEST_CASE("a writer that gets other tensors than announced leaves no file") {
  const ScratchDirectory dir;
  const Tensor x = Tensor::of<float>({1, 2}, {2});
  const std::vector<TensorInfo> announced = {{"x", Dtype::f32, {2}}, {"y", Dtype::f32, {3}}};
  const auto fault = [&](auto use) -> std::string {
    return thrown([&] {
      SafetensorsWriter writer(dir / "t", announced, {});
      use(writer);
    });
  };
  CHECK(fault([&](auto& w) { w.write(x), w.write(x); }) ==
        dir / "t: tensor 'y': announced as f32 [3], came as f32 [2]");
  CHECK(fault([&](auto& w) { w.write(x), w.commit(); }) == dir / "t: tensor 'y' was announced and never came");
  CHECK_THROWS_AS(write_safetensors(dir / "t", {{"x", x}, {"x", x}}), Error);
  CHECK(list_directory(dir.path()).empty());
}
