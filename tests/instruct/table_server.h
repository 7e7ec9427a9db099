// An endpoint of the OpenAI API on the loopback that answers what a table says, and counts what it is asked.
#pragma once
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "base/json.h"
#include "serve/askers.h"
#include "serve/http.h"

namespace ov::test {

class TableServer {
 public:
  // What is said to a request's user, who speaks JSON: {"question", "answer"}, {"into", "messages"}, {"before",
  // "after"}. A number from 400 on is a status, with the words behind it.
  using Table = std::function<std::string(const Json& said)>;

  explicit TableServer(Table table, int ms = 0) {
    http_.new_task_queue = [] { return new httplib::ThreadPool(16); };
    http_.Post("/v1/chat/completions", [this, table, ms](const httplib::Request& in, httplib::Response& out) {
      {
        const std::lock_guard hold(mutex_);
        ++asked_[in.body];
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(ms));
      const Json body = Json::parse(in.body, "body");
      const std::string said = table(Json::parse(body.at("messages")[1].at("content").as_string(), "user"));
      if (said.size() > 3 && said[0] >= '4' && said[0] <= '5' && said[3] == ' ') {
        out.status = std::stoi(said);
        out.set_header("retry-after", "0.01");
        return out.set_content(said.substr(4), "text/plain");
      }
      const Json message = Json::object({{"role", "assistant"}, {"content", said}});
      Json choices = Json::array();
      choices.push(Json::object({{"index", 0}, {"message", message}, {"finish_reason", "stop"}}));
      out.set_content(Json::object({{"choices", choices}}).dump(), "application/json");
    });
    port_ = http_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { http_.listen_after_bind(); });
    while (!http_.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ~TableServer() { http_.stop(), thread_.join(); }

  std::string url() const { return cat("http://127.0.0.1:", port_, "/v1"); }
  std::map<std::string, int> asked() const {  // body -> times
    const std::lock_guard hold(mutex_);
    return asked_;
  }
  int requests() const {
    int n = 0;
    for (const auto& [body, times] : asked()) n += times;
    return n;
  }

 private:
  httplib::Server http_;
  mutable std::mutex mutex_;
  std::map<std::string, int> asked_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace ov::test
