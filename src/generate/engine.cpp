#include <algorithm>

#include "base/sha256.h"
#include "generate/answer.h"

namespace ov {
namespace {

using std::int64_t;

double seconds(std::chrono::steady_clock::duration d) { return std::chrono::duration<double>(d).count(); }

int64_t page_count(const Request& r) {
  const int64_t kept = std::ssize(r.prompt) + std::max<int64_t>(0, r.max_new_tokens - 1);  // the last token is not run
  return (kept + page_tokens - 1) / page_tokens;
}

int64_t features_of(const Picture& p, int64_t merge) {
  return p.features ? p.features.dim(0) : p.grid.patches() / (merge * merge);
}

std::string content_name(std::span<const Picture> pictures) {
  Sha256 hash;
  for (const Picture& p : pictures) {
    if (!p.name.empty()) {
      hash.update(p.name.data(), p.name.size() + 1);
      continue;
    }
    if (p.features || !p.pixel_values.contiguous() || !p.pixel_values.device().on_host()) return "";
    hash.update(&p.grid, sizeof p.grid);
    hash.update(p.pixel_values.bytes(), p.pixel_values.nbytes());
  }
  return hash.hex();
}

}  // namespace

void check_prompt(const Onevision& model, const std::vector<int64_t>& prompt, int64_t max_new_tokens) {
  if (prompt.empty()) input_error("generate: the prompt has no tokens");
  const TextConfig& text = model.config().text;
  for (const int64_t id : prompt)
    if (id < 0 || id >= text.vocabulary)
      input_error("generate: id ", id, " where the vocabulary has ", text.vocabulary, " rows");
  const int64_t n = std::ssize(prompt), most = text.max_positions;
  if (max_new_tokens > most - n)
    input_error("max_new_tokens is ", max_new_tokens, " after a prompt of ", n,
                " tokens, where max_position_embeddings of config.json is ", most);
}

Engine::Engine(const Onevision& model, const EngineOptions& options) : model_(model), options_(options) {
  require_at_least(options.chunk, 1, "engine.chunk");
  require_at_least(options.max_running, 1, "engine.max_running");
  if (!options_.fitted) make_cache(), count();
}

Engine::~Engine() {
  for (auto& a : running_) end(std::move(a), Ended::cancelled);
  if (next_up_) end(std::move(next_up_), Ended::cancelled);
  for (auto& a : waiting_) end(std::move(a), Ended::cancelled);
}

std::uint64_t Engine::submit(Request request) {
  check_prompt(model_, request.prompt, request.max_new_tokens);
  check_sampling(request.sampling, model_.config().text.vocabulary);
  const ModelConfig& config = model_.config();
  int64_t expected = 0;
  for (const Picture& p : request.pictures) {
    if (!p.features) check_patches({p.grid}, p.pixel_values.dim(0));
    expected += features_of(p, config.vision.merge);
  }
  if (!config.has_tower && expected)
    input_error("pictures for a language model alone: its config.json has no vision_config");
  const auto found = std::count(request.prompt.begin(), request.prompt.end(), config.image_token);
  if (config.has_tower && found != expected)
    input_error("input_ids holds ", found, " image placeholders, the pictures have ", expected, " tokens",
                found ? "" : cat("; image_token_id is ", config.image_token));
  if (const int64_t pages = page_count(request); !options_.fitted && pages > table_->pages())
    input_error("the prompt of ", request.prompt.size(), " tokens and an answer of ", request.max_new_tokens, " need ",
                pages * page_tokens, " tokens of cache, which has ", table_->pages() * page_tokens,
                " (engine.cache_gb)");

  const std::lock_guard hold(lock_);
  if (options_.max_waiting && std::ssize(waiting_) >= options_.max_waiting)
    throw EngineFull(Exit::machine_failed, cat(waiting_.size(),
                                               " requests are waiting, and no more may "
                                               "(engine.max_waiting)"));
  waiting_.push_back(std::make_unique<Answer>(Answer{.number = next_, .request = std::move(request)}));
  arrived_.notify_all();
  return next_++;
}

void Engine::cancel(std::uint64_t number) {
  const std::lock_guard hold(lock_);
  cancelled_.insert(number);
  arrived_.notify_all();
}

bool Engine::wait(std::chrono::milliseconds most) {
  std::unique_lock hold(lock_);
  const auto work = [&] { return !waiting_.empty() || !cancelled_.empty(); };
  return !running_.empty() || next_up_ || arrived_.wait_for(hold, most, work);
}

EngineStats Engine::stats() const {
  const std::lock_guard hold(lock_);
  EngineStats s = stats_;
  s.waiting += std::ssize(waiting_);
  return s;
}

// What only the thread that steps may look at, for the others.
void Engine::count() {
  tally_.running = std::ssize(running_);
  tally_.waiting = next_up_ != nullptr;
  if (table_) {
    tally_.pages = table_->pages(), tally_.kept_pages = table_->kept(), tally_.evicted_pages = table_->evicted();
    tally_.used_pages = table_->pages() - table_->unused() - table_->kept();
  }
  const std::lock_guard hold(lock_);
  stats_ = tally_;
}

void Engine::end(std::unique_ptr<Answer> answer, Ended why, std::exception_ptr error) {
  if (answer->leased) table_->release(answer->number, answer->lease);
  Finish& f = answer->finish;
  const auto now = Clock::now();
  if (!answer->leased) answer->admitted = answer->read = now;
  if (!answer->writes()) answer->read = now;
  f.why = why, f.error = std::move(error);
  f.wait_s = seconds(answer->admitted - answer->arrived);
  f.read_s = seconds(answer->read - answer->admitted), f.write_s = seconds(now - answer->read);
  if (answer->request.done) answer->request.done(f);
}

void Engine::end_cancelled() {
  std::set<std::uint64_t> cancelled;
  std::vector<std::unique_ptr<Answer>> ended;
  const auto take = [&](auto& answers) {
    for (auto& a : answers)
      if (cancelled.contains(a->number)) ended.push_back(std::move(a));
    std::erase(answers, nullptr);
  };
  {
    const std::lock_guard hold(lock_);
    cancelled.swap(cancelled_);
    take(waiting_);
  }
  take(running_);
  if (next_up_ && cancelled.contains(next_up_->number)) ended.push_back(std::move(next_up_));
  for (auto& a : ended) end(std::move(a), Ended::cancelled);
}

void Engine::make_cache() {
  const TextConfig& text = model_.config().text;
  const Dtype dtype = model_.parameters().dtype();
  int64_t pages = std::max<int64_t>(1, options_.cache_bytes / PagePool::page_bytes(text, dtype));
  if (options_.fitted) {
    std::vector<int64_t> needs = {page_count(next_up_->request)};
    {
      const std::lock_guard hold(lock_);
      for (const auto& a : waiting_) needs.push_back(page_count(a->request));
    }
    std::sort(needs.begin(), needs.end(), std::greater<>());
    int64_t sum = 0;
    for (std::size_t i = 0; i < needs.size() && std::cmp_less(i, options_.max_running); ++i) sum += needs[i];
    pages = std::max(needs[0], std::min(pages, sum));
  }
  table_.reset(), pool_.reset();  // the old one's memory first
  pool_.emplace(text, pages, dtype, model_.parameters().device());
  table_.emplace(pages);
}

Engine::Seen Engine::look_at(std::span<const Picture> pictures) {
  const std::string name = content_name(pictures);
  const auto known = std::find_if(seen_.begin(), seen_.end(), [&](const auto& s) { return s.first == name; });
  if (!name.empty() && known != seen_.end()) {
    seen_.splice(seen_.begin(), seen_, known);
    return seen_.front().second;
  }
  Seen seen{pictures[0].features, next_picture_++};
  if (!seen.features) {
    std::vector<Tensor> pixels;
    OnevisionInputs inputs;
    int64_t rows = 0;
    for (const Picture& p : pictures) inputs.grids.push_back(p.grid), rows += p.pixel_values.dim(0);
    inputs.pixel_values = pictures[0].pixel_values;
    if (pictures.size() > 1) {
      inputs.pixel_values = Tensor({rows, inputs.pixel_values.dim(1)}, inputs.pixel_values.dtype(),
                                   inputs.pixel_values.device(), Segment::data);
      rows = 0;
      for (const Picture& p : pictures) {
        inputs.pixel_values.slice(0, rows, rows + p.pixel_values.dim(0)).copy_from(p.pixel_values);
        rows += p.pixel_values.dim(0);
      }
    }
    Tape counting;
    seen.features.value = model_.encode_images(options_.count_products ? &counting : nullptr, inputs).value;
    tally_.products += counting.products().forward;
    tally_.pictures += std::ssize(pictures);
  }
  if (name.empty()) return seen;
  const auto bytes = [](const Seen& s) { return static_cast<int64_t>(s.features.value.nbytes()); };
  seen_.emplace_front(name, seen);
  seen_bytes_ += bytes(seen);
  for (; seen_bytes_ > options_.cache_bytes / 4 && seen_.size() > 1; seen_.pop_back())
    seen_bytes_ -= bytes(seen_.back().second);
  return seen;
}

// Looks at the next picture of a request that waits; true when there is no more to do for it.
bool Engine::prepare(Answer& a) {
  if (a.prepared) return true;
  const std::span<const Picture> pictures = a.request.pictures;
  if (a.seen.size() < pictures.size()) {
    const auto begin = Clock::now();
    // With the original's fault a picture's angles depend on those before it: then they go through the tower together.
    const bool together = model_.config().hf_shift_bug && pictures.size() > 1;
    const std::size_t first = a.seen.size(), n = together ? pictures.size() : 1;
    const Seen seen = look_at(pictures.subspan(first, n));
    for (std::size_t i = 0, row = 0; i < n; ++i) {
      const auto rows = static_cast<std::size_t>(features_of(pictures[first + i], model_.config().vision.merge));
      a.seen.push_back(
          {{n == 1 ? seen.features.value
                   : seen.features.value.slice(0, static_cast<int64_t>(row), static_cast<int64_t>(row + rows))},
           together ? next_picture_++ : seen.number});
      row += rows;
    }
    a.finish.vision_s += seconds(Clock::now() - begin);
    if (a.seen.size() < pictures.size()) return false;
  }
  a.source.assign(a.prompt, {-1, -1});
  std::vector<int64_t> keys = a.ids;
  std::size_t picture = 0;
  int64_t row = 0;
  for (std::size_t t = 0; t < a.prompt && !a.seen.empty(); ++t) {
    if (a.ids[t] != model_.config().image_token) continue;
    while (row == a.seen[picture].features.dim(0)) ++picture, row = 0;
    a.source[t] = {static_cast<int64_t>(picture), row};
    keys[t] = -1 - (a.seen[picture].number << 24 | row++);  // no id: what stands there is the picture
  }
  // The last token of the prompt is always run: its logits are the answer's first.
  if (options_.share && !a.request.prompt_logprobs) {
    const auto shared = keys.begin() + (std::ssize(keys) - 1) / page_tokens * page_tokens;
    a.keys.assign(keys.begin(), shared);
    a.tail.assign(shared, keys.end() - 1);
  }
  return a.prepared = true;
}

void Engine::admit() {
  while (std::ssize(running_) < options_.max_running) {
    if (!next_up_) {
      const std::lock_guard hold(lock_);
      if (waiting_.empty()) return;
      next_up_ = std::move(waiting_.front());
      waiting_.pop_front();
    }
    try {
      while (!prepare(*next_up_))
        if (!running_.empty()) return;  // one picture between two passes: nobody's answer stands still for many
      const int64_t pages = page_count(next_up_->request);
      if (!table_ || (pages > table_->pages() && running_.empty())) make_cache();
      if (pages > table_->pages() || !table_->lease(next_up_->number, next_up_->keys, pages, &next_up_->lease)) return;
    } catch (...) {
      end(std::move(next_up_), Ended::failed, std::current_exception());
      continue;
    }
    next_up_->leased = true;
    next_up_->admitted = Clock::now();
    running_.push_back(std::move(next_up_));
  }
}

bool Engine::step() {
  end_cancelled();
  admit();
  if (!running_.empty()) pass();
  count();
  const std::lock_guard hold(lock_);
  return !running_.empty() || next_up_ || !waiting_.empty() || !cancelled_.empty();
}

}  // namespace ov
