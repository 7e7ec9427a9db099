#include "curate/embeddings.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "base/sha256.h"
#include "base/sum.h"
#include "data/made_again.h"

namespace ov {
namespace {

Tensor column(const Safetensors& file, const std::string& name, Dtype dtype, std::int64_t length) {
  if (!file.find(name)) return {};
  const Tensor t = file.tensor(name);
  if (t.rank() != 1 || t.dtype() != dtype || (length >= 0 && t.dim(0) != length))
    input_error(file.path(), ": tensor '", name, "' is ", name_of(t.dtype()), " ", t.shape().str(), ", expected ",
                name_of(dtype), " with one entry a row");
  return t;
}

}  // namespace

Embeddings Embeddings::open(const std::string& path) {
  return or_make_again("if onevision embed wrote it, remove it and embed again", [&] { return read(path); });
}

Embeddings Embeddings::read(const std::string& path) {
  const Safetensors file = Safetensors::open(path);
  Embeddings e;
  e.path_ = path;
  e.rows_ = file.tensor("embeddings");
  if (e.rows_.rank() != 2 || e.rows_.dim(0) < 1 || e.rows_.dim(1) < 1)
    input_error(path, ": embeddings is ", e.rows_.shape().str(), ", expected [rows, width]");
  e.id_text_ = column(file, "id_text", Dtype::u8, -1), e.id_ends_ = column(file, "id_ends", Dtype::i64, e.size());
  e.record_ = column(file, "record", Dtype::i64, e.size()), e.source_ = column(file, "source", Dtype::i64, e.size());
  e.region_ = column(file, "region", Dtype::i64, e.size());
  if (!e.id_text_ != !e.id_ends_) input_error(path, ": expected both id_text and id_ends, or neither");
  for (std::int64_t i = 0, before = 0; e.id_ends_ && i < e.size(); ++i) {
    const std::int64_t end = e.id_ends_.data<std::int64_t>()[i];
    if (end < before || end > e.id_text_.dim(0))
      input_error(path, ": id_ends of row ", i, " is ", end, ", expected ", before, " to ", e.id_text_.dim(0));
    before = end;
  }
  const auto said = [&](const char* key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string() : found->second;
  };
  if (const std::string sources = said("sources"); !sources.empty()) {
    const Json list = Json::parse(sources, path + ": metadata sources");
    for (const Json& s : list.items()) e.sources_.push_back(s.as_string());
  }
  for (std::int64_t i = 0; e.source_ && i < e.size(); ++i)
    if (const std::int64_t s = e.source_.data<std::int64_t>()[i];
        s < 0 || s >= static_cast<std::int64_t>(e.sources_.size()))
      input_error(path, ": source of row ", i, " is ", s, ", and metadata sources lists ", e.sources_.size());
  if (const std::string prints = said("fingerprints"); !prints.empty()) {
    const Json list = Json::parse(prints, path + ": metadata fingerprints");
    if (list.size() != e.sources_.size())
      input_error(path, ": metadata has ", e.sources_.size(), " sources and ", list.size(), " fingerprints");
    for (std::size_t s = 0; s < list.size(); ++s) e.fingerprints_.emplace_back(e.sources_[s], list[s].as_string());
  }
  e.model_ = said("model"), e.kind_ = said("kind");
  e.made_from_ = said("made_from");
  if (e.made_from_.empty()) e.made_from_ = sha256_file(path);
  return e;
}

std::string Embeddings::id(std::int64_t i) const {
  if (!id_ends_) return std::to_string(i);
  const std::int64_t* ends = id_ends_.data<std::int64_t>();
  const std::int64_t begin = i ? ends[i - 1] : 0;
  return {reinterpret_cast<const char*>(id_text_.data<std::uint8_t>()) + begin,
          static_cast<std::size_t>(ends[i] - begin)};
}

std::string Embeddings::source(std::int64_t i) const {
  return source_ ? sources_[static_cast<std::size_t>(source_.data<std::int64_t>()[i])] : "";
}

Tensor Embeddings::directions(std::int64_t begin, std::int64_t end) const {
  const Tensor rows = rows_.slice(0, begin, end).to(Dtype::f32, Segment::data);
  for (std::int64_t i = 0; i < end - begin; ++i) {
    float* x = rows.row<float>(i);
    const double length = std::sqrt(dot<double>(width(), x, x));
    if (!(length > 0) || !std::isfinite(length))
      input_error(path_, ": the embedding of row ", begin + i, " (", id(begin + i), ") has length ", length,
                  " and so no direction; embed it again, or leave it out");
    for (std::int64_t c = 0; c < width(); ++c) x[c] = static_cast<float>(x[c] / length);
  }
  return rows;
}

EmbeddingPool::EmbeddingPool(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) files.push_back(Embeddings::open(path));
  for (std::size_t f = 0; f < files.size(); ++f)
    for (std::int64_t begin = 0; begin < files[f].size(); begin += part_rows) {
      const std::int64_t end = std::min(begin + part_rows, files[f].size());
      parts.push_back({f, begin, end, size});
      size += end - begin;
    }
}

