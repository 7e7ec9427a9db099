// Tar shards as conversations: webdataset layouts, with the metadata of Megatron-Energon or without any.
//
// A member "dir/key.part" belongs to sample "dir/key"; the parts of a sample stand one behind the other. What a sample
// holds tells its layout, which agrees with the class that dataset.yaml names:
//
//   MultiMixQASample        json {"texts": [{role, content}], "media": "image" or "text", "name": [parts]}
//   PackedCaptioningSample  json {"prompts": [P], "captions": [P]} and img<i>.jpg: P conversations of one question, a
//                           record each; the successor's lists of turns and img<i>_<j>.jpg too
//   CaptioningSample        a picture and txt, or json {"caption"}: asked with the picture alone
//   (no class)              pictures and json, a bare list of messages or a record of data/raw/conversations.h; of
//                           energon's CrudeWebdataset, which says nothing of its samples, any of these
//
// Names of parts count in lower case, and members without a key or a part are passed over (webdataset_sample.h). Where
// no question says where its pictures stand, they stand in front of the first.
//
// A path is a directory (the shards of its split, as .nv-meta/split.yaml lists them, else all its .tar files by name)
// or one shard. <shard>.idx saves the scan; without it the shard is read through once. An index beside the data
// (data/raw/record_index.h) saves both and the search for keys that occur twice: then each shard is mapped, no more.
//
// Faults of single samples are rejects when their record is read: a sample that a cut or overwritten shard does not
// hold whole, and those behind it as far as .idx or .info.yaml tell how many there were (damaged_shard); a key that
// came before in shards of the same directory, or a part that occurs twice (duplicate_key).
#pragma once
#include <map>
#include <optional>
#include <set>

#include "data/raw/record_index.h"
#include "data/raw/records.h"
#include "data/reject.h"
#include "store/tar.h"

namespace ov {

// Ends in .tar, .tar.gz or .tgz, in capitals or not.
bool is_tar_name(const std::string& path);

class Webdataset : public Records {
 public:
  // Throws input_error: no such path, no shard or no sample in it, a sample class that is not known here, malformed
  // metadata, an index that is not of its shard.
  // `file`: what `path` names, where it is open already.
  explicit Webdataset(const std::string& path, std::shared_ptr<const MappedFile> file = nullptr,
                      const std::string& split = "train", UseIndex use = UseIndex::yes);

  const std::string& path() const override { return path_; }
  std::int64_t size() const override { return static_cast<std::int64_t>(begin_.size()); }
  Conversation read(std::int64_t index) const override;
  std::string fingerprint() const override;
  std::int64_t written() const override;
  void write_index() const override;
  bool indexed() const override { return !fingerprint_.empty(); }

 private:
  struct Record {
    std::uint64_t begin = 0, end = 0;  // bytes in the shard
    std::uint32_t shard = 0;
    std::int32_t item = -1;  // of a packed sample
  };
  struct Fault {
    RejectReason reason;
    std::string message;
  };
  struct Shard {
    std::string path;
    std::shared_ptr<const MappedFile> file;  // null when it is missing
  };

  void use_index(const RecordIndex& index, std::shared_ptr<const MappedFile> file);
  Record record(std::int64_t index) const;
  std::int64_t listed() const { return static_cast<std::int64_t>(records_.size()); }
  void open_shard(const std::string& path, std::optional<std::int64_t> promised,
                  std::shared_ptr<const MappedFile> file = nullptr);
  void list_indexed(const Shard& shard, const std::vector<std::uint64_t>& borders);
  bool list_scanned(const Shard& shard);
  void add(std::uint64_t begin, std::uint64_t end, const std::string& key);
  void add_fault(RejectReason reason, const std::string& message);
  void reject_duplicates();
  void split_packed();
  std::string folder(const Shard& shard) const;
  std::vector<TarMember> parts(const Record& record) const;

  std::string path_, part_, meta_;  // part_: of a directory with .nv-meta, else "train"; meta_: a digest of it, or ""
  std::vector<Shard> shards_;
  std::vector<Record> records_;      // while they are listed, then in columns
  std::vector<std::uint64_t> keys_;  // hash of folder and key, of each record; 0 with a fault. Empty with an index
  Column<std::int64_t> begin_, end_;
  Column<std::int32_t> shard_, item_;
  std::string fingerprint_;        // that an index says; "" without one
  std::vector<FileStamp> before_;  // without an index: the shards, before they were read
  std::map<std::int64_t, Fault> faults_;
  std::vector<std::string> unclosed_;  // shards that may have been cut at a member's border, since nothing counts them
  std::set<std::string> excluded_;     // keys of samples to leave out of the shard that is being listed
};

}  // namespace ov
