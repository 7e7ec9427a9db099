#include <doctest/doctest.h>

#include "image/decode.h"
#include "tests/data/loader_fixture.h"
#include "text/chat.h"

namespace ov::loader_test {
namespace {

using Ids = std::vector<std::int64_t>;

SampleOptions layout(TurnLayout turns) { return {.turns = turns}; }

Conversation first(const std::string& path) { return ConversationFile(path).read(0); }

Ids labelled(const Sample& s, const TokenSegment& segment) {
  Ids out;
  for (std::int64_t t = segment.begin; t < segment.begin + segment.length; ++t)
    if (const auto l = s.labels[static_cast<std::size_t>(t)]; l != ignored_label) out.push_back(l);
  return out;
}

Ids part(const Ids& ids, const TokenSegment& s) { return {ids.begin() + s.begin, ids.begin() + s.begin + s.length}; }

Ids joined(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Three turns on two pictures, with a system turn of its own.
Conversation three_turns(const DataSet& d) {
  d.png("a.png", 56, 28, 3);
  d.png("b.png", 28, 56, 9);
  Json r = record("3", std::vector<std::string>{"a.png", "b.png"},
                  {"<image> or <image>\nfirst?", "left", "second?", "a long answer", "third?", "z"});
  Json turns = Json::array();
  turns.push(turn("system", "be brief"));
  for (const Json& t : r.at("conversations").items()) turns.push(t);
  r.set("conversations", turns);
  return first(d.json({r}));
}

}  // namespace

TEST_CASE("sample: all turns in one causal segment, every answer and its end labelled, nothing else") {
  const DataSet d;
  const Processor p = small_processor();
  const Tokenizer& t = p.tokenizer();
  const Sample s = make_sample(three_turns(d), p, layout(TurnLayout::conversation));

  const ChatTokens c = ChatTokens::of(t);
  Ids want = t.encode("<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\n");
  want = joined(want, {c.vision_start, c.image_pad, c.image_pad, c.vision_end});
  want = joined(want, t.encode(" or "));
  want = joined(want, {c.vision_start, c.image_pad, c.image_pad, c.vision_end});
  want = joined(want, t.encode("\nfirst?<|im_end|>\n<|im_start|>assistant\nleft<|im_end|>"
                               "\n<|im_start|>user\nsecond?<|im_end|>\n<|im_start|>assistant\na long answer<|im_end|>"
                               "\n<|im_start|>user\nthird?<|im_end|>\n<|im_start|>assistant\nz<|im_end|>"));
  CHECK(s.ids == want);
  REQUIRE(s.segments == std::vector<TokenSegment>{{0, static_cast<std::int64_t>(want.size()), -1}});
  CHECK(t.decode(labelled(s, s.segments[0]), false) == "left<|im_end|>a long answer<|im_end|>z<|im_end|>");
  for (std::size_t i = 0; i < s.ids.size(); ++i) CHECK((s.labels[i] == ignored_label || s.labels[i] == s.ids[i]));

  REQUIRE(s.grids.size() == 2);
  CHECK(s.grids[0] == std::array<std::int64_t, 3>{1, 2, 4});
  CHECK(s.grids[1] == std::array<std::int64_t, 3>{1, 4, 2});
  CHECK(same_bits(s.pixel_values.slice(0, 0, 8), make_patches(read_image(d.path("a.png")), p.images()).pixel_values));
  CHECK(same_bits(s.pixel_values.slice(0, 8, 16), make_patches(read_image(d.path("b.png")), p.images()).pixel_values));
}

TEST_CASE("sample: branches with their shared prefix are the single-turn samples, id, label and position") {
  const DataSet d;
  const Processor p = small_processor();
  const Conversation c = three_turns(d);
  const Sample s = make_sample(c, p, layout(TurnLayout::shared_prefix));
  const MicroBatch b = packed_micro_batch(std::vector{s});
  const auto singles = single_turns(c.turns);
  REQUIRE(s.segments.size() == 4);
  REQUIRE(singles.size() == 3);
  CHECK(s.segments[0].prefix == -1);
  CHECK(labelled(s, s.segments[0]).empty());
  for (std::size_t k = 0; k < 3; ++k) {
    const Sample single = make_sample({"single", c.images, singles[k]}, p, layout(TurnLayout::conversation));
    const TokenSegment branch = s.segments[k + 1];
    CHECK(branch.prefix == 0);
    CHECK(joined(part(s.ids, s.segments[0]), part(s.ids, branch)) == single.ids);
    CHECK(joined(part(s.labels, s.segments[0]), part(s.labels, branch)) == single.labels);
    CHECK(joined(part(b.positions, s.segments[0]), part(b.positions, branch)) ==
          packed_micro_batch(std::vector{single}).positions);
    CHECK(same_bits(s.pixel_values, single.pixel_values));
    // The twin: a turn of the running conversation is not the single-turn sample.
    const Sample running = make_sample(c, p, layout(TurnLayout::conversation));
    CHECK(Ids(running.ids.begin(), running.ids.begin() + static_cast<std::ptrdiff_t>(single.ids.size())) !=
          (k ? single.ids : Ids()));
  }
}

TEST_CASE("sample: text alone has no pictures in either layout; its shared prefix is the system turn") {
  const DataSet d;
  const Processor p = small_processor();
  const Conversation c = first(d.json({record("t", Json(), {"2 + 2?", "4", "3 + 3?", "6"})}));
  const Sample one = make_sample(c, p, layout(TurnLayout::conversation));
  CHECK(!one.pixel_values);
  CHECK(one.grids.empty());
  const Sample branched = make_sample(c, p, layout(TurnLayout::shared_prefix));
  REQUIRE(branched.segments.size() == 3);
  CHECK(p.tokenizer().decode(part(branched.ids, branched.segments[0]), false) ==
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>");
  CHECK(p.tokenizer().decode(labelled(branched, branched.segments[2]), false) == "6<|im_end|>");
}

TEST_CASE(
    "micro-batch: samples stand side by side, each with its own segments, positions, pictures and number (R-08)") {
  const DataSet d;
  const Processor p = small_processor();
  const Conversation c = three_turns(d);
  const Sample a = make_sample(c, p, layout(TurnLayout::shared_prefix));
  const Sample b = make_sample(c, p, layout(TurnLayout::conversation));
  const MicroBatch m = packed_micro_batch(std::vector{b, a, b});
  const auto A = static_cast<std::int64_t>(a.ids.size()), B = static_cast<std::int64_t>(b.ids.size());
  CHECK(m.input_ids == joined(joined(b.ids, a.ids), b.ids));
  CHECK(m.labels == joined(joined(b.labels, a.labels), b.labels));
  REQUIRE(m.segments.size() == 6);
  CHECK(m.segments[0] == TokenSegment{0, B, -1});
  CHECK(m.segments[1] == TokenSegment{B, a.segments[0].length, -1});
  for (std::size_t k = 2; k < 5; ++k) {
    CHECK(m.segments[k] == TokenSegment{B + a.segments[k - 1].begin, a.segments[k - 1].length, 1});
    CHECK(m.positions[static_cast<std::size_t>(m.segments[k].begin)] == a.segments[0].length);
  }
  CHECK(m.segments[5] == TokenSegment{A + B, B, -1});
  CHECK(m.positions[static_cast<std::size_t>(A + B)] == 0);
  CHECK(m.positions.back() == B - 1);
  CHECK(m.sample_of_segment == Ids{0, 1, 1, 1, 1, 2});
  CHECK(m.samples == 3);
  CHECK(m.grids.size() == 6);
  CHECK(m.pixel_values.dim(0) == 3 * a.pixel_values.dim(0));
  CHECK(same_bits(m.pixel_values.slice(0, 16, 32), a.pixel_values));
  CHECK(contains(message_of([] { packed_micro_batch({}); }), "at least one sample"));
}

TEST_CASE("sample: every reason to reject a record is told with file, record and place") {
  const DataSet d;
  const Processor p = small_processor();
  const std::string png = d.png("a.png", 60, 60, 1);
  d.write("cut.png", read_file(png).substr(0, read_file(png).size() / 2));
  d.write("text.png", "not a picture");
  d.write("empty.png", "");
  d.write("cut.jpg", read_file(d.jpeg("a.jpg", 60, 60, 1)).substr(0, 500));
  d.png("strip.png", 1, 300, 1);
  const auto complaint = [&](const Json& r, SampleOptions options = {}) {
    return message_of([&] { make_sample(first(d.json({r})), p, options); });
  };
  const std::string where = d.path("data.json") + ": record 1 (id \"r\"): ";
  const std::vector<std::string> qa = {"<image>\nq", "a"};

  CHECK(complaint(record("r", "a.png", qa)) == "");  // the twin of all below
  CHECK(contains(complaint(record("r", "none.png", qa)),
                 "image_missing | " + where + "picture 1: " + d.path("none.png") + ": cannot open"));
  CHECK(contains(complaint(record("r", ".", qa)), "image_missing | " + where + "picture 1: "));
  CHECK(contains(complaint(record("r", std::vector<std::string>{"a.png", "cut.png"}, {"<image><image>q", "a"})),
                 "image_unusable | " + where + "picture 2: " + d.path("cut.png") + ": "));
  for (const char* bad : {"cut.jpg", "text.png", "empty.png"})
    CHECK(contains(complaint(record("r", bad, qa)), "image_unusable | " + where + "picture 1: " + d.path(bad) + ": "));
  CHECK(contains(complaint(record("r", "strip.png", qa)),
                 "image_unusable | " + where + "picture 1: " + d.path("strip.png") + ": smart_resize: 1 x 300"));
  CHECK(complaint(record("r", "a.png", {"<image><image>q", "a"})) ==
        "image_count | " + where + "2 <image> tag(s) in the questions, but 1 picture(s)");
  CHECK(complaint(record("r", "a.png", {"q", "<image>"})) ==
        "image_count | " + where + "0 <image> tag(s) in the questions, but 1 picture(s)");
  CHECK(complaint(record("r", Json(), qa)) ==
        "image_count | " + where + "1 <image> tag(s) in the questions, but 0 picture(s)");
  CHECK(complaint(record("r", "a.png", {"<image>q", "a", "q", " \n"})) ==
        "no_answer | " + where + "message 4: the answer is empty");
  CHECK(contains(complaint(record("r", "a.png", {"<image>q"})), "malformed_record | " + where));
  CHECK(contains(complaint(record("r", Json(), {"spelt <|image_pad|>", "a"})), "malformed_record | " + where));

  const Json late = record("r", "a.png", {"q", "a", "<image>q", "a"});
  CHECK(contains(complaint(late, layout(TurnLayout::shared_prefix)), "late_image | " + where + "message 3 brings"));
  CHECK(complaint(late, layout(TurnLayout::conversation)) == "");

  const auto size = [&](TurnLayout turns) {
    return static_cast<std::int64_t>(
        make_sample(first(d.json({record("r", "a.png", qa)})), p, layout(turns)).ids.size());
  };
  for (const TurnLayout turns : {TurnLayout::conversation, TurnLayout::shared_prefix}) {
    const std::int64_t n = size(turns);
    CHECK(complaint(record("r", "a.png", qa), {.turns = turns, .max_tokens = n}) == "");
    CHECK(complaint(record("r", "a.png", qa), {.turns = turns, .max_tokens = n - 1}) ==
          cat("over_length | ", where, n, " tokens, 4 of them for 1 picture(s), more than train.max_tokens ", n - 1));
  }
  CHECK(turn_layout("shared_prefix") == TurnLayout::shared_prefix);
  CHECK(contains(message_of([] { turn_layout("shared_prefx"); }), "did you mean 'shared_prefix'?"));
}

TEST_CASE("sample: a question that spells a token of the format can be kept from forging a turn") {
  const DataSet d;
  const Processor p = small_processor();
  const Conversation c = first(d.json({record("r", Json(), {"a<|im_end|>b", "c"})}));
  const std::int64_t end = ChatTokens::of(p.tokenizer()).im_end;
  const auto ends = [&](LiteralTokens literal) {
    const Sample s = make_sample(c, p, {.literal_tokens = literal});
    return std::count(s.ids.begin(), s.ids.end(), end);
  };
  CHECK(ends(LiteralTokens::as_tokens) == 4);
  CHECK(ends(LiteralTokens::as_text) == 3);
}

}  // namespace ov::loader_test
