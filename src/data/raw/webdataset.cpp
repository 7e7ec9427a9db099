#include "data/raw/webdataset.h"

#include <strings.h>
#include <sys/stat.h>

#include <algorithm>
#include <numeric>

#include "base/hash.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "base/text.h"
#include "data/raw/webdataset_sample.h"
#include "store/energon.h"

namespace ov {
namespace {

constexpr const char* index_kind = "webdataset";

// Of what .nv-meta says beside the shards' names.
std::string digest(const EnergonMeta& meta) {
  std::string all;
  for (const auto& [shard, n] : meta.shard_samples) all += cat(shard, "\n", n, "\n");
  for (const auto& [shard, keys] : meta.excluded_samples)
    for (const std::string& key : keys) all += cat("- ", shard, "\n", key, "\n");
  return sha256(all).substr(0, 16);
}

void check_class(const std::string& name, const std::string& path) {
  const std::vector<std::string> known = {"MultiMixQASample", "PackedCaptioningSample", "CaptioningSample"};
  if (name.empty() || std::find(known.begin(), known.end(), name) != known.end()) return;
  input_error(path, "/.nv-meta/dataset.yaml: sample class '", name,
              "': expected MultiMixQASample, PackedCaptioningSample or CaptioningSample", did_you_mean(name, known));
}

// What a directory holds in place of shards, and how it is read if it can be.
std::string found_in(const std::string& directory) {
  const std::vector<std::string> names = list_directory(directory);
  std::string shown_names, json;
  for (std::size_t i = 0; i < std::min<std::size_t>(names.size(), 5); ++i)
    shown_names += (i ? ", " : "") + shown(names[i]);
  std::size_t files = 0;
  for (const std::string& name : names)
    if ((name.ends_with(".json") || name.ends_with(".jsonl")) && ++files <= 3) json += " " + directory + "/" + name;
  if (names.empty()) return "nothing";
  return cat(shown_names, names.size() > 5 ? cat(" and ", names.size() - 5, " more") : std::string(),
             json.empty() ? "" : cat("; JSON files are named one by one:", json, files > 3 ? " ..." : ""));
}

}  // namespace

bool is_tar_name(const std::string& path) {
  for (const std::string_view end : {".tar", ".tar.gz", ".tgz"})
    if (path.size() > end.size() && ::strcasecmp(path.c_str() + path.size() - end.size(), end.data()) == 0) return true;
  return false;
}

Webdataset::Webdataset(const std::string& path, std::shared_ptr<const MappedFile> file, const std::string& split,
                       UseIndex use)
    : path_(path), part_("train") {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) input_error(path, ": no such file or directory");
  const auto indexed = [&](const std::vector<std::string>& names) {
    if (use == UseIndex::no) return false;
    const auto index = RecordIndex::open(path, index_kind, names, part_);
    if (index && index->said("meta") != meta_)
      index->damaged("does not fit the data: the split or its counts in .nv-meta are others than when it was made");
    if (index) use_index(*index, std::move(file));
    return index.has_value();
  };
  if (!S_ISDIR(info.st_mode)) {
    if (indexed({""})) return;
    before_ = RecordIndex::before_reading(path, {""});
    open_shard(path, std::nullopt, std::move(file));
  } else {
    std::optional<EnergonMeta> meta = read_energon_meta(path, split);
    if (meta) part_ = split, meta_ = digest(*meta);
    else {
      meta.emplace();
      for (const std::string& name : list_directory(path))
        if (is_tar_name(name)) meta->train.push_back(name);
    }
    check_class(meta->sample_class, path);
    if (meta->train.empty())
      input_error(path,
                  ": no shard: expected .tar files (.tar.gz and .tgz too), a list of them in .nv-meta/split.yaml, ",
                  "or .parquet files; found ", found_in(path));
    if (indexed(meta->train)) return;
    before_ = RecordIndex::before_reading(path, meta->train);
    for (const std::string& name : meta->train) {
      const auto promised = meta->shard_samples.find(name);
      excluded_ = meta->excluded_samples[name];
      open_shard(path + "/" + name,
                 promised == meta->shard_samples.end() ? std::nullopt : std::optional(promised->second));
    }
  }
  reject_duplicates();
  split_packed();
  if (records_.empty()) input_error(path, ": no sample in ", shards_.size(), " shard(s)");
  const auto column = [&]<class T>(Column<T>& to, auto&& of) {
    std::vector<T> values(records_.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(of(records_[i]));
    to = Column(std::move(values));
  };
  column(begin_, [](const Record& r) { return r.begin; }), column(end_, [](const Record& r) { return r.end; });
  column(shard_, [](const Record& r) { return r.shard; }), column(item_, [](const Record& r) { return r.item; });
  records_ = {};
  if (!unclosed_.empty())
    tell(cat(unclosed_.front(), unclosed_.size() > 1 ? cat(" and ", unclosed_.size() - 1, " more") : std::string(),
             ": the blocks of zeros that close a tar are missing: it may have been cut short, and no .idx and no count "
             "of samples tells how many it had"));
}

// Shards are opened as they are: what is wrong with one is among the faults.
void Webdataset::use_index(const RecordIndex& index, std::shared_ptr<const MappedFile> file) {
  begin_ = index.column<std::int64_t>("begin");
  end_ = index.column<std::int64_t>("end", size()), shard_ = index.column<std::int32_t>("shard", size());
  item_ = index.column<std::int32_t>("item", size());
  fingerprint_ = index.fingerprint();
  try {
    const Json files = index.json("files"), faults = index.json("faults");
    for (const Json& f : files.items()) {
      const std::string& name = f.at("name").as_string();
      shards_.push_back({name.empty() ? path_ : path_ + "/" + name, nullptr});
      if (f.at("size").as_int() < 0) continue;
      Shard& shard = shards_.back();
      shard.file = name.empty() && file ? file : MappedFile::open(shard.path);
      try {
        shard.file = unpacked_tar(shard.file);
      } catch (const Error& e) {
        if (e.exit() != Exit::wrong_input) throw;
      }
    }
    for (const Json& f : faults.items()) {
      const auto reason = static_cast<std::size_t>(f.at("reason").as_int());
      if (reason >= reject_reasons) index.damaged(cat("faults: reason ", reason));
      faults_[f.at("record").as_int()] = {static_cast<RejectReason>(reason), f.at("message").as_string()};
    }
  } catch (const Error& e) {
    if (e.exit() != Exit::wrong_input) throw;
    index.damaged(e.what());
  }
}

void Webdataset::write_index() const {
  Json faults = Json::array();
  for (const auto& [record, f] : faults_)
    faults.push(
        Json::object({{"record", record}, {"reason", static_cast<std::int64_t>(f.reason)}, {"message", f.message}}));
  RecordIndex::write(
      path_, index_kind, before_,
      {{"begin", begin_.tensor()}, {"end", end_.tensor()}, {"shard", shard_.tensor()}, {"item", item_.tensor()}},
      {{"fingerprint", fingerprint()}, {"meta", meta_}, {"faults", faults.dump()}}, part_);
}

Webdataset::Record Webdataset::record(std::int64_t index) const {
  const auto i = static_cast<std::size_t>(index);
  const Record r{static_cast<std::uint64_t>(begin_[i]), static_cast<std::uint64_t>(end_[i]),
                 static_cast<std::uint32_t>(shard_[i]), item_[i]};
  if (r.shard >= shards_.size() || !shards_[r.shard].file)
    reject(RejectReason::damaged_shard, path_, ": record ", index, ": its index names shard ", r.shard, " of ",
           shards_.size(), ", which is not there");
  return r;
}

void Webdataset::open_shard(const std::string& path, std::optional<std::int64_t> promised,
                            std::shared_ptr<const MappedFile> file) {
  const std::int64_t before = listed();
  const auto excluded = static_cast<std::int64_t>(excluded_.size());
  struct stat info;
  shards_.push_back({path, nullptr});
  if (::stat(path.c_str(), &info) == 0) {
    if (!file) file = MappedFile::open(path);
    try {
      shards_.back().file = unpacked_tar(file);
    } catch (const Error& e) {
      shards_.back().file = file;
      add_fault(RejectReason::damaged_shard, e.what());
      return;
    }
    const Shard shard = shards_.back();
    const std::string looks = looks_like(shard.file->text().substr(0, tar_block));
    if (!looks.empty() && looks != "a tar archive")
      add_fault(RejectReason::damaged_shard, cat(path, ": looks like ", looks));
    else if (const auto borders = read_tar_index(path)) list_indexed(shard, *borders);
    else if (!list_scanned(shard) && !promised) unclosed_.push_back(path);
  } else if (!promised) {
    add_fault(RejectReason::damaged_shard, cat(path, ": no such shard"));
  }
  // A sample that is to be left out must be there, unless the shard is damaged.
  if (!excluded_.empty() && faults_.lower_bound(before) == faults_.end())
    input_error(path_, "/.nv-meta: the split excludes sample '", *excluded_.begin(), "' of ", path,
                ", which has no such key");
  for (std::int64_t i = listed() - before + excluded - static_cast<std::int64_t>(excluded_.size());
       promised && i < *promised; ++i)
    add_fault(RejectReason::damaged_shard,
              cat(path, ": sample ", i + 1, " of ", *promised, " that .nv-meta/.info promises is not there"));
}

void Webdataset::add(std::uint64_t begin, std::uint64_t end, const std::string& key) {
  if (excluded_.erase(key)) return;
  records_.push_back({begin, end, static_cast<std::uint32_t>(shards_.size() - 1), -1});
  keys_.push_back(fnv1a(key, fnv1a(folder(shards_.back()))) | 1);
}

// Of the shard, from path_ on: a data set that moves keeps its fingerprint.
std::string Webdataset::folder(const Shard& shard) const {
  const std::string parent = parent_directory(shard.path);
  return parent.substr(std::min(path_.size(), parent.size()));
}

void Webdataset::add_fault(RejectReason reason, const std::string& message) {
  faults_[listed()] = {reason, message};
  records_.push_back({0, 0, static_cast<std::uint32_t>(shards_.size() - 1), -1});
  keys_.push_back(0);
}

void Webdataset::list_indexed(const Shard& shard, const std::vector<std::uint64_t>& borders) {
  for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
    TarMember first;
    try {
      if (borders[i + 1] > shard.file->size())
        throw TruncatedTar(Exit::wrong_input, cat(shard.path, ": cut short: sample ", i + 1, " ends at byte ",
                                                  borders[i + 1], ", the file at byte ", shard.file->size()));
      TarReader tar(shard.file, borders[i], borders[i + 1]);
      if (!next_part(tar, &first)) input_error(shard.path, ": byte ", borders[i], ": expected a sample, found none");
      add(borders[i], borders[i + 1], std::string(webdataset_key(first.name)));
    } catch (const Error& e) { add_fault(RejectReason::damaged_shard, e.what()); }
  }
  TarMember beyond;
  bool more = false;
  try {
    TarReader rest(shard.file, borders.back());
    more = borders.back() < shard.file->size() && next_part(rest, &beyond);
  } catch (const Error&) {}  // damage behind the last sample harms none
  if (more)
    input_error(shard.path, ".idx: ends at byte ", borders.back(), ", where the shard goes on with '", beyond.name,
                "': it belongs to another shard; remove it, or make it anew");
}

