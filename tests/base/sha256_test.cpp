#include "base/sha256.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/error.h"

using namespace ov;

TEST_CASE("SHA-256 gives the digests of the NIST examples") {
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrs"
               "tnopqrstu") == "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  CHECK(sha256(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  CHECK(sha256("abd") != sha256("abc"));
}

TEST_CASE("the digest does not depend on how the bytes were cut, at every length around the block size") {
  for (std::size_t n = 0; n <= 130; ++n) {
    std::string text;
    for (std::size_t i = 0; i < n; ++i) text += static_cast<char>(i * 7 + n);
    const std::string whole = sha256(text);
    for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, n / 3, n / 2, n}) {
      if (cut > n) continue;
      Sha256 hash;
      hash.update(text.data(), cut);
      CHECK(hash.hex() != (cut < n ? whole : ""));  // asking in between does not disturb what follows
      hash.update(text.data() + cut, n - cut);
      CHECK(hash.hex() == whole);
      CHECK(hash.hex() == whole);
    }
  }
}

TEST_CASE("a file has the digest of its bytes, and errors name it") {
  const std::string path = (std::filesystem::temp_directory_path() / "onevision_sha256_test.bin").string();
  const std::string bytes = std::string(200001, '\0') + "end";
  std::ofstream(path, std::ios::binary) << bytes;
  CHECK(sha256_file(path) == sha256(bytes));
  std::ofstream(path, std::ios::binary | std::ios::app) << '!';
  CHECK(sha256_file(path) != sha256(bytes));
  std::filesystem::remove(path);

  CHECK_THROWS_WITH_AS(sha256_file(path), (path + ": cannot be opened: No such file or directory").c_str(), Error);
  CHECK_THROWS_WITH_AS(sha256_file("tests"), "tests: expected a file, found a directory", Error);
}
