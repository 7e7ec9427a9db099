#include "store/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/json.h"
#include "base/text.h"

namespace ov {
namespace {

constexpr std::uint64_t header_limit = 100'000'000;

struct FileDtype {
  const char* name;
  std::uint64_t bytes;
  std::optional<Dtype> ours;
};

const FileDtype* find_dtype(const std::string& name) {
  static const FileDtype table[] = {
      {"F64", 8, Dtype::f64}, {"F32", 4, Dtype::f32}, {"BF16", 2, Dtype::bf16}, {"F16", 2, Dtype::f32},
      {"I64", 8, Dtype::i64}, {"I32", 4, Dtype::i32}, {"U8", 1, Dtype::u8},     {"BOOL", 1, {}},
      {"I16", 2, {}},         {"I8", 1, {}},          {"U64", 8, {}},           {"U32", 4, {}},
      {"U16", 2, {}},         {"C64", 8, {}},         {"F8_E4M3", 1, {}},       {"F8_E5M2", 1, {}},
      {"F8_E8M0", 1, {}},
  };
  for (const FileDtype& d : table)
    if (name == d.name) return &d;
  return nullptr;
}

const char* file_name_of(Dtype d) {
  switch (d) {
    case Dtype::f64: return "F64";
    case Dtype::f32: return "F32";
    case Dtype::bf16: return "BF16";
    case Dtype::i64: return "I64";
    case Dtype::i32: return "I32";
    case Dtype::u8: break;
  }
  return "U8";
}

// IEEE binary16: 1 sign, 5 exponent (bias 15) and 10 fraction bits. Every value is exact in f32.
float half_to_f32(std::uint16_t h) {
  const int exponent = h >> 10 & 31, fraction = h & 1023;
  const auto sign = static_cast<std::uint32_t>(h >> 15) << 31;
  if (exponent == 0) return std::copysign(std::ldexp(static_cast<float>(fraction), -24), sign ? -1.0f : 1.0f);
  const auto widened = static_cast<std::uint32_t>(exponent == 31 ? 255 : exponent - 15 + 127) << 23;
  return std::bit_cast<float>(sign | widened | static_cast<std::uint32_t>(fraction) << 13);
}

// `text` parses as JSON; comments, which that parser allows and the format does not, are refused here.
void refuse_comments(std::string_view text, const std::string& path) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '/') input_error(path, ": header: byte ", i, ": a comment, which JSON does not have");
    if (text[i] == '"')
      for (++i; i < text.size() && text[i] != '"';) i += text[i] == '\\' ? 2 : 1;
  }
}

std::uint64_t offset_of(const Json& value) {
  if (value.as_int() < 0) input_error("data_offsets hold ", value.as_int(), ", expected at least 0");
  return static_cast<std::uint64_t>(value.as_int());
}

// One member of the header. Messages are completed with file and tensor by the caller.
SafetensorsEntry read_entry(const std::string& name, const Json& value, std::uint64_t data_bytes) {
  SafetensorsEntry entry{name, value.at("dtype").as_string(), {}, 0, 0};
  const FileDtype* dtype = find_dtype(entry.dtype);
  if (!dtype) input_error("dtype '", entry.dtype, "' is unknown");

  std::vector<std::int64_t> dims;
  std::int64_t bytes = static_cast<std::int64_t>(dtype->bytes);
  bool empty = false;
  for (const Json& dim : value.at("shape").items()) {
    dims.push_back(dim.as_int());
    if (dims.back() < 0) input_error("shape holds ", dims.back(), ", expected at least 0");
    // A zero does not excuse the others: their product is formed as well, in whatever order.
    empty = empty || dims.back() == 0;
    if (dims.back() > 0 && __builtin_mul_overflow(bytes, dims.back(), &bytes))
      input_error("shape ", value.at("shape").shown(), " is too large for 64 bits");
  }
  entry.shape = Shape(dims);
  if (empty) bytes = 0;

  const Json& offsets = value.at("data_offsets");
  if (offsets.items().size() != 2) input_error("data_offsets hold ", offsets.size(), " numbers, expected 2");
  entry.begin = offset_of(offsets[0]);
  entry.end = offset_of(offsets[1]);
  if (entry.begin > entry.end) input_error("data_offsets ", offsets.shown(), " end before they begin");
  if (entry.end > data_bytes)
    input_error("data_offsets ", offsets.shown(), " end beyond the file's ", data_bytes, " bytes of data (truncated?)");
  if (entry.end - entry.begin != static_cast<std::uint64_t>(bytes))
    input_error(entry.dtype, " ", entry.shape.str(), " takes ", bytes, " bytes, data_offsets ", offsets.shown(),
                " span ", entry.end - entry.begin);
  return entry;
}