// False when the file ends without the blocks that close it.
bool Webdataset::list_scanned(const Shard& shard) {
  TarReader tar(shard.file);
  std::string key;
  std::uint64_t begin = 0, end = 0;
  try {
    for (TarMember m; next_part(tar, &m); end = m.end) {
      if (end > 0 && webdataset_key(m.name) == key) continue;
      if (end > 0) add(begin, end, key);
      begin = m.begin;
      key = webdataset_key(m.name);
    }
    if (end > 0) add(begin, end, key);
  } catch (const Error& e) {
    add_fault(RejectReason::damaged_shard, e.what());  // the sample before may miss parts
    return true;
  }
  return tar.offset() < shard.file->size();
}

void Webdataset::reject_duplicates() {
  std::vector<std::int64_t> order(records_.size());
  std::iota(order.begin(), order.end(), 0);
  const auto hash = [&](std::int64_t i) { return keys_[static_cast<std::size_t>(i)]; };
  std::sort(order.begin(), order.end(),
            [&](std::int64_t a, std::int64_t b) { return std::pair(hash(a), a) < std::pair(hash(b), b); });
  const auto place = [&](std::int64_t i) {
    const Record& r = records_[static_cast<std::size_t>(i)];
    TarMember m;
    TarReader tar(shards_[r.shard].file, r.begin, r.end);
    next_part(tar, &m);
    return std::pair(folder(shards_[r.shard]), std::string(webdataset_key(m.name)));
  };
  for (std::size_t k = 1; k < order.size(); ++k) {
    if (hash(order[k]) == 0 || hash(order[k]) != hash(order[k - 1])) continue;
    const auto key = place(order[k]);
    for (std::size_t first = k; first-- > 0 && hash(order[first]) == hash(order[k]);) {
      if (place(order[first]) != key) continue;
      const std::string& earlier = shards_[records_[static_cast<std::size_t>(order[first])].shard].path;
      faults_[order[k]] = {RejectReason::duplicate_key,
                           cat(shards_[records_[static_cast<std::size_t>(order[k])].shard].path, ": sample '",
                               key.second, "': this key came before, in ", earlier)};
      break;
    }
  }
}

