// Files as users have them: each fault is told by its name and place, costs its own record alone, and what other
// readers read is read.
#include <doctest/doctest.h>

#include "data/learn_tokenizer.h"
#include "data/raw/regions.h"
#include "tests/data/fault_fixture.h"

namespace ov::loader_test {
namespace {

// Of the one record, or why it is rejected.
std::string only(const DataSet& d, const std::string& record) {
  const std::string path = d.write("one.jsonl", record + "\n");
  return message_of([&] { ConversationFile(path).read(0); }) + [&] {
    const Strings all = records_of(path);
    return contains(all[0], " | ") ? all[0] : std::string();
  }();
}

constexpr const char* llava = R"([{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}])";

std::string learning(const std::string& file) {
  LearnTokenizerOptions o;
  o.files = {file};
  return message_of([&] { learn_tokenizer(o); });
}

}  // namespace

TEST_CASE("record layouts: every one that the data sets have is read, or refused by its name") {
  const DataSet d;
  const auto in = [](const std::string& turns) {
    return R"({"id": 7, "image": "a.png", "conversations": )" + turns + "}";
  };
  // Both spellings beside each other with nulls in one, extra keys inside and outside of the turns.
  for (
      const std::string& turns : Strings{
          llava,
          R"([{"from": "human", "value": "<image>\nq", "role": null, "content": null},
               {"from": "gpt", "value": "a", "role": null, "content": null}])",
          R"([{"from": null, "value": null, "role": "user", "content": "<image>\nq"},
               {"from": null, "value": null, "role": "assistant", "content": "a"}])",
          R"([{"from": "human", "value": null, "role": null, "content": "<image>\nq"},
               {"role": "assistant", "value": "a"}])",
          R"([{"from": "human", "value": "<image>\nq", "markdown": {"answer": 1, "index": 2, "type": "x"}, "text": "t"},
               {"from": "gpt", "value": "a", "data_source": "pathvqa"}])",
          R"([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}])"}) {
    std::string line = turns;
    line.erase(std::remove(line.begin(), line.end(), '\n'), line.end());
    CHECK_MESSAGE(only(d, in(line)) == "<image>\nq | a", line);
  }
  CHECK(only(d, R"({"id": "b", "images": ["p.png"], "image": null, "conversations": null, "messages": )" +
                    std::string(llava) + "}") == "<image>\nq | a");
  CHECK(only(d, R"({"id": "x/1", "image": "a.png", "caption": "a ring"})") == "<image> | a ring");
  CHECK(only(d, R"({"id": "x/1", "image": "a.png", "caption": "a ring", "conversations": null})") ==
        "<image> | a ring");
  CHECK(only(d, R"({"image": ["a.png", "b.png"], "messages": [{"role": "system", "content": "s"},)"
                R"({"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})") ==
        "s | <image><image>\nq");
  CHECK(contains(only(d, R"({"id": "x/1", "images": ["a", "b"], "caption": "two"})"), "image_count | "));

  // Two spellings that say different things are no layout.
  CHECK(contains(only(d, R"({"conversations": [{"from": "human", "value": "q", "content": "r"}]})"), "has both"));
  CHECK(
      only(d,
           in(R"([{"from": "human", "value": "", "role": "user", "content": "q"}, {"from": "gpt", "value": "a"}])")) ==
      "<image>\nq | a");
  // A tag in an answer is not taken for a picture's place.
  CHECK(only(d, in(R"([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a <image>"}])")) == "q | a <image>");

  CHECK(contains(only(d, R"({"instruction": "i", "input": "", "output": "o"})"),
                 "records of instruction, input and output are not read"));
  CHECK(
      contains(only(d, R"({"images": ["a"], "prompts": ["p"], "captions": ["c"]})"), "is read from tar shards alone"));
  CHECK(contains(only(d, R"({"prompt": "p", "chosen": "c", "rejected": "r"})"), "prompt, chosen and rejected"));
  CHECK(contains(only(d, R"({"data": [{"id": 1}], "version": 2})"), "are the records the list under \"data\"?"));
  CHECK(contains(only(d, R"({"conversations": []})"), "\"conversations\" is empty: there is nothing to learn"));
  CHECK(contains(only(d, R"({"messages": []})"), "\"messages\" is empty: there is nothing to learn"));
  CHECK(contains(only(d, R"({"conversations": null})"), "\"conversations\" is null: expected a list of messages"));
  CHECK(contains(only(d, R"({"conversations": null, "messages": []})"), "\"messages\" is empty"));
  CHECK(contains(only(d, R"({"conversations": [{"from": null, "value": "q"}]})"), "has neither \"from\" nor \"role\""));
}

