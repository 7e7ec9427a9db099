#include "serve/metrics.h"

namespace ov::serve {

void Metrics::Histogram::add(double seconds) {
  for (std::size_t i = 0; i < bounds.size(); ++i) up_to[i] += seconds <= bounds[i];
  ++n;
  sum += seconds;
}

std::string Metrics::Histogram::text(const std::string& name) const {
  std::string out = cat("# TYPE llavaov:", name, " histogram\n");
  for (std::size_t i = 0; i < bounds.size(); ++i)
    out += cat("llavaov:", name, "_bucket{le=\"", bounds[i], "\"} ", up_to[i], "\n");
  return out + cat("llavaov:", name, "_bucket{le=\"+Inf\"} ", n, "\nllavaov:", name, "_sum ", sum, "\nllavaov:", name,
                   "_count ", n, "\n");
}

void Metrics::done(const Reply& reply, double seconds) {
  const Reply::Costs c = reply.costs();
  const std::lock_guard hold(lock_);
  for (const std::string& reason : c.finish_reasons) ++finished_[reason];
  image_tokens_ += c.image_tokens;
  request_.add(seconds);
  first_.add(c.wait_s + c.read_s);
  vision_.add(c.vision_s);
  if (c.new_tokens > 1) token_.add(c.write_s / static_cast<double>(c.new_tokens - 1));
}

void Metrics::failed(int status) {
  const std::lock_guard hold(lock_);
  ++failed_[status];
}

std::string Metrics::text(const EngineStats& e) const {
  std::string out;
  const auto add = [&](const char* type, const char* name, auto value) {
    out += cat("# TYPE llavaov:", name, " ", type, "\nllavaov:", name, " ", value, "\n");
  };
  add("gauge", "requests_running", e.running);
  add("gauge", "requests_waiting", e.waiting);
  add("counter", "prompt_tokens_total", e.prompt_tokens + e.shared_tokens);
  add("counter", "prompt_tokens_shared_total", e.shared_tokens);
  add("counter", "generation_tokens_total", e.new_tokens);
  add("gauge", "kv_cache_usage_ratio",
      e.pages ? static_cast<double>(e.used_pages) / static_cast<double>(e.pages) : 0.0);
  add("gauge", "kv_cache_pages", e.pages);
  add("gauge", "kv_cache_kept_pages", e.kept_pages);
  add("counter", "kv_cache_evicted_pages_total", e.evicted_pages);
  const std::lock_guard hold(lock_);
  add("counter", "image_tokens_total", image_tokens_);
  out += "# TYPE llavaov:request_success_total counter\n";
  for (const auto& [reason, n] : finished_)
    out += cat("llavaov:request_success_total{finish_reason=\"", reason, "\"} ", n, "\n");
  out += "# TYPE llavaov:request_failure_total counter\n";
  for (const auto& [status, n] : failed_) out += cat("llavaov:request_failure_total{code=\"", status, "\"} ", n, "\n");
  return out + first_.text("time_to_first_token_seconds") + token_.text("time_per_output_token_seconds") +
         vision_.text("vision_encode_seconds") + request_.text("request_seconds");
}

}  // namespace ov::serve
