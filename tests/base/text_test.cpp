#include "base/text.h"

#include <doctest/doctest.h>

#include "base/error.h"
#include "base/utf8.h"

using namespace ov;

TEST_CASE("text: trimmed, blank and count") {
  CHECK(trimmed(" \t\r\na b \n") == "a b");
  CHECK(trimmed(" \n").empty());
  CHECK(trimmed("").empty());
  CHECK(blank(" \t\r\n"));
  CHECK_FALSE(blank(" x "));
  CHECK(count("aaaa", "aa") == 2);
  CHECK(count("a<image>b<image>", "<image>") == 2);
  CHECK(count("", "x") == 0);
}

TEST_CASE("text: what is shown in a message is one line of valid UTF-8 that is cut in its middle") {
  CHECK(shown("plain") == "plain");
  CHECK(shown(std::string("a\0b\nc\x7f", 6)) == "a\\x00b c\\x7f");
  CHECK(shown("Gr\xF6\xDF") == "Gr\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(shown(std::string(50, 'a') + std::string(50, 'b'), 30) ==
        std::string(20, 'a') + " ... " + std::string(10, 'b'));
  std::string euros;
  for (int i = 0; i < 100; ++i) euros += "\xE2\x82\xAC";
  for (std::size_t limit = 20; limit < 40; ++limit) {
    const std::string cut = shown(euros, limit);
    CHECK(utf8_prefix(cut) == cut.size());
    CHECK(cut.find("\xEF\xBF\xBD") == cut.npos);  // no character was cut in two
    CHECK(cut.size() <= limit + 10);
  }
  // Whatever a file puts into it, every error is such a line.
  const Error e(Exit::wrong_input, "x: '" + std::string(1 << 20, '\n') + "\xff', expected y");
  CHECK(std::string(e.what()).size() < 2 * longest_message);
  CHECK(std::string(e.what()).find('\n') == std::string::npos);
  CHECK(std::string(e.what()).ends_with("\xEF\xBF\xBD', expected y"));
}

TEST_CASE("text: a file is told by its first bytes") {
  CHECK(looks_like(std::string_view("\x1f\x8b\x08\0", 4)).find("gzip") != std::string::npos);
  CHECK(looks_like("PK\x03\x04").find("zip") != std::string::npos);
  CHECK(looks_like("\x80\x02}q").find("pickle") != std::string::npos);
  CHECK(looks_like("version https://git-lfs.github.com/spec/v1").find("Git LFS") != std::string::npos);
  CHECK(looks_like("GIF89a").find("GIF") != std::string::npos);
  CHECK(looks_like(" {\"a\": 1}") == "JSON text");
  CHECK(looks_like("<!DOCTYPE html>") == "a web page");
  CHECK(looks_like(std::string(257, 'a') + "ustar") == "a tar archive");
  CHECK(looks_like(std::string_view("\x50\x01\0\0\0\0\0\0{\"a\"", 12)) == "a safetensors file");
  for (const char* none : {"", "a", "hello", "RIFF", "\x80"}) CHECK(looks_like(none) == "");
}

TEST_CASE("text: the first byte that is no UTF-8 is named") {
  CHECK(utf8_prefix("Gr\u00f6\u00dfe \uFFFD \U0001F600") == 16);
  CHECK(utf8_prefix("Gr\xF6\xDF") == 2);
  CHECK(utf8_prefix("ab\xE2\x82") == 2);
  require_utf8("\u00e4", "x");
  CHECK_THROWS_WITH_AS(require_utf8("a\nb\xE4", "x.txt"), doctest::Contains("x.txt: byte 3 (line 2): not UTF-8"),
                       Error);
  CHECK_THROWS_WITH_AS(require_utf8(std::string_view("\xff\xfe"
                                                     "a\0",
                                                     4),
                                    "x"),
                       doctest::Contains("UTF-16"), Error);
}

TEST_CASE("edit distance counts insertions, deletions, substitutions and swaps") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("weight", "wieght") == 1);
  CHECK(edit_distance("abc", "ca") == 3);  // optimal string alignment: no edit inside a swap
}

TEST_CASE("a misspelt name finds its neighbour, a far one finds none") {
  const std::vector<std::string> keys = {"optimizer.lr", "optimizer.clip_grad", "loss.normalise_by"};
  CHECK(nearest_name("optimiser.lr", keys) == "optimizer.lr");
  CHECK(nearest_name("loss.normalize_by", keys) == "loss.normalise_by");
  CHECK(nearest_name("data.images", keys) == "");
  CHECK(nearest_name("x", {}) == "");
  CHECK(did_you_mean("optimiser.lr", keys) == "; did you mean 'optimizer.lr'?");
  CHECK(did_you_mean("qqqqqqqqqqqqqqqqq", keys) == "");
}

// Braces in an energon directory's list of shards make a hundred thousand names of one line.
TEST_CASE("a misspelt name is looked for among as many as take a moment") {
  const std::string far(100, 'x'), near = std::string(99, 'y') + "z", name(100, 'y');
  std::vector<std::string> names(2000, far);
  names[900] = near;  // 901 tables of 100 x 100
  CHECK(nearest_name(name, names) == near);
  names[900] = far, names[1100] = near;
  CHECK(nearest_name(name, names) == "");
}
