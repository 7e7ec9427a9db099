#include "serve/askers.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <thread>

#include "base/text.h"
#include "serve/http.h"

namespace ov::serve {
namespace {

Json failure(const std::string& message, int status = 200) {
  return Json::object({{"error", Json::object({{"message", message}, {"status", status}})}});
}

Json posted(httplib::Client& client, const std::string& origin, const std::string& path,
            const httplib::Headers& headers, const std::string& body, int tries, std::atomic<std::int64_t>* retries) {
  constexpr std::size_t most_bytes = 4 << 20;  // thirty times the text of 32 768 tokens
  double wait_s = 0.5;
  for (int i = 1;; ++i) {
    std::string text;
    httplib::Request request;
    request.method = "POST", request.path = path, request.body = body, request.headers = headers;
    request.headers.emplace("Content-Type", "application/json");
    request.content_receiver = [&](const char* data, std::size_t n, std::uint64_t, std::uint64_t) {
      text.append(data, n);
      return text.size() <= most_bytes;
    };
    const auto result = client.send(request);
    if (text.size() > most_bytes) return failure(cat("an answer of more than ", most_bytes >> 20, " MB"));
    const int status = result ? result->status : 0;
    if (status == 200) try {
        Json answer = Json::parse(text, "the server's answer");
        const Json* choices = answer.is_object() ? answer.find("choices") : nullptr;
        if (choices && choices->is_array() && choices->size()) return answer;
        return failure("an answer without choices: " + shown(text));
      } catch (const ov::Error& e) { return failure(e.what()); }
    const bool again = status == 0 || status == 408 || status == 409 || status == 429 || status >= 500;
    if (!again || i == tries)
      return failure(
          result ? cat("status ", status, ": ", shown(text, 300))
                 : cat("cannot reach ", origin, ": ", http_fault(result.error(), origin), "; does a server run there?"),
          status);
    if (retries) ++*retries;
    const double told = result ? std::atof(result->get_header_value("retry-after").c_str()) : 0;
    std::this_thread::sleep_for(std::chrono::duration<double>(told > 0 && told <= 60 ? told : wait_s));
    wait_s = std::min(8.0, 2 * wait_s);
  }
}

}  // namespace

Address address_of(const std::string& url, const char* key) {
  const std::size_t host = url.find("://"), path = host == url.npos ? url.npos : url.find('/', host + 3);
  if (!url.starts_with("http://") && !url.starts_with("https://"))
    input_error(key, ": expected http://host:port/v1, found ", shown(url));
  std::string base = path == url.npos ? "/v1" : url.substr(path);
  while (!base.empty() && base.back() == '/') base.pop_back();
  return {url.substr(0, path), base};
}

Asker asker_here(const Service& service, Engine& engine, std::int64_t at_once) {
  return [&service, &engine, at_once](std::size_t n, const auto& body, const auto& take) {
    struct Running {
      std::size_t number;
      std::unique_ptr<Reply> reply;
    };
    std::deque<Running> running;
    for (std::size_t next = 0; next < n || !running.empty();) {
      for (; next < n && std::ssize(running) < at_once; ++next) {
        const Json asked = body(next);
        try {
          running.push_back({next, std::make_unique<Reply>(service, engine, read_chat(service, asked))});
        } catch (const ApiError& e) { take(next, e.json()); }
      }
      engine.step();
      for (std::size_t i = 0; i < running.size();) {
        Running& r = running[i];
        r.reply->take_all();
        if (!r.reply->over()) {
          ++i;
          continue;
        }
        Json answer;
        try {
          r.reply->check();
          answer = r.reply->json();
        } catch (const ApiError& e) { answer = e.json(); }
        take(r.number, answer);
        running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
  };
}

Asker asker_at(const std::string& url, const std::string& api_key, std::int64_t at_once, int tries,
               std::atomic<std::int64_t>* retries) {
  const Address at = address_of(url, "eval.url");
  httplib::Headers headers;
  if (!api_key.empty()) headers.emplace("Authorization", "Bearer " + api_key);
  return [=](std::size_t n, const auto& body, const auto& take) {
    std::atomic<std::size_t> next{0};
    std::mutex taking;
    std::exception_ptr error;
    const auto work = [&] {
      try {
        load_http();
        httplib::Client client(at.origin);
        client.set_keep_alive(true), client.set_tcp_nodelay(true);
        client.set_connection_timeout(30), client.set_read_timeout(600), client.set_write_timeout(600);
        for (std::size_t i; (i = next++) < n;) {
          const Json answer =
              posted(client, at.origin, at.base + "/chat/completions", headers, body(i).dump(), tries, retries);
          const std::lock_guard hold(taking);
          take(i, answer);
        }
      } catch (...) {
        const std::lock_guard hold(taking);
        if (!error) error = std::current_exception();
        next = n;
      }
    };
    std::vector<std::thread> threads;
    const std::size_t most = std::min(n, static_cast<std::size_t>(at_once));
    threads.reserve(most);
    try {
      while (threads.size() < most) threads.emplace_back(work);
    } catch (const std::system_error& e) {  // fewer threads give the same answers
      if (threads.empty()) machine_error("cannot start a thread that asks: ", e.what());
    }
    for (auto& t : threads) t.join();
    if (error) std::rethrow_exception(error);
  };
}

}  // namespace ov::serve