void check_no_hole_no_overlap(const std::vector<SafetensorsEntry>& entries, const std::string& path,
                              std::uint64_t data_bytes) {
  std::uint64_t end = 0;
  for (const SafetensorsEntry& e : entries) {
    if (e.begin != end)
      input_error(path, ": tensor '", e.name, "': begins at byte ", e.begin,
                  e.begin < end ? ", overlapping" : ", after", e.begin < end ? " what ends at " : " a hole from ", end);
    end = e.end;
  }
  if (end != data_bytes) input_error(path, ": ", data_bytes - end, " bytes after the last tensor belong to none");
}

// __metadata__ and every tensor's place, as JSON without spaces, padded so that the data begins at a multiple of 8.
std::string header_of(const std::string& path, const std::vector<TensorInfo>& tensors, const Metadata& metadata) {
  std::vector<Json::Member> members;
  if (!metadata.empty()) {
    std::vector<Json::Member> texts(metadata.begin(), metadata.end());
    members.emplace_back("__metadata__", Json::object(std::move(texts)));
  }
  std::unordered_map<std::string, bool> seen{{"__metadata__", true}};
  std::size_t offset = 0;
  for (const TensorInfo& t : tensors) {
    if (!seen.emplace(t.name, true).second)
      input_error(path, ": tensor '", t.name, "': the name cannot be written twice");
    Json shape = Json::array(), offsets = Json::array();
    for (int axis = 0; axis < t.shape.rank(); ++axis) shape.push(t.shape[axis]);
    offsets.push(offset);
    offset += static_cast<std::size_t>(t.shape.numel()) * size_of(t.dtype);
    offsets.push(offset);
    members.emplace_back(t.name,
                         Json::object({{"dtype", file_name_of(t.dtype)}, {"shape", shape}, {"data_offsets", offsets}}));
  }
  std::string header = Json::object(std::move(members)).dump();
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (header.size() > header_limit)
    input_error(path, ": header of ", header.size(), " bytes, the format allows 100 MB");
  return header;
}

}  // namespace

std::optional<Dtype> SafetensorsEntry::loads_as() const { return find_dtype(dtype)->ours; }

Safetensors Safetensors::open(const std::string& path) { return open(MappedFile::open(path)); }

