#include <doctest/doctest.h>

#include "store/safetensors.h"
#include "tests/data/pack_fixture.h"

namespace ov::loader_test {
namespace {

PackIndex small_index() {
  PackIndex index;
  index.capacity = 10;
  index.max_patches = 8;
  index.seed = 3;
  index.turn_layout = TurnLayout::shared_prefix;
  index.literal_tokens = LiteralTokens::as_text;
  index.processor = "p";
  index.data = "d";
  index.sources = {{"a.json", "pictures", 5}, {"w", ""}};
  index.record = {0, 2, 3, 7};
  index.tokens = {4, 6, 5, 5};
  index.labels = {1, 2, 3, 1};
  index.patches = {4, 4, 0, 8};
  index.turns = {2, 4, 2, 3};
  index.images = {1, 1, 0, 2};
  index.packs = Packs{{0, 2, 4}, {1, 0, 3, 2}};
  return index;
}

}  // namespace

TEST_CASE("pack index: all that is written is read back (R-15)") {
  const DataSet d;
  const PackIndex index = small_index();
  index.write(d.path("i"));
  const PackIndex back = PackIndex::read(d.path("i"));
  CHECK(back.checksum() == index.checksum());
  CHECK(back.capacity == 10);
  CHECK(back.max_patches == 8);
  CHECK(back.seed == 3);
  CHECK(back.turn_layout == TurnLayout::shared_prefix);
  CHECK(back.literal_tokens == LiteralTokens::as_text);
  CHECK(back.processor == "p");
  CHECK(back.data == "d");
  REQUIRE(back.sources.size() == 2);
  CHECK(back.sources[0].path == "a.json");
  CHECK(back.sources[0].image_dir == "pictures");
  CHECK(back.sources[0].records == 5);
  CHECK(back.record == index.record);
  CHECK(back.tokens == index.tokens);
  CHECK(back.labels == index.labels);
  CHECK(back.patches == index.patches);
  CHECK(back.turns == index.turns);
  CHECK(back.images == index.images);
  CHECK(back.packs.begin == index.packs.begin);
  CHECK(back.packs.item == index.packs.item);
  CHECK(back.sample_options().max_tokens == 10);
}

TEST_CASE("pack index: a contradiction is refused with the pack or sample that has it, whoever wrote the checksum") {
  const DataSet d;
  const auto refused = [&](auto change) {
    PackIndex index = small_index();
    change(index);
    index.write(d.path("i"));
    return message_of([&] { PackIndex::read(d.path("i")); });
  };
  CHECK(refused([](PackIndex&) {}) == "");
  CHECK(contains(refused([](PackIndex& i) { i.tokens = {5, 6, 5, 5}; }), "pack 0: 11 tokens, more than 10"));
  CHECK(contains(refused([](PackIndex& i) { i.patches = {4, 4, 1, 8}; }), "pack 1: 9 patches, more than 8"));
  CHECK(contains(refused([](PackIndex& i) { i.packs.item = {1, 0, 3, 1}; }), "pack 1: sample 1 occurs twice"));
  CHECK(contains(refused([](PackIndex& i) { i.packs.item = {1, 0, 4, 2}; }), "pack 1: sample 4 of 4"));
  CHECK(contains(refused([](PackIndex& i) { i.packs.item = {1, 0, -1, 2}; }), "pack 1: sample -1 of 4"));
  CHECK(contains(refused([](PackIndex& i) { i.packs.begin = {0, 2, 3}; }), "packs hold 3 samples, expected 4"));
  CHECK(contains(refused([](PackIndex& i) { i.packs.begin = {0, 5, 4}; }), "pack 0: begin does not ascend"));
  CHECK(contains(refused([](PackIndex& i) { i.packs.begin = {0, 4, 4}; }), "more than"));
  CHECK(contains(refused([](PackIndex& i) { i.record = {0, 0, 3, 7}; }), "sample 1: records do not ascend"));
}

TEST_CASE("pack index: a damaged file is refused: every byte counts, and so does every missing one") {
  const DataSet d;
  small_index().write(d.path("i"));
  const std::string good = read_file(d.path("i"));
  CHECK(message_of([&] { PackIndex::read(d.path("i")); }) == "");
  const std::size_t sources = good.find("a.json");  // paths may be changed by hand: data is told by its fingerprint
  REQUIRE(sources != good.npos);
  int harmless = 0;
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    write_durably(d.path("j"), bad);
    std::string error = message_of([&] { PackIndex::read(d.path("j")); });
    if (!error.empty()) continue;
    const PackIndex read = PackIndex::read(d.path("j"));
    CHECK_MESSAGE(read.checksum() == small_index().checksum(), "byte ", at);
    ++harmless;
  }
  CHECK(harmless < 40);  // letters of the two paths, and blanks that pad the header
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, good.size() / 2, good.size() - 1}) {
    write_durably(d.path("j"), good.substr(0, size));
    CHECK(contains(message_of([&] { PackIndex::read(d.path("j")); }), d.path("j")));
    CHECK(contains(message_of([&] { PackIndex::read(d.path("j")); }), "make it again (onevision pack)"));
  }
  write_safetensors(d.path("k"), {{"x", Tensor::of(std::vector<float>{1}, {1})}});
  CHECK(contains(message_of([&] { PackIndex::read(d.path("k")); }), "__metadata__ has no 'format'"));
}

TEST_CASE("pack index: the length fingerprint follows tokenizer and pixel limits, not what leaves lengths alone") {
  const Processor p = small_processor();
  const std::string first = length_fingerprint(p);
  CHECK(first.size() == 64);
  CHECK(length_fingerprint(small_processor()) == first);
  CHECK(length_fingerprint(p.with_limits({.min_pixels = 28 * 28 + 1, .max_pixels = {}})) != first);
  ProcessorConfig brighter = p.images();
  brighter.mean[0] = 0.5;
  CHECK(length_fingerprint({p.tokenizer(), brighter}) == first);
  ProcessorConfig coarser = p.images();
  coarser.merge = 4;
  CHECK(length_fingerprint({p.tokenizer(), coarser}) != first);

  Tokenizer::Parts parts;
  for (std::int64_t id = 0; id < p.tokenizer().bpe().id_limit(); ++id)
    if (const std::string* text = p.tokenizer().bpe().text(id)) parts.vocabulary.emplace_back(*text, id);
  const std::int64_t next = p.tokenizer().vocab_size();
  parts.vocabulary.emplace_back("ab", next);
  parts.merges = {{"a", "b"}};
  parts.added = p.tokenizer().added_tokens();
  CHECK(length_fingerprint({Tokenizer(parts, "one merge more"), p.images()}) != first);
}

}  // namespace ov::loader_test