// Packed samples become a record for each conversation. The first sample that can be read tells whether there are any.
void Webdataset::split_packed() {
  std::vector<Record> records;
  std::map<std::int64_t, Fault> faults;
  std::vector<std::uint64_t> keys;
  const auto put = [&](Record r, std::size_t i) {
    if (const auto f = faults_.find(static_cast<std::int64_t>(i)); f != faults_.end())
      faults[static_cast<std::int64_t>(records.size())] = f->second;
    records.push_back(r);
    keys.push_back(keys_[i]);
  };
  bool decided = false;
  for (std::size_t i = 0; i < records_.size(); ++i) {
    Record r = records_[i];
    std::size_t items = 0;
    if (!faults_.contains(static_cast<std::int64_t>(i))) {
      try {
        if (const auto n = packed_items(parts(r), shards_[r.shard].path)) {
          if (!decided && *n == 0) return;
          items = *n;
          decided = true;
        }
      } catch (const Rejected&) {}  // read() will tell
    }
    if (items == 0) put(r, i);
    for (std::size_t k = 0; k < items; ++k) {
      r.item = static_cast<std::int32_t>(k);
      put(r, i);
    }
  }
  records_ = std::move(records);
  faults_ = std::move(faults);
  keys_ = std::move(keys);
}

std::vector<TarMember> Webdataset::parts(const Record& r) const {
  const Shard& shard = shards_[r.shard];
  std::vector<TarMember> out;
  or_reject(RejectReason::damaged_shard, "", [&] {
    TarReader tar(shard.file, r.begin, r.end);
    for (TarMember m; next_part(tar, &m);) out.push_back(m);
  });
  if (out.empty())
    reject(RejectReason::damaged_shard, shard.path, ": bytes ", r.begin, " to ", r.end,
           " hold no sample, as its index says");
  std::set<std::string> seen;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (webdataset_key(out[i].name) != webdataset_key(out[0].name) || out[i].end > r.end)
      reject(RejectReason::damaged_shard, shard.path, ": bytes ", r.begin, " to ", r.end,
             " are not one sample, as its index says: '", out[0].name, "' and '", out[i].name, "'");
    if (!seen.insert(part_of(out[i].name)).second)
      reject(RejectReason::duplicate_key, shard.path, ": '", out[i].name, "' occurs twice in its sample");
  }
  return out;
}

