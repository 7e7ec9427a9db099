#include "curate/sources.h"

#include <algorithm>
#include <mutex>

#include "base/io/file.h"
#include "base/parallel.h"

namespace ov {

RecordPool::RecordPool(const std::vector<std::string>& paths, const std::string& image_dir, std::int64_t block_records)
    : image_dir_(image_dir) {
  for (std::string path : paths) {
    sources_.push_back(open_records(path, image_dir));
    paths_.push(sources_.back()->path());
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    const std::string name = path.substr(path.rfind('/') + 1);
    if (std::find(names_.begin(), names_.end(), name) != names_.end())
      input_error(path, ": another source is called ", name, " too, so that their records would have the same ids; ",
                  "rename one, or give a link of another name");
    names_.push_back(name);
    const std::int64_t size = sources_.back()->size();
    for (std::int64_t begin = 0; begin < size; begin += block_records)
      parts_.push_back({sources_.size() - 1, begin, std::min(begin + block_records, size)});
  }
}

std::string RecordPool::id(std::size_t source, std::int64_t record) const { return cat(names_[source], ":", record); }

std::string RecordPool::made_from() const {
  std::string all;
  for (std::size_t s = 0; s < sources_.size(); ++s) all += cat(" ", names_[s], " ", sources_[s]->fingerprint());
  return all + (image_dir_.empty() ? "" : cat(" in ", image_dir_.size(), " ", image_dir_));
}

Json RecordPool::fingerprints() const {
  Json all = Json::array();
  for (const auto& source : sources_) all.push(source->fingerprint());
  return all;
}

std::vector<Json> RecordPool::each(std::int64_t block,
                                   const std::function<void(std::int64_t, const Conversation&)>& f) const {
  const Part& p = part(block);
  std::vector<std::pair<std::int64_t, Json>> refused;
  std::mutex mutex;
  parallel_for(p.end - p.begin, [&](std::int64_t i) {
    try {
      f(i, sources_[p.source]->read(p.begin + i));
    } catch (const Rejected& e) {
      const std::lock_guard lock(mutex);
      refused.push_back({i, Json::object({{"source", names_[p.source]},
                                          {"record", p.begin + i},
                                          {"reason", name_of(e.reason())},
                                          {"message", e.what()}})});
    }
  });
  std::sort(refused.begin(), refused.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Json> list;
  for (auto& [i, line] : refused) list.push_back(std::move(line));
  return list;
}

void RejectFile::add(const Json& rejects) {
  for (const Json& r : rejects.items()) {
    const std::string& reason = r.at("reason").as_string();
    auto found = std::find_if(reasons_.begin(), reasons_.end(), [&](const auto& e) { return e.first == reason; });
    if (found == reasons_.end()) found = reasons_.insert(found, {reason, 0});
    ++found->second;
    if (total_++ == 0) first_ = r.at("message").as_string();
    lines_ += r.dump() + "\n";
  }
}

void RejectFile::finish(std::int64_t records) const {
  write_durably(path_, lines_);
  if (total_ > most_ || (total_ > 0 && total_ == records))
    input_error(path_, ": ", total_, " of ", records, " records rejected, and data.max_rejects is ", most_,
                "; the first: ", first_, ". What was read is kept in ", blocks_,
                ": where pictures have been put in place since, remove it");
}

Json RejectFile::json() const {
  Json counts = Json::object();
  for (const auto& [reason, n] : reasons_) counts.set(reason, n);
  return counts;
}

}  // namespace ov