TEST_CASE("picture names: one with a zero byte is refused, in conversations and in regions") {
  const DataSet d;
  d.png("p.png", 28, 28, 1);
  CHECK(contains(only(d, R"({"image": "p.png\u0000.jpg", "conversations": )" + std::string(llava) + "}"),
                 "malformed_record | "));
  CHECK(contains(only(d, R"({"image": ["p.png\u0000"], "conversations": )" + std::string(llava) + "}"), "a zero byte"));
  const RegionFile file(
      d.write("r.jsonl", R"({"image": "p.png\u0000.jpg", "objects": [{"box": [0, 0, 9, 9], "class": "c"}]})"));
  CHECK(contains(message_of([&] { file.read(0); }), "malformed_record | "));
}

TEST_CASE("messages are bounded, however long what they quote is") {
  const DataSet d;
  const std::string big(1600000, 'x');
  for (const std::string& record :
       Strings{R"({"image": {"bytes": ")" + big + R"("}, "conversations": []})", R"({"id": ")" + big + R"("})",
               R"({"image": ["a", {"b": ")" + big + R"("}], "conversations": []})",
               R"({"conversations": [{"from": ")" + big + R"(", "value": ""}]})",
               R"({"image": ")" + big + R"(", "caption": 1})", R"({")" + big + R"(": [{}]})", "{" + big}) {
    const std::string message = only(d, record);
    CHECK(contains(message, "malformed_record | "));
    CHECK(message.size() < 2500);
  }
}

TEST_CASE(
    "webdataset: dot files, files without a part and __meta__ members are passed over; names count in lower case "
    "(T-31)") {
  const DataSet d;
  const std::string png = read_file(d.png("p.png", 28, 28, 1)),
                    json = R"({"conversations": )" + std::string(llava) + "}";
  const Strings two = {"<image>\nq | a", "<image>\nq | a"};
  const Parts samples = {{"0.jpg", png}, {"0.json", json}, {"1.jpg", png}, {"1.json", json}};
  CHECK(records_of(shard(d, "a.tar", samples)) == two);
  for (const char* other :
       {".DS_Store", "README", "._0.jpg", "dir/LICENSE", "dir/.x.jpg", "__meta__/info.json", "__index__", "LICENSE"})
    for (std::size_t at = 0; at <= samples.size(); ++at) {
      Parts with = samples;
      with.insert(with.begin() + static_cast<std::ptrdiff_t>(at), {other, "x"});
      CHECK_MESSAGE(records_of(shard(d, "a.tar", with)) == two, other, " at ", at);
    }
  CHECK(records_of(shard(d, "a.tar", {{"__x/0.jpg", png}, {"__x/0.json", json}})) ==
        Strings{two[0]});  // no meta member

  CHECK(records_of(shard(d, "a.tar", {{"0.JPG", png}, {"0.JSON", json}, {"1.Jpeg", png}, {"1.TXT", "a"}})) ==
        Strings{two[0], "<image> | a"});
  CHECK(records_of(
            shard(d, "a.tar", {{"0.0_P.PNG", png}, {"0.Json", R"({"texts": [{"role": "user", "content": "<image>\nq"},
                                        {"role": "assistant", "content": "a"}], "name": ["0_p.png"]})"}})) ==
        Strings{two[0]});
  // A part's name begins at the first dot and may hold more.
  CHECK(records_of(shard(d, "a.tar", {{"0.0_photo.v2.PNG", png}, {"0.json", R"({"texts": [{"role": "user",
            "content": "<image>\nq"}, {"role": "assistant", "content": "a"}], "name": ["0_photo.v2.PNG"]})"}})) ==
        Strings{two[0]});
  CHECK(records_of(shard(d, "a.tar", {{"0.IMG0.JPG", png}, {"0.JSON", R"({"prompts": ["q"], "captions": ["a"]})"}})) ==
        Strings{two[0]});
}

TEST_CASE("webdataset: a record of LLaVA is a part json, with its keys in either spelling") {
  const DataSet d;
  const std::string png = read_file(d.png("p.png", 28, 28, 1));
  const auto of = [&](const std::string& json) {
    return records_of(shard(d, "a.tar", {{"0.jpg", png}, {"0.json", json}}));
  };
  for (const char* key : {"conversations", "messages"})
    CHECK(of(cat(R"({"id": "0", "image": "x/0.jpg", ")", key, "\": ", llava, "}")) == Strings{"<image>\nq | a"});
  CHECK(of(R"({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]})") ==
        Strings{"<image>\nq | a"});
  CHECK(of(R"({"conversations": []})") == Strings{"malformed_record"});
  CHECK(of(R"({"image": "0.jpg", "caption": "a ring"})") == Strings{"<image> | a ring"});
}

