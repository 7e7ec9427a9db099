#include "data/pack/index.h"

#include <cstdio>

#include "base/error.h"
#include "base/hash.h"
#include "base/sha256.h"
#include "data/made_again.h"
#include "store/safetensors.h"

namespace ov {
namespace {

constexpr const char* format = "onevision pack index 1";

const char* name_of(TurnLayout turns) { return turns == TurnLayout::conversation ? "conversation" : "shared_prefix"; }
const char* name_of(LiteralTokens l) { return l == LiteralTokens::as_tokens ? "as_tokens" : "as_text"; }

std::string sources_json(const std::vector<PackSource>& sources) {
  Json list = Json::array();
  for (const PackSource& s : sources) {
    Json source = Json::object({{"path", s.path}, {"image_dir", s.image_dir}});
    if (s.records > 0) source.set("records", s.records);
    if (!s.manifest.empty()) source.set("manifest", s.manifest);
    list.push(std::move(source));
  }
  return list.dump();
}

const std::string& value(const Safetensors& file, const char* key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) input_error(file.path(), ": __metadata__ has no '", key, "'");
  return found->second;
}

std::int64_t number(const Safetensors& file, const char* key) {
  const std::string& text = value(file, key);
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != text.npos)
    input_error(file.path(), ": __metadata__ ", key, ": expected a number, found '", text, "'");
  return std::stoll(text);
}

template <class T>
Column<T> column(const Safetensors& file, const char* name, std::int64_t size) {
  const Tensor t = file.tensor(name);
  if (t.dtype() != dtype_of<T>() || t.rank() != 1 || (size >= 0 && t.dim(0) != size))
    input_error(file.path(), ": tensor '", name, "': expected ", ov::name_of(dtype_of<T>()), " of ",
                size >= 0 ? cat("[", size, "]") : cat("one axis"), ", found ", ov::name_of(t.dtype()), " of ",
                t.shape().str());
  return Column<T>(t);
}

void check(const PackIndex& index, const std::string& path) {
  const std::int64_t samples = index.samples();
  for (std::int64_t i = 1; i < samples; ++i)
    if (index.record[static_cast<std::size_t>(i)] <= index.record[static_cast<std::size_t>(i - 1)])
      input_error(path, ": sample ", i, ": records do not ascend");
  const Column<std::int64_t>& begin = index.packs.begin;
  if (begin[0] != 0 || begin.back() != samples)
    input_error(path, ": packs hold ", begin.back() - begin[0], " samples, expected ", samples);
  std::vector<bool> seen(static_cast<std::size_t>(samples));
  for (std::int64_t p = 0; p < index.packs.size(); ++p) {
    if (begin[static_cast<std::size_t>(p) + 1] <= begin[static_cast<std::size_t>(p)] ||
        begin[static_cast<std::size_t>(p) + 1] > samples)
      input_error(path, ": pack ", p, ": begin does not ascend");
    std::int64_t tokens = 0, patches = 0;
    for (const std::int64_t i : index.packs[p]) {
      if (i < 0 || i >= samples) input_error(path, ": pack ", p, ": sample ", i, " of ", samples);
      if (seen[static_cast<std::size_t>(i)]) input_error(path, ": pack ", p, ": sample ", i, " occurs twice");
      seen[static_cast<std::size_t>(i)] = true;
      tokens += index.tokens[static_cast<std::size_t>(i)];
      patches += index.patches[static_cast<std::size_t>(i)];
    }
    if (tokens > index.capacity) input_error(path, ": pack ", p, ": ", tokens, " tokens, more than ", index.capacity);
    if (index.max_patches > 0 && patches > index.max_patches)
      input_error(path, ": pack ", p, ": ", patches, " patches, more than ", index.max_patches);
  }
}

// Over turns and images, which `checksum` leaves out so that a run of an older file goes on.
std::string described_checksum(const PackIndex& index) {
  const auto sum = [](const auto& column) {
    return ov::checksum(column.data(), static_cast<std::int64_t>(column.size()));
  };
  return hex16(mix64(sum(index.turns), sum(index.images)));
}

}  // namespace

std::string PackIndex::checksum() const {
  std::uint64_t sum = fnv1a(cat(capacity, " ", max_patches, " ", seed, " ", name_of(turn_layout), " ",
                                name_of(literal_tokens), " ", processor, " ", data));
  const auto add = [&](const auto& column) {
    sum = mix64(sum, ov::checksum(column.data(), static_cast<std::int64_t>(column.size())));
  };
  add(record);
  add(tokens);
  add(labels);
  add(patches);
  add(packs.begin);
  add(packs.item);
  return hex16(sum);
}

