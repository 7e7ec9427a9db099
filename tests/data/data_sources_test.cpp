// Where data comes from: pipes, tars that may be cut, what records name as pictures; what a record may cost; and the
// name of its data set, which every sample carries.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <functional>
#include <set>
#include <thread>

#include "data/load/region_loader.h"
#include "data/raw/text_corpus.h"
#include "data/raw/webdataset.h"
#include "store/energon.h"
#include "tests/data/fault_fixture.h"

namespace ov::loader_test {
namespace {

// f, with `bytes` in a pipe that it may read once, and the pipe's path.
void with_pipe(const std::string& bytes, const std::function<void(const std::string&)>& f) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  std::thread writer([&] {
    for (std::size_t at = 0; at < bytes.size();) {
      const ssize_t n = ::write(ends[1], bytes.data() + at, bytes.size() - at);
      if (n <= 0) break;
      at += static_cast<std::size_t>(n);
    }
    ::close(ends[1]);
  });
  f(cat("/dev/fd/", ends[0]));
  writer.join();
  ::close(ends[0]);
}

// What f says on stderr.
std::string told(const DataSet& d, const std::function<void()>& f) {
  std::fflush(nullptr);
  const int kept = ::dup(2), to = ::open(d.path("stderr").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::dup2(to, 2);
  ::close(to);
  f();
  std::fflush(nullptr);
  ::dup2(kept, 2);
  ::close(kept);
  return read_file(d.path("stderr"));
}

}  // namespace

TEST_CASE("pictures: what a record names is opened when it is a regular file, and never waited for") {
  const DataSet d;
  REQUIRE(::mkfifo(d.path("fifo").c_str(), 0600) == 0);
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  d.path("socket").copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  int silent[2];  // a pipe that nobody closes
  REQUIRE(::pipe(silent) == 0);
  for (const std::string& name : Strings{"fifo", "socket", "/dev/zero", "/dev/null", cat("/dev/fd/", silent[0])}) {
    CAPTURE(name);
    const auto file = d.json({record("1", name, {"<image>q", "a"})});
    CHECK(contains(message_of([&] { make_sample(ConversationFile(file).read(0), small_processor(), {}); }),
                   "image_missing | "));
    RegionLoaderOptions o;
    o.regions = d.write("r.jsonl", R"({"image": ")" + name + R"(", "objects": [{"box": [0, 0, 9, 9], "class": "c"}]})");
    CHECK(contains(message_of([&] { RegionLoader(o).next(); }), "is a pipe, a device or a socket, expected a file"));
  }
  ::close(silent[0]), ::close(silent[1]), ::close(listener);
}

TEST_CASE("data sets: a pipe is read, once, as the file whose bytes it has") {
  const DataSet d;
  const std::string tar = caption_shard(d, "c.tar", 3), json = d.ten(),
                    regions = d.write("r.jsonl", R"({"image": "a", "objects": [{"box": [0, 0, 9, 9], "class": "c"}]})"),
                    text = d.write("t.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n");
  with_pipe(read_file(tar), [&](const std::string& pipe) {
    CHECK(records_of(tar).size() == 3);
    CHECK(records_of(pipe) == records_of(tar));
  });
  with_pipe(read_file(json), [&](const std::string& pipe) {
    CHECK(open_records(pipe)->fingerprint() == open_records(json)->fingerprint());
  });
  with_pipe(read_file(regions), [&](const std::string& pipe) {
    CHECK(RegionFile(pipe).fingerprint() == RegionFile(regions).fingerprint());
  });
  with_pipe(read_file(text), [&](const std::string& pipe) {
    CHECK(TextCorpus({.files = {pipe}}, small_processor().tokenizer()).fingerprint() ==
          TextCorpus({.files = {text}}, small_processor().tokenizer()).fingerprint());
  });
}

TEST_CASE("webdataset: a tar that may have been cut at a member's border is said, where nothing counts its samples") {
  const DataSet d;
  std::filesystem::create_directory(d.path("w"));
  const std::string path = caption_shard(d, "w/0.tar", 3), whole = read_file(path);
  CHECK(told(d, [&] { Webdataset{path}; }).empty());
  d.write("w/0.tar", whole.substr(0, whole.size() - 2 * tar_block));
  CHECK(contains(told(d, [&] { CHECK(Webdataset{d.path("w")}.size() == 3); }),
                 "w/0.tar: the blocks of zeros that close"));
  d.write("w/1.tar", read_file(path));
  CHECK(contains(told(d, [&] { Webdataset{d.path("w")}; }), "w/0.tar and 1 more: the blocks of zeros"));
  // A count tells more than that: what it promises and is not there is rejected.
  write_energon_meta(d.path("w"), {"CaptioningSample", {"0.tar"}, {{"0.tar", 4}}}, "m", "");
  CHECK(told(d, [&] { CHECK(records_of(d.path("w")).back() == "damaged_shard"); }).empty());
}

TEST_CASE("webdataset: a part that stands twice is a duplicate in whatever case, and a sample may have very many") {
  const DataSet d;
  const std::string png = read_file(d.png("p.png", 28, 28, 1));
  CHECK(records_of(shard(d, "a.tar", {{"0.jpg", png}, {"0.JPG", png}, {"0.txt", "a"}})) == Strings{"duplicate_key"});
  Parts many;
  std::string names;
  for (int i = 0; i < 20000; ++i) {
    many.push_back({cat("0.", i, ".png"), ""});
    names += cat(i ? ", " : "", "\"", i, ".PNG\"");
  }
  many.push_back({"0.json", R"({"texts": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
                               "name": [)" +
                                names + "]}"});
  const std::string path = shard(d, "a.tar", many);
  CHECK(seconds_of([&] { CHECK(open_records(path)->read(0).images.size() == 20000); }) < 5);
}

TEST_CASE("records: what costs the square of a record's length does not: many pictures, many turns on long text") {
  const DataSet d;
  std::string pictures;
  for (int i = 0; i < 300000; ++i) pictures += cat(i ? "," : "", "\"p\"");
  const ConversationFile file(d.write(
      "a.jsonl", R"({"images": [)" + pictures + R"(], "messages": )" + R"([{"role": "user", "content": "q"}]})"));
  CHECK(seconds_of([&] { CHECK(file.read(0).turns[0].text.size() == 300000 * 7 + 2); }) < 5);

  std::vector<Turn> said;
  for (int i = 0; i < 4000; ++i) {
    said.push_back({"user", i ? "and?" : std::string(500000, '.') + " <image>\nwhat?"});
    said.push_back({"assistant", "yes"});
  }
  CHECK(seconds_of([&] {
          CHECK(encode_branches(small_processor().tokenizer(), said, std::vector<std::int64_t>{1}).branches.size() ==
                4000);
        }) < 5);
}

TEST_CASE("sources: every sample of a batch has the name of the data set it comes from (T-34)") {
  const DataSet d;
  d.png("p.png", 28, 28, 1);
  std::vector<Json> records = {record("0", "p.png", {"q", "a"}), record("1", "p.png", {"q", ""}),
                               record("2", "p.png", {"q", "a"})};
  records[0].set("data_source", "pathvqa");
  LoaderOptions l;
  l.json = d.json(records);
  l.samples_per_micro_batch = 3;
  const std::vector<std::string> got = Loader(l, small_processor()).next().micro_batches[0].source_of_sample;
  CHECK(std::multiset<std::string>(got.begin(), got.end()) == std::multiset<std::string>{"", l.json, "pathvqa"});

  PackOptions o = pack_options(d, l.json, 2000);
  o.sources.push_back({caption_shard(d, "c.tar", 2), ""});
  pack_data(o, small_processor());
  PackedLoaderOptions p;
  p.index = o.out;
  std::multiset<std::string> packed;
  PackedLoader loader(p, small_processor());
  for (std::int64_t i = 0; i < loader.index().packs.size(); ++i) {
    const MicroBatch b = loader.next().micro_batches[0];
    packed.insert(b.source_of_sample.begin(), b.source_of_sample.end());
  }
  CHECK(packed == std::multiset<std::string>{"pathvqa", l.json, d.path("c.tar"), d.path("c.tar")});

  LoaderOptions t;
  const std::vector<std::string> files = {d.write("a.jsonl", R"({"text": "one"})"),
                                          d.write("b.jsonl", R"({"text": "two"})")};
  t.samples_per_micro_batch = 2;
  auto corpus = std::make_unique<TextCorpus>(TextCorpusOptions{.files = files}, small_processor().tokenizer());
  const auto of_text = Loader(t, small_processor(), std::move(corpus)).next().micro_batches[0].source_of_sample;
  CHECK(std::set<std::string>(of_text.begin(), of_text.end()) == std::set<std::string>(files.begin(), files.end()));
}

}  // namespace ov::loader_test