TEST_CASE("text that is no UTF-8 is refused with its place, as a caption and as what a tokenizer learns from") {
  const DataSet d;
  const std::string png = read_file(d.png("p.png", 28, 28, 1));
  for (const std::string& bad : {std::string("Gr\xF6\xDF"
                                             "e"),
                                 std::string("\xff\xfeG\0r\0", 6), std::string("G\0r\0", 4)}) {
    const std::string path = shard(d, "a.tar",
                                   {{"0.jpg", png},
                                    {"0.txt", bad},
                                    {"1.jpg", png},
                                    {"1.txt",
                                     "Gr\xC3\xB6\xC3\x9F"
                                     "e"}});
    CHECK(records_of(path) == Strings{"malformed_record",
                                      "<image> | Gr\xC3\xB6\xC3\x9F"
                                      "e"});
    CHECK(contains(message_of([&] { open_records(path)->read(0); }), "sample '0': txt"));
    for (const char* name : {"t.txt", "t.json", "t.jsonl"}) {
      const bool marked = name == std::string("t.txt") && bad[0] == '\xff';
      CHECK(contains(learning(d.write(name, name == std::string("t.txt") ? bad : "[{\"text\": \"" + bad + "\"}]")),
                     d.path(name) + (marked ? ": looks like text in UTF-16" : ": byte ")));
    }
  }
  CHECK(contains(learning(d.write("t.txt", std::string("\x1f\x8b\x08\0\0", 5))), "t.txt: looks like a gzip file"));
  CHECK(contains(learning(d.write("t.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 1\n")),
                 "t.txt: looks like a Git LFS pointer"));
  CHECK(learning(d.write("t.txt", "BMW is a maker of cars, PK is not")).empty());
}

TEST_CASE("learning a tokenizer: <image> tags cost in proportion to the text, and an array is what its lines are") {
  const DataSet d;
  std::string tags, plain;
  for (int i = 0; i < 300000; ++i) tags += "<image>";
  LearnTokenizerOptions o;
  o.vocabulary = 280;
  o.files = {d.write("t.jsonl", Json::object({{"text", "aa bb aa" + tags + " bb cc"}}).dump())};
  Strings learnt;
  CHECK(seconds_of([&] { learnt = {learn_tokenizer(o).bpe().merges().at(0).left}; }) < 5);
  const std::string records = R"({"text": "abc abc <image>abd"},{"question": "abc"},{"question": "abd"})";
  o.files = {d.write("a.json", "[" + records + "]")};
  const Tokenizer array = learn_tokenizer(o);
  std::string lines = records;
  for (std::size_t at; (at = lines.find("},{")) != lines.npos;) lines[at + 1] = '\n';
  o.files = {d.write("a.jsonl", lines)};
  CHECK(array.encode("abc abd") == learn_tokenizer(o).encode("abc abd"));
}

TEST_CASE("packing: memory goes with the longest sample, not with the capacity") {
  std::vector<std::int32_t> lengths;
  const Philox random(3, "lengths");
  for (std::uint64_t i = 0; i < 3000; ++i) lengths.push_back(1 + static_cast<std::int32_t>(random.below(i, 900)));
  for (const std::int64_t capacity : {std::int64_t{1} << 25, std::int64_t{0x7fffffff}}) {
    Packs packs;
    CHECK(seconds_of([&] { packs = pack_lengths(lengths, capacity, 7); }) < 5);
    CHECK(packs.size() == 1);  // all of them together are shorter
    CHECK(packs.item.size() == lengths.size());
  }
  const DataSet d;
  PackOptions o = pack_options(d, d.ten(), 0x80000000);
  CHECK(contains(message_of([&] { pack_data(o, small_processor()); }), "pack.capacity: expected at most 2147483647"));
}

TEST_CASE("packed loader: data that is not there any more is told with the index that names it") {
  const DataSet d;
  const PackOptions o = pack_options(d, d.ten(), 500);
  pack_data(o, small_processor());
  std::filesystem::rename(d.path("data.json"), d.path("moved.json"));
  PackedLoaderOptions l;
  l.index = o.out;
  const std::string message = message_of([&] { PackedLoader loader(l, small_processor()); });
  CHECK(contains(message, "packs.safetensors: names the source "));
  CHECK(contains(message, "data.json"));
}

}  // namespace ov::loader_test
