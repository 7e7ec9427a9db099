#include "curate/sources.h"

#include <algorithm>
#include <filesystem>
#include <mutex>

#include "base/io/file.h"
#include "base/parallel.h"

namespace ov {

RecordPool::RecordPool(const std::vector<std::string>& paths, const std::string& image_dir, std::int64_t block_records)
    : image_dir_(image_dir.empty() ? "" : std::filesystem::weakly_canonical(std::filesystem::absolute(image_dir))) {
  for (const std::string& path : paths) {
    sources_.push_back(open_records(path, image_dir));
    paths_.push_back(sources_.back()->path());
    if (sources_.back()->mixture())
      input_error(path, ": is a mixture, of which a manifest cannot draw; give the sets that it names");
    const std::string name = set_name(path);
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

std::int64_t RecordPool::written() const {
  std::int64_t last = 0;
  for (const auto& source : sources_) last = std::max(last, source->written());
  return last;
}

void RecordPool::require_pictures(bool of_each) const {
  std::string first;
  for (const auto& source : sources_) {
    const std::string why = source->without_pictures();
    if (why.empty() && !of_each) return;
    if (!why.empty() && of_each) input_error(why);
    if (first.empty()) first = why;
  }
  if (!first.empty()) input_error(first);
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
    reasons_.add(r.at("reason").as_string(), r.at("message").as_string());
    lines_ += r.dump() + "\n";
  }
}

void RejectFile::finish(std::int64_t records) const {
  write_durably(path_, lines_);
  const std::int64_t refused = total();
  if (refused > most_ || (refused > 0 && refused == records))
    input_error(path_, ": ", refused, " of ", records, " records rejected, and data.max_rejects is ", most_, "; ",
                why(), ". What was read is kept in ", blocks_,
                ": where pictures have been put in place since, remove it");
}

Json RejectFile::json() const {
  Json counts = Json::object();
  for (const FirstReasons::Reason& r : reasons_.reasons()) counts.set(r.name, r.count);
  return counts;
}

}  // namespace ov