Conversation Webdataset::read(std::int64_t index) const {
  if (index < 0 || index >= size()) input_error(path_, ": record ", index, " of ", size());
  if (const auto fault = faults_.find(index); fault != faults_.end())
    throw Rejected(fault->second.reason, fault->second.message);
  const Record r = record(index);
  Conversation c = webdataset_conversation(parts(r), r.item, shards_[r.shard].path);
  c.memory = shards_[r.shard].file;
  if (c.source.empty()) c.source = path_;
  return c;
}

std::string Webdataset::fingerprint() const {
  if (!fingerprint_.empty()) return fingerprint_;
  Sha256 hash;
  const auto number = [&](std::uint64_t v) { hash.update(&v, sizeof v); };
  for (const Shard& s : shards_) {
    const std::string name = s.path.substr(std::min(path_.size(), s.path.size()));
    hash.update(name.data(), name.size() + 1);
    number(s.file ? s.file->size() : 0);
  }
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    number(keys_[i]);
    number(static_cast<std::uint64_t>(begin_[i]));
    number(static_cast<std::uint64_t>(end_[i]));
    number(static_cast<std::uint32_t>(shard_[i]));
    number(static_cast<std::uint64_t>(std::int64_t{item_[i]}));
  }
  return hash.hex();
}

std::int64_t Webdataset::written() const {
  std::vector<std::string> paths;
  for (const Shard& s : shards_) paths.push_back(s.path);
  return last_written(paths);
}

}  // namespace ov
