#include <doctest/doctest.h>

#include "base/parallel.h"
#include "image/decode.h"
#include "tests/data/pack_fixture.h"
#include "text/chat.h"

namespace ov::loader_test {
namespace {

// By hand: the pieces of text/conversation.h for one system turn, pictures first, one or more turns.
std::int64_t length_by_hand(const Processor& p, const Conversation& c, TurnLayout layout) {
  const auto n = [&](const std::string& text) { return static_cast<std::int64_t>(p.tokenizer().encode(text).size()); };
  std::int64_t pictures = 0;
  for (const std::string& path : c.images) pictures += merged_tokens(read_image_size(path), p.images()) + 2;
  const std::string head = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>";
  std::int64_t length = n(head) + pictures;
  for (std::size_t t = 0; t < c.turns.size(); t += 2) {
    std::string question = c.turns[t].text;
    while (question.find("<image>") != question.npos) question.erase(question.find("<image>"), 7);
    const bool prefixed = layout == TurnLayout::shared_prefix;
    if (t > 0 && !prefixed) length += n("\n<|im_start|>");
    // With pictures the prefix holds "user\n" and what is in front of the last tag's end; without, it ends before.
    if (t == 0 || !prefixed || c.images.empty()) length += n("user\n");
    if (t > 0 && prefixed && !c.images.empty() && c.turns[0].text.find("<image>\n") != std::string::npos)
      question.insert(0, "\n");
    length += n(question + "<|im_end|>\n<|im_start|>assistant\n") + n(c.turns[t + 1].text + "<|im_end|>");
  }
  return length;
}

}  // namespace

TEST_CASE(
    "lengths: those of the index are the encoded samples', in both layouts, and pixels are never looked at (T-37, "
    "R-16)") {
  const DataSet d;
  const std::string json = d.ten();
  const Processor p = small_processor();
  const ConversationFile file(json);
  for (const TurnLayout turns : {TurnLayout::conversation, TurnLayout::shared_prefix}) {
    PackOptions o = pack_options(d, json);
    o.turns = turns;
    pack_data(o, p);
    const PackIndex index = PackIndex::read(o.out);
    REQUIRE(index.samples() == 10);
    CHECK(index.turn_layout == turns);
    for (std::size_t i = 0; i < 10; ++i) {
      const Conversation c = file.read(static_cast<std::int64_t>(i));
      const Sample s = make_sample(c, p, index.sample_options());
      const MicroBatch b = packed_micro_batch(std::vector{s});
      CHECK(index.record[i] == static_cast<std::int64_t>(i));
      CHECK(index.tokens[i] == b.tokens());
      CHECK(index.tokens[i] == length_by_hand(p, c, turns));
      CHECK(index.labels[i] == count_labels(b));
      CHECK(index.patches[i] == (s.pixel_values ? s.pixel_values.dim(0) : 0));
    }
  }
  // The twin: record 3 has one turn, and its layouts differ in nothing; record 2 has three, and they do.
  CHECK(length_by_hand(p, file.read(2), TurnLayout::conversation) !=
        length_by_hand(p, file.read(2), TurnLayout::shared_prefix));

  // A picture whose pixels are gone still has its length: headers are all that is read.
  const std::string png = read_file(d.path("p1.png"));
  write_durably(d.path("p1.png"), png.substr(0, 60));
  PackOptions o = pack_options(d, json);
  CHECK(pack_data(o, p).samples == 10);
}

TEST_CASE("pack: index, report and reject lines say the same, and every record is packed or rejected once (R-14)") {
  const DataSet d;
  const std::string ten = d.ten(), shard = caption_shard(d, "c.tar", 30);
  PackOptions o = pack_options(d, ten, 500);
  o.sources.push_back({shard, ""});
  std::vector<std::int64_t> seen;
  o.progress = [&](std::int64_t done, std::int64_t total) {
    seen.push_back(done);
    CHECK(total == 40);
  };
  const PackReport r = pack_data(o, small_processor());
  CHECK(seen == std::vector<std::int64_t>{40});
  const PackIndex index = PackIndex::read(o.out);
  CHECK(r.records == 40);
  CHECK(r.samples + r.rejects.total() == 40);
  CHECK(index.samples() == r.samples);
  CHECK(index.packs.size() == r.packs);
  CHECK(r.packs - r.fewest_packs <= 2);
  CHECK(r.fill == doctest::Approx(static_cast<double>(r.tokens) / static_cast<double>(500 * r.packs)).epsilon(1e-12));
  std::int64_t tokens = 0;
  for (const std::int32_t t : index.tokens) tokens += t;
  CHECK(tokens == r.tokens);

  const Json report = report_file(o);
  CHECK(report.dump() == r.json.dump());
  CHECK(report.at("samples").as_int() == r.samples);
  CHECK(report.at("sources").size() == 2);
  CHECK(report.at("sources")[1].at("samples").as_int() == 30);
  for (const char* name : {"samples_per_pack", "tokens_per_pack", "labelled_tokens_per_pack", "patches_per_pack"}) {
    std::int64_t packs = 0;
    for (const Json& n : report.at(name).at("histogram").at("packs").items()) packs += n.as_int();
    CHECK(packs == r.packs);
  }
  CHECK(report.at("samples_per_pack").at("mean").as_double() ==
        doctest::Approx(static_cast<double>(r.samples) / static_cast<double>(r.packs)).epsilon(1e-12));
  CHECK(report.at("labelled_tokens_per_pack").at("mean").as_double() ==
        doctest::Approx(static_cast<double>(r.labelled_tokens) / static_cast<double>(r.packs)).epsilon(1e-12));
  CHECK(static_cast<std::int64_t>(reject_lines(o).size()) == r.rejects.total());
}

TEST_CASE("pack: the same files for any number of threads, other packs for another seed") {
  const DataSet d;
  PackOptions o = pack_options(d, caption_shard(d, "c.tar", 200), 400);
  const int before = threads();
  set_threads(1);
  pack_data(o, small_processor());
  const std::string index = read_file(o.out), report = read_file(o.out + ".report.json");
  set_threads(3);
  pack_data(o, small_processor());
  set_threads(before);
  CHECK(read_file(o.out) == index);
  CHECK(read_file(o.out + ".report.json") == report);
  const auto items = PackIndex::read(o.out).packs.item;
  o.seed = 77;
  pack_data(o, small_processor());
  CHECK(!(PackIndex::read(o.out).packs.item == items));
}

TEST_CASE("pack: over-long, empty, unlabelled and broken records are counted by their reason, none silently (T-20)") {
  const DataSet d;
  d.png("a.png", 30, 30, 1);
  const auto of = [](const char* id, const std::vector<std::string>& texts) { return record(id, "a.png", texts); };
  const std::string json = d.json({
      of("good", {"<image>q", "a"}), of("long", {"<image>q", std::string(300, 'x')}),
      of("empty answer", {"<image>q", ""}), of("blank answer", {"<image>q", " \n"}), of("no label", {"<image>q"}),
      record("missing", "gone.png", {"<image>q", "a"}), of("two tags", {"<image><image>q", "a"}),
      of("empty question", {"<image>", "a"}),  // the recipe's captions have none: not a fault
  });
  PackOptions o = pack_options(d, json, 200);
  const PackReport r = pack_data(o, small_processor());
  CHECK(r.samples == 2);
  CHECK(r.rejects[RejectReason::over_length] == 1);
  CHECK(r.rejects[RejectReason::no_answer] == 2);
  CHECK(r.rejects[RejectReason::malformed_record] == 1);
  CHECK(r.rejects[RejectReason::image_missing] == 1);
  CHECK(r.rejects[RejectReason::image_count] == 1);
  const std::vector<Json> lines = reject_lines(o);
  REQUIRE(lines.size() == 6);
  CHECK(lines[0].at("record").as_int() == 2);
  CHECK(lines[0].at("reason").as_string() == "over_length");
  CHECK(contains(lines[0].at("message").as_string(), "record 2 (id \"long\")"));
  CHECK(contains(lines[0].at("message").as_string(), "more than pack.capacity 200"));
  CHECK(report_file(o).at("rejects").at("no_answer").as_int() == 2);

  // At the border: a sample as long as the pack is packed, one token longer is not.
  o.capacity = static_cast<std::int64_t>(make_sample(ConversationFile(json).read(1), small_processor(), {}).ids.size());
  CHECK(pack_data(o, small_processor()).rejects[RejectReason::over_length] == 0);
  --o.capacity;
  CHECK(pack_data(o, small_processor()).rejects[RejectReason::over_length] == 1);

  o.max_rejects = 5;
  std::filesystem::remove(o.out);
  CHECK(contains(message_of([&] { pack_data(o, small_processor()); }),
                 "6 of 8 records rejected, more than data.max_rejects 5 (malformed_record 1, image_missing 1"));
  CHECK(!std::filesystem::exists(o.out));
  CHECK(reject_lines(o).size() == 6);
  o = pack_options(d, d.json({of("x", {"<image>q", ""})}, "none.json"));
  CHECK(contains(message_of([&] { pack_data(o, small_processor()); }), "so none is left to pack (no_answer 1)"));
}

TEST_CASE("pack: a cut shard and a key that came before are counted; what is whole is packed") {
  const DataSet d;
  const std::string path = caption_shard(d, "c.tar", 6);
  const std::string whole = read_file(path);
  std::vector<TarMember> members;
  TarReader tar(MappedFile::open(path));
  for (TarMember m; tar.next(&m);) members.push_back(m);
  write_durably(path, whole.substr(0, members[7].begin + 700));  // inside the fourth sample
  PackOptions o = pack_options(d, path);
  PackReport r = pack_data(o, small_processor());
  CHECK(r.samples == 3);
  CHECK(r.rejects[RejectReason::damaged_shard] == 1);
  CHECK(contains(reject_lines(o)[0].at("message").as_string(), cat(path, ": cut short: ")));

  write_durably(path, whole.substr(0, members[4].begin) + whole);  // the first two samples once more
  r = pack_data(o, small_processor());
  CHECK(r.samples == 6);
  CHECK(r.rejects[RejectReason::duplicate_key] == 2);
}

TEST_CASE("pack: with a limit on patches both sums stay within theirs (R-13)") {
  const DataSet d;
  PackOptions o = pack_options(d, caption_shard(d, "c.tar", 120), 1000);
  const auto most_patches = [&] {
    const PackIndex index = PackIndex::read(o.out);
    std::int64_t most = 0;
    for (std::int64_t p = 0; p < index.packs.size(); ++p) {
      std::int64_t patches = 0;
      for (const std::int64_t i : index.packs[p]) patches += index.patches[static_cast<std::size_t>(i)];
      most = std::max(most, patches);
    }
    return most;
  };
  const std::int64_t packs = pack_data(o, small_processor()).packs;
  CHECK(most_patches() > 50);  // the twin: without the limit packs hold more
  o.max_patches = 50;
  CHECK(pack_data(o, small_processor()).packs > packs);
  CHECK(most_patches() <= 50);
  o.max_patches = 10;
  const PackReport r = pack_data(o, small_processor());
  CHECK(r.rejects[RejectReason::over_length] > 0);
  CHECK(contains(reject_lines(o)[0].at("message").as_string(), "patches, more than pack.max_patches 10"));
}

TEST_CASE("pack: options out of range, no data, and a full disk") {
  const DataSet d;
  const std::string json = d.ten();
  const auto complaint = [&](auto change) {
    PackOptions o = pack_options(d, json);
    change(o);
    return message_of([&] { pack_data(o, small_processor()); });
  };
  CHECK(complaint([](PackOptions&) {}) == "");
  CHECK(contains(complaint([](PackOptions& o) { o.capacity = 0; }), "pack.capacity: expected at least 1, found 0"));
  CHECK(contains(complaint([](PackOptions& o) { o.max_patches = -1; }), "pack.max_patches: expected at least 0"));
  CHECK(contains(complaint([](PackOptions& o) { o.seed = -1; }), "pack.seed: expected at least 0"));
  CHECK(contains(complaint([](PackOptions& o) { o.max_rejects = -1; }), "data.max_rejects: expected"));
  CHECK(contains(complaint([](PackOptions& o) { o.sources.clear(); }), "no data"));
  CHECK(contains(complaint([&](PackOptions& o) { o.out = d.path("no/such/folder"); }), "no/such/folder"));
}

}  // namespace ov::loader_test