Safetensors Safetensors::open(std::shared_ptr<const MappedFile> file) {
  Safetensors st;
  st.file_ = std::move(file);
  const std::string& path = st.path();
  const std::uint64_t size = st.file_->size();
  std::uint64_t header_bytes = 0;
  std::string kind = looks_like(st.file_->text());
  if (kind == "a safetensors file") kind = "";
  const std::string hint = kind.empty() ? "" : "; it looks like " + kind;
  if (size < sizeof header_bytes) input_error(path, ": ", size, " bytes, too short for a safetensors file", hint);
  std::memcpy(&header_bytes, st.file_->data(), sizeof header_bytes);
  if (header_bytes > size - sizeof header_bytes || header_bytes > header_limit) {
    // A header begins with '{'. Where it does not, the eight bytes before are no length either.
    if (!kind.empty() || size == sizeof header_bytes || st.file_->text()[sizeof header_bytes] != '{')
      input_error(path, ": no safetensors file (", size, " bytes)", hint);
    input_error(path, ": says its header has ", header_bytes, " bytes, the file has ", size, " (truncated?)");
  }
  const std::uint64_t data_bytes = size - sizeof header_bytes - header_bytes;
  st.data_ = st.file_->data() + sizeof header_bytes + header_bytes;

  const std::string_view text = st.file_->text().substr(sizeof header_bytes, header_bytes);
  const Json header = Json::parse(text, path + ": header");
  if (!header.is_object()) input_error(path, ": header: expected an object, found ", kind_name(header.kind()));
  refuse_comments(text, path);

  for (const auto& [name, value] : header.members()) {
    try {
      if (name == "__metadata__")
        for (const auto& [key, entry] : value.members()) st.metadata_[key] = entry.as_string();
      else st.entries_.push_back(read_entry(name, value, data_bytes));
    } catch (const Error& e) {
      input_error(path, name == "__metadata__" ? ": '" : ": tensor '", name, "': ", e.what());
    }
  }
  std::stable_sort(st.entries_.begin(), st.entries_.end(),
                   [](const auto& a, const auto& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  check_no_hole_no_overlap(st.entries_, path, data_bytes);
  for (std::size_t i = 0; i < st.entries_.size(); ++i) st.index_[st.entries_[i].name] = i;
  return st;
}

const SafetensorsEntry* Safetensors::find(const std::string& name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &entries_[it->second];
}

Tensor Safetensors::tensor(const std::string& name) const {
  const SafetensorsEntry* e = find(name);
  if (!e) {
    std::vector<std::string> names;
    for (const SafetensorsEntry& entry : entries_) names.push_back(entry.name);
    input_error(path(), ": tensor '", name, "' is missing", did_you_mean(name, names));
  }
  const std::optional<Dtype> dtype = e->loads_as();
  if (!dtype)
    input_error(path(), ": tensor '", name, "': dtype ", e->dtype, " cannot be used; F64 F32 BF16 F16 I64 I32 U8 can");
  const std::byte* data = data_ + e->begin;
  if (e->dtype == "F16") {
    Tensor t(e->shape, Dtype::f32, cpu(), Segment::data);
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      std::uint16_t h;
      std::memcpy(&h, data + 2 * i, sizeof h);
      t.data<float>()[i] = half_to_f32(h);
    }
    return t;
  }
  if (reinterpret_cast<std::uintptr_t>(data) % size_of(*dtype) == 0)
    return Tensor::borrowed(data, e->shape, *dtype, file_);
  Tensor t(e->shape, *dtype, cpu(), Segment::data);
  if (t.nbytes()) std::memcpy(t.bytes(), data, t.nbytes());
  return t;
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<TensorInfo> tensors, const Metadata& metadata)
    : path_(path), tensors_(std::move(tensors)), file_(path) {
  const std::string header = header_of(path_, tensors_, metadata);
  const std::uint64_t header_bytes = header.size();
  std::string start(sizeof header_bytes, '\0');
  std::memcpy(start.data(), &header_bytes, sizeof header_bytes);
  file_.write(start + header);
}

void SafetensorsWriter::write(const Tensor& tensor) {
  if (next_ == tensors_.size()) input_error(path_, ": more tensors than the ", next_, " announced");
  const TensorInfo& t = tensors_[next_++];
  if (tensor.dtype() != t.dtype || tensor.shape() != t.shape)
    input_error(path_, ": tensor '", t.name, "': announced as ", name_of(t.dtype), " ", t.shape.str(), ", came as ",
                name_of(tensor.dtype()), " ", tensor.shape().str());
  const Tensor here = tensor.to(cpu(), Segment::workspace);
  const Tensor whole = here.contiguous() ? here : here.contiguous_copy(Segment::workspace);
  if (whole.nbytes()) file_.write(whole.bytes(), whole.nbytes());
}

void SafetensorsWriter::write_rows(const Tensor& rows) {
  const TensorInfo& t = tensors_.at(next_);
  Shape whole = rows.shape();
  whole[0] = t.shape[0];
  rows_ += rows.dim(0);
  if (rows.dtype() != t.dtype || whole != t.shape || rows_ > t.shape[0])
    input_error(path_, ": tensor '", t.name, "': announced as ", name_of(t.dtype), " ", t.shape.str(),
                ", came in rows as ", name_of(rows.dtype()), " ", rows.shape().str());
  const Tensor here = rows.to(cpu(), Segment::workspace);
  if (here.nbytes()) file_.write(here.bytes(), here.nbytes());
  if (rows_ == t.shape[0]) rows_ = 0, ++next_;
}

void SafetensorsWriter::commit() {
  if (next_ != tensors_.size())
    input_error(path_, ": tensor '", tensors_[next_].name, "' was announced and never came");
  file_.commit();
}

void write_safetensors(const std::string& path, std::vector<NamedTensor> tensors, const Metadata& metadata) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const NamedTensor& a, const NamedTensor& b) {
    return size_of(a.tensor.dtype()) > size_of(b.tensor.dtype());
  });
  std::vector<TensorInfo> infos;
  for (const NamedTensor& t : tensors) infos.push_back({t.name, t.tensor.dtype(), t.tensor.shape()});
  SafetensorsWriter writer(path, std::move(infos), metadata);
  for (const NamedTensor& t : tensors) writer.write(t.tensor);
  writer.commit();
}

}  // namespace ov