std::vector<std::pair<std::string, std::string>> EmbeddingPool::sources() const {
  std::vector<std::pair<std::string, std::string>> all;
  for (const Embeddings& f : files)
    for (const auto& [source, fingerprint] : f.fingerprints()) {
      const auto known = std::find_if(all.begin(), all.end(), [&](const auto& s) { return s.first == source; });
      if (known == all.end()) all.emplace_back(source, fingerprint);
      else if (known->second != fingerprint)
        input_error(f.path(), ": was made of another ", source, " than the files before it; embed it again, or rename ",
                    "one of two sets that are called so");
    }
  return all;
}

void EmbeddingRows::write(const std::string& path, std::int64_t width, Metadata metadata) const {
  const auto n = static_cast<std::int64_t>(ids.size());
  std::vector<std::uint8_t> text;
  std::vector<std::int64_t> ends;
  for (const std::string& id : ids) {
    text.insert(text.end(), id.begin(), id.end());
    ends.push_back(static_cast<std::int64_t>(text.size()));
  }
  std::vector<NamedTensor> tensors = {{"embeddings", Tensor::of(values, {n, width})},
                                      {"id_ends", Tensor::of(ends, {n})},
                                      {"id_text", Tensor::of(text, {static_cast<std::int64_t>(text.size())})}};
  if (!records.empty())
    tensors.push_back({"record", Tensor::of(records, {n})}), tensors.push_back({"source", Tensor::of(sources, {n})});
  if (!regions.empty()) tensors.push_back({"region", Tensor::of(regions, {n})});
  write_safetensors(path, std::move(tensors), metadata);
}

void join_embeddings(const std::string& path, const std::vector<std::string>& parts, std::int64_t width,
                     const Metadata& metadata) {
  std::vector<Safetensors> files;
  std::int64_t rows = 0, text = 0, with_records = 0, with_regions = 0;
  for (const std::string& part : parts) {
    files.push_back(Safetensors::open(part));
    rows += files.back().find("id_ends")->shape[0];
    text += files.back().find("id_text")->shape[0];
    with_records += files.back().find("record") != nullptr;
    with_regions += files.back().find("region") != nullptr;
  }
  std::vector<TensorInfo> tensors = {{"id_ends", Dtype::i64, {rows}}};
  if (with_records)
    tensors.push_back({"record", Dtype::i64, {rows}}), tensors.push_back({"source", Dtype::i64, {rows}});
  if (with_regions) tensors.push_back({"region", Dtype::i64, {rows}});
  tensors.push_back({"embeddings", Dtype::f32, {rows, width}});
  tensors.push_back({"id_text", Dtype::u8, {text}});
  SafetensorsWriter out(path, tensors, metadata);
  for (const TensorInfo& t : tensors) {
    std::int64_t before = 0;
    for (const Safetensors& file : files) {
      if (!file.find(t.name)) continue;  // a block of which every record was refused
      Tensor part = file.tensor(t.name);
      if (t.name == "id_ends") {
        std::vector<std::int64_t> ends = part.to_vector<std::int64_t>();
        for (auto& e : ends) e += before;
        before = ends.empty() ? before : ends.back();
        part = Tensor::of(ends, {part.dim(0)});
      }
      if (part.numel()) out.write_rows(part);
    }
  }
  out.commit();
}

}  // namespace ov
