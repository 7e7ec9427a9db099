#include "instruct/endpoint.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/io/directory_lock.h"
#include "base/io/file.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "base/text.h"
#include "data/made_again.h"

namespace ov::instruct {
namespace {

// Of what the API said.
Reply reply_of(const Json& answer) {
  try {
    const Json& choice = answer.at("choices")[0];
    const Json* why = choice.find("finish_reason");
    if (why && why->is_string() && why->as_string() != "stop") return {"", "finish_reason " + why->as_string()};
    const Json& content = choice.at("message").at("content");
    return content.is_null() ? Reply{"", "no text"} : Reply{content.as_string(), ""};
  } catch (const Error& e) { return {"", cat("an answer without a reply: ", e.what())}; }
}

Reply read(const std::string& path, const std::string& digest) {
  const char* advice = "; remove it, and it is asked for again";
  const Json kept = or_make_again("remove it, and it is asked for again", [&] { return Json::read(path); });
  if (!kept.is_object() || !kept.find("request") || sha256(kept.at("request").dump()) != digest)
    input_error(path, ": is not the answer to the request of that digest", advice);
  if (const Json* refused = kept.find("refused"); refused && refused->is_string()) return {"", refused->as_string()};
  if (!kept.find("answer")) input_error(path, ": holds no answer", advice);
  return reply_of(kept.at("answer"));
}

// Whether an error is the last word on this request, and not on the key, the model or the moment. 200: no answer that
// could be read, or one of no end.
bool is_refusal(std::int64_t status) { return status == 200 || status == 400 || status == 413 || status == 422; }

}  // namespace

Endpoint::Endpoint(Asker asker, std::string cache) : asker_(std::move(asker)), cache_(std::move(cache)) {
  if (asker_) make_directories(cache_);
}

std::string Endpoint::path_of(const std::string& digest) const {
  return cat(cache_, "/", digest.substr(0, 2), "/", digest, ".json");
}

std::vector<Reply> Endpoint::replies(const std::vector<Json>& bodies) {
  std::vector<std::string> digests(bodies.size());
  parallel_for(std::ssize(bodies), [&](std::int64_t i) {
    digests[static_cast<std::size_t>(i)] = sha256(bodies[static_cast<std::size_t>(i)].dump());
  });
  std::map<std::string, std::size_t> first;  // the first body of each digest
  for (std::size_t i = 0; i < bodies.size(); ++i) first.try_emplace(digests[i], i);
  std::vector<std::size_t> missing;
  for (const auto& [digest, i] : first)
    if (!path_exists(path_of(digest))) missing.push_back(i);
  std::sort(missing.begin(), missing.end());
  found_ += std::ssize(bodies) - std::ssize(missing);
  if (!missing.empty())
    asker_(
        missing.size(), [&](std::size_t n) { return bodies[missing[n]]; },
        [&](std::size_t n, const Json& answer) {
          const std::string &digest = digests[missing[n]], path = path_of(digest);
          Json kept = Json::object({{"request", bodies[missing[n]]}});
          if (const Json* error = answer.find("error"); error && !error->is_null()) {
            const Json* number = error->is_object() ? error->find("status") : nullptr;
            const Json* words = error->is_object() ? error->find("message") : nullptr;
            const std::int64_t status = number && number->is_integer() ? number->as_int() : 0;
            const std::string message = words && words->is_string() ? words->as_string() : error->shown();
            if (status == 401 || status == 403 || status == 404) input_error("the endpoint says ", message);
            if (!is_refusal(status))
              machine_error("no answer from the endpoint: ", message, "; those that came are in ", cache_,
                            ", and the same command goes on from there");
            kept.set("refused", message);
          } else {
            kept.set("answer", answer);
          }
          ++asked_;
          make_directories(parent_directory(path));
          // Two shards may have asked the same at the same time.
          const DirectoryLock lock(parent_directory(path), DirectoryLock::Hold::turn);
          if (!path_exists(path)) write_durably(path, kept.dump() + "\n");
        });
  std::vector<Reply> out(bodies.size());
  parallel_for(std::ssize(bodies), [&](std::int64_t i) {
    const auto n = static_cast<std::size_t>(i);
    out[n] = read(path_of(digests[n]), digests[n]);
  });
  return out;
}

}  // namespace ov::instruct