void PackIndex::write(const std::string& path) const {
  std::vector<NamedTensor> tensors = {{"sample.record", record.tensor()}, {"pack.begin", packs.begin.tensor()},
                                      {"pack.item", packs.item.tensor()}, {"sample.tokens", tokens.tensor()},
                                      {"sample.labels", labels.tensor()}, {"sample.patches", patches.tensor()}};
  Metadata metadata = {{"format", format},
                       {"capacity", std::to_string(capacity)},
                       {"max_patches", std::to_string(max_patches)},
                       {"seed", std::to_string(seed)},
                       {"turns", name_of(turn_layout)},
                       {"literal_tokens", name_of(literal_tokens)},
                       {"processor", processor},
                       {"data", data},
                       {"sources", sources_json(sources)},
                       {"checksum", checksum()}};
  if (turns.size() > 0) {
    tensors.push_back({"sample.turns", turns.tensor()}), tensors.push_back({"sample.images", images.tensor()});
    metadata["described"] = described_checksum(*this);
  }
  write_safetensors(path, std::move(tensors), metadata);
}

namespace {

PackIndex read_index(const std::string& path) {
  const Safetensors file = Safetensors::open(path);
  if (value(file, "format") != format)
    input_error(path, ": format '", value(file, "format"), "', expected '", format, "'");
  PackIndex index;
  index.capacity = number(file, "capacity");
  index.max_patches = number(file, "max_patches");
  index.seed = number(file, "seed");
  index.turn_layout = ov::turn_layout(value(file, "turns"));
  index.literal_tokens = value(file, "literal_tokens") == "as_text" ? LiteralTokens::as_text : LiteralTokens::as_tokens;
  index.processor = value(file, "processor");
  index.data = value(file, "data");
  const Json sources = Json::parse(value(file, "sources"), cat(path, ": sources"));
  for (const Json& s : sources.items())
    index.sources.push_back({.path = s.at("path").as_string(),
                             .image_dir = s.at("image_dir").as_string(),
                             .records = s.find("records") ? s.at("records").as_int() : 0,
                             .manifest = s.find("manifest") ? s.at("manifest").as_string() : ""});
  index.record = column<std::int64_t>(file, "sample.record", -1);
  index.tokens = column<std::int32_t>(file, "sample.tokens", index.samples());
  index.labels = column<std::int32_t>(file, "sample.labels", index.samples());
  index.patches = column<std::int32_t>(file, "sample.patches", index.samples());
  index.packs.begin = column<std::int64_t>(file, "pack.begin", -1);
  index.packs.item = column<std::int64_t>(file, "pack.item", index.samples());
  if (index.packs.size() < 1) input_error(path, ": holds no pack");
  if (index.checksum() != value(file, "checksum"))
    input_error(path, ": damaged: checksum ", index.checksum(), ", expected ", value(file, "checksum"));
  if (file.find("sample.turns") || file.metadata().contains("described")) {
    index.turns = column<std::int32_t>(file, "sample.turns", index.samples());
    index.images = column<std::int32_t>(file, "sample.images", index.samples());
    if (described_checksum(index) != value(file, "described")) input_error(path, ": damaged: sample.turns or images");
  }
  check(index, path);
  return index;
}

}  // namespace

PackIndex PackIndex::read(const std::string& path) {
  return or_make_again("if it was an index of packs, make it again (onevision pack)", [&] { return read_index(path); });
}

std::string length_fingerprint(const Processor& processor) {
  Sha256 hash;
  const auto add = [&](const auto&... parts) {
    const std::string text = cat(parts..., '\n');
    hash.update(text.data(), text.size());
  };
  const Tokenizer& t = processor.tokenizer();
  for (std::int64_t id = 0; id < t.bpe().id_limit(); ++id)
    if (const std::string* text = t.bpe().text(id)) add(id, ' ', *text);
  for (const Merge& m : t.bpe().merges()) add(m.left, ' ', m.right);
  for (const AddedToken& a : t.added_tokens()) add(a.id, ' ', a.text);
  const ProcessorConfig& c = processor.images();
  add("nfc ", t.normalises(), " pixels ", c.min_pixels, ' ', c.max_pixels, " patch ", c.patch, " merge ", c.merge);
  return hash.hex();
}

}  // namespace ov
