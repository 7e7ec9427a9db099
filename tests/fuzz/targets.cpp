#include "tests/fuzz/targets.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "comm/host_list.h"
#include "comm/link.h"
#include "comm/machines.h"
#include "data/pack/index.h"
#include "data/raw/records.h"
#include "data/raw/regions.h"
#include "generate/text_stream.h"
#include "image/decode.h"
#include "image/patches.h"
#include "model/config.h"
#include "rl/event_log.h"
#include "serve/api.h"
#include "serve/sse.h"
#include "store/energon.h"
#include "store/energon_blend.h"
#include "store/jsonl.h"
#include "store/parquet/rows.h"
#include "store/safetensors.h"
#include "store/tar.h"
#include "tests/base/scratch.h"
#include "text/chat.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"

namespace ov {
namespace {

void must(bool holds) {
  if (!holds) __builtin_trap();
}

// A file for readers that take a path, in a directory that is the process's own.
std::string as_file(std::string_view bytes, const std::string& name) {
  static const ScratchDirectory dir;
  std::filesystem::create_directories(dir / ".nv-meta");
  std::ofstream(dir / name, std::ios::binary) << bytes;
  return dir / name;
}

std::size_t sum;  // what was read counts for something, so that no read is optimised away
void touch(std::string_view bytes) {
  for (const char c : bytes) sum += static_cast<unsigned char>(c);
}

void json(std::string_view bytes) {
  const Json value = Json::parse(bytes, "x.json");
  const std::string text = value.dump();
  must(Json::parse(text, "").dump() == text);
  must(utf8_prefix(text) == text.size());
}

void jsonl(std::string_view bytes) {
  JsonlReader reader(as_file(bytes, "x.jsonl"));
  for (Json value;;) try {
      if (!reader.next(&value)) return;
    } catch (const Error&) {}
}

void safetensors(std::string_view bytes) {
  const Safetensors file = Safetensors::open(MappedFile::of(bytes, "x.safetensors"));
  for (const SafetensorsEntry& e : file.entries()) {
    if (!e.loads_as()) continue;
    const Tensor t = file.tensor(e.name);
    touch({reinterpret_cast<const char*>(t.bytes()), t.nbytes()});
  }
}

void parquet(std::string_view bytes) {
  const ParquetFile file(MappedFile::of(bytes, "x.parquet"));
  for (std::size_t g = 0; g < file.groups().size(); ++g) try {
      const ParquetRows rows(file, g);
      std::string text;
      for (std::int64_t row = 0; row < file.groups()[g].rows; ++row, text.clear()) {
        rows.append_json(
            row, [](std::string_view value, std::string* to) { touch(value), *to += "0"; }, &text);
        Json::parse(text, "x.parquet");
      }
    } catch (const Error&) {}
}

void tar(std::string_view bytes) {
  TarReader reader(MappedFile::of(bytes, "x.tar"));
  for (TarMember m; reader.next(&m);) {
    touch(m.data);
    must(m.end > m.begin);
  }
}

void energon(std::string_view bytes) {  // the first byte chooses the file
  const std::vector<std::string> names = {"split.yaml", "split.json", "dataset.yaml", ".info.yaml", ".info.json"};
  const std::string name = ".nv-meta/" + names[bytes.empty() ? 0 : static_cast<unsigned char>(bytes[0]) % names.size()];
  const std::string split = as_file("split_parts:\n  train: [a.tar]\n", ".nv-meta/split.yaml");
  const std::string path = as_file(bytes.substr(!bytes.empty()), name);
  if (name.ends_with("split.json")) std::filesystem::remove(split);
  const struct Remove {
    const std::string& path;
    ~Remove() { std::filesystem::remove(path); }
  } remove{path};
  read_energon_meta(std::filesystem::path(path).parent_path().parent_path());
}

void blend(std::string_view bytes) {
  as_file(bytes, "inner.yaml");
  read_energon_blend(as_file(bytes, "blend.yaml"));
}

void tar_index(std::string_view bytes) {
  as_file(bytes, "i.tar.idx");
  const std::string path = as_file("", "i.tar");
  read_tar_index(path);
}

void tokenizer(std::string_view bytes) {
  const std::string path = as_file(bytes, "tokenizer.json");
  const Tokenizer t = Tokenizer::read(std::filesystem::path(path).parent_path());
  t.decode(t.encode("Hello world, it's 5 o'clock"));
}

void text(std::string_view bytes) {
  static const Tokenizer t = Tokenizer::read("data/tokenizer");
  const std::string valid = valid_utf8(bytes);
  must(utf8_prefix(valid) == valid.size());
  must((utf8_prefix(bytes) == bytes.size()) == (valid == bytes));
  must(t.decode(t.encode(bytes), false) == t.decode(t.encode(valid), false));
  const std::string normal = nfc(valid);
  must(nfc(normal) == normal);
  must(t.decode(t.encode(normal, false), false) == normal);
}

// Two bytes an id, behind a stop string and its length: whatever a model writes, the pieces are whole characters, and
// together the text of decode up to the stop string.
void stop_text(std::string_view bytes) {
  static const Tokenizer t = Tokenizer::read("data/tokenizer");
  const std::size_t n =
      bytes.empty() ? 0 : std::min<std::size_t>(static_cast<unsigned char>(bytes[0]), bytes.size() - 1);
  const std::string stop = valid_utf8(bytes.substr(!bytes.empty(), n));
  std::vector<std::int64_t> ids;
  for (std::size_t i = n + 1; i + 1 < bytes.size(); i += 2)
    ids.push_back(static_cast<unsigned char>(bytes[i]) | static_cast<unsigned char>(bytes[i + 1]) << 8);
  TextStream stream(t, stop.empty() ? std::vector<std::string>{} : std::vector{stop});
  std::string all;
  const auto take = [&](const std::string& piece) {
    must(utf8_prefix(piece) == piece.size());
    all += piece;
  };
  for (const std::int64_t id : ids) take(stream.add(id));
  take(stream.finish());
  must(stop.empty() || all.find(stop) == all.npos);
  if (stream.stopped()) return;
  must(all == t.decode(ids));
}

// A message a line, its first character the role and whether a picture comes before the text: what is encoded has the
// pads of its pictures and no other, whatever the texts say.
void chat_template(std::string_view bytes) {
  static const Tokenizer t = Tokenizer::read("data/tokenizer");
  static const std::int64_t pad = ChatTokens::of(t).image_pad;
  std::vector<Message> messages;
  std::vector<std::int64_t> counts;
  for (std::size_t begin = 0; begin < bytes.size();) {
    const std::size_t end = std::min(bytes.find('\n', begin + 1), bytes.size());
    const auto first = static_cast<unsigned char>(bytes[begin]);
    Message m{.role = first % 3 == 0 ? "system" : first % 3 == 1 ? "user" : "assistant", .content = {}};
    if (first & 4) m.content.push_back({.kind = Content::Kind::image, .text = ""}), counts.push_back(1 + first % 7);
    m.content.push_back({.text = valid_utf8(bytes.substr(begin + 1, end - begin - 1))});
    messages.push_back(std::move(m));
    begin = end + 1;
  }
  std::int64_t pads = 0;
  for (const std::int64_t n : counts) pads += n;
  const auto ids = encode_chat(t, messages, counts, {.add_generation_prompt = true});
  must(std::count(ids.begin(), ids.end(), pad) == pads);
}

// A body, whatever path it came to: it is understood or refused with a 4xx whose words are JSON.
void request(std::string_view bytes) {
  static const Processor processor(Tokenizer::read("data/tokenizer"), ProcessorConfig{.max_pixels = 1 << 14});
  static const ModelConfig config = [] {
    ModelConfig c;
    c.text.max_positions = 512;
    c.text.vocabulary = 3000;
    return c;
  }();
  const serve::Service service{.config = config,
                               .processor = processor,
                               .stop = processor.stop_ids(),
                               .max_images = 4,
                               .media = {.max_pixels = 1 << 16}};
  const auto refusable = [&](auto&& f) {
    try {
      f(serve::parse_body(std::string(bytes)));
    } catch (const serve::ApiError& e) {
      must(e.status >= 400 && e.status < 500);
      const std::string told = e.json().dump();
      must(utf8_prefix(told) == told.size());
    }
  };
  const auto whole = [&](const serve::Asked& asked) {
    must(!asked.prompts.empty() && asked.choices >= 1);
    for (const auto& prompt : asked.prompts) must(std::ssize(prompt) + asked.max_tokens <= config.text.max_positions);
  };
  refusable([&](const Json& body) { whole(read_chat(service, body)); });
  refusable([&](const Json& body) { whole(read_completion(service, body)); });
  refusable([&](const Json& body) { must(utf8_prefix(rendered(service, body)) == rendered(service, body).size()); });
}

// The first byte is the size of the pieces that come: a reader of any bytes; and what is written is read again.
void events(std::string_view bytes) {
  const std::size_t step = bytes.empty() ? 1 : static_cast<unsigned char>(bytes[0]) % 64 + 1;
  const std::string_view rest = bytes.substr(!bytes.empty());
  const auto read = [&](std::string_view text, const serve::EventReader::Take& take) {
    serve::EventReader reader;
    bool on = true;
    for (std::size_t at = 0; on && at < text.size(); at += step) on = reader.add(text.substr(at, step), take);
    if (on) reader.end(take);
  };
  read(rest, [](std::string_view data) { return touch(data), true; });
  std::vector<std::string> pieces, came;
  std::string stream;
  for (std::size_t at = 0; at < rest.size(); at += step) {
    pieces.push_back(valid_utf8(rest.substr(at, step)));
    stream +=
        serve::event_text(Json::object({{"choices", std::vector<Json>{Json::object({{"content", pieces.back()}})}}}));
    if (at % 3 == 0) stream += serve::stream_comment;
  }
  must(utf8_prefix(stream) == stream.size());
  read(stream + std::string(serve::stream_end), [&](std::string_view data) {
    if (data == "[DONE]") return false;
    came.push_back(Json::parse(data, "event").at("choices")[0].at("content").as_string());
    return true;
  });
  must(came == pieces);
}

void picture(std::string_view bytes) {
  const ImageSize size = image_size(bytes, "x");
  if (size.width * size.height > 1 << 20) return;  // the time goes into damage, not into pixels
  must(decode_image(bytes, "x").size() == size);
}

void records(const std::string& path) {
  const auto all = open_records(path);
  for (std::int64_t i = 0; i < all->size(); ++i) try {
      all->read(i);
    } catch (const Error&) {}
}
void conversations(std::string_view bytes) { records(as_file(bytes, "c.json")); }
void webdataset(std::string_view bytes) { records(as_file(bytes, "w.tar")); }
// Beside sets whose size and time are always the same, so that an index of the corpus fits.
void record_index(std::string_view bytes) {
  static const std::string lines = as_file("{\"caption\": \"a\"}\n{\"caption\": \"b\"}\n", "i.jsonl");
  static const std::string shard = as_file(read_file("tests/golden/webdataset/plain/shard-000002.tar"), "i.tar");
  for (const std::string& set : {lines, shard}) {
    const timespec then[2] = {{1000000000, 0}, {1000000000, 0}};
    must(::utimensat(AT_FDCWD, set.c_str(), then, 0) == 0);
    as_file(bytes, set.substr(set.rfind('/') + 1) + ".ovindex");
    try {
      records(set);
    } catch (const Error&) {}
  }
}
void rl_events(std::string_view bytes) {
  const rl::EventBounds bounds{.prompts = 2, .group = 2, .staleness = 1, .most_groups = 4, .max_new_tokens = 8};
  std::int64_t begun = 0, taken = 0;
  for (const rl::StepEvents& e : rl::read_event_log(as_file(bytes, "run.jsonl"), bounds)) {
    must(e.begun >= begun && e.begun <= taken + 4);  // those of the step, and of the one ahead
    begun = e.begun, taken += std::ssize(e.taken);
    for (const auto& d : e.drawn) must(d.number < begun && d.tokens.size() == 2);
  }
}
// What comes over the connection from another machine, in two pieces.
void machine_link(std::string_view bytes) {
  constexpr int ranks = 3;
  const Descriptor memory(SharedRegion::create(ranks));
  const SharedRegion region(memory.get(), ranks);
  Link link(region, ranks, {0}, {1, 2});
  const auto all = std::as_bytes(std::span(bytes));
  try {
    link.take(all.first(all.size() / 3)), link.take(all.subspan(all.size() / 3));
  } catch (const Error&) {}
  for (const int from : {1, 2}) {
    must(region.available(from, 0) <= region.capacity() && region.available(0, from) == 0);
    std::vector<std::byte> said(region.available(from, 0));
    region.read(from, 0, said);
    touch({reinterpret_cast<const char*>(said.data()), said.size()});
  }
  link.fill(true);
  must(region.failure().rank < ranks);
}
void machine_note(std::string_view bytes) {
  const Json note = Json::parse(bytes, "a note");
  for (const bool hello : {true, false}) try {
      if (hello) must(read_hello(note).ranks > 0);
      else must(!read_machines(note, 4).empty());
    } catch (const Error&) {}
}
void host_list(std::string_view bytes) {
  for (const bool hosts : {true, false}) try {
      hosts ? must(!hosts_of(bytes, "L").empty()) : must(!counts_of(bytes, "L").empty());
    } catch (const Error&) {}
}
void regions(std::string_view bytes) { RegionFile(as_file(bytes, "r.jsonl")); }
void pack_index(std::string_view bytes) { PackIndex::read(as_file(bytes, "p.packs")); }
void model_config(std::string_view bytes) { ModelConfig::read(Json::parse(bytes, "config.json"), "config.json"); }
void processor_config(std::string_view bytes) { read_processor_config(as_file(bytes, "processor.json")); }

}  // namespace

const std::vector<FuzzTarget>& fuzz_targets() {
  static const std::vector<FuzzTarget> targets = {{"json", json},
                                                  {"jsonl", jsonl},
                                                  {"safetensors", safetensors},
                                                  {"parquet", parquet},
                                                  {"tar", tar},
                                                  {"energon", energon},
                                                  {"blend", blend},
                                                  {"tar_index", tar_index},
                                                  {"tokenizer", tokenizer},
                                                  {"text", text},
                                                  {"stop_text", stop_text},
                                                  {"chat_template", chat_template},
                                                  {"request", request},
                                                  {"events", events},
                                                  {"jpeg", picture},
                                                  {"png", picture},
                                                  {"webp", picture},
                                                  {"conversations", conversations},
                                                  {"webdataset", webdataset},
                                                  {"regions", regions},
                                                  {"rl_events", rl_events},
                                                  {"machine_link", machine_link},
                                                  {"machine_note", machine_note},
                                                  {"host_list", host_list},
                                                  {"record_index", record_index},
                                                  {"pack_index", pack_index},
                                                  {"model_config", model_config},
                                                  {"processor_config", processor_config}};
  return targets;
}

void fuzz(const FuzzTarget& target, std::string_view bytes) {
  const auto copy = std::make_unique<char[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.get());
  try {
    target.run({copy.get(), bytes.size()});
  } catch (const Error&) {}
}

}  // namespace ov
