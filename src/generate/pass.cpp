// One pass of the engine: which tokens run, the model over all of them, and what becomes of each row.
#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "generate/answer.h"
#include "generate/attention_map.h"
#include "kernels/row_products.h"

namespace ov {
namespace {

using std::int64_t;

bool all_finite(const Tensor& t) {
  bool finite = true;
  by_dtype(t.dtype(), [&](auto v) {
    for (const auto x : t.to_vector<decltype(v)>()) finite = finite && std::isfinite(x);
  });
  return finite;
}

// The rows named, one below the other: a view where they lie so.
Tensor rows_of(const Tensor& x, const std::vector<int64_t>& rows) {
  if (rows.back() - rows.front() + 1 == std::ssize(rows)) return x.slice(0, rows.front(), rows.back() + 1);
  const Tensor out({std::ssize(rows), x.dim(1)}, x.dtype(), x.device());
  for (int64_t i = 0; i < std::ssize(rows); ++i) {
    const int64_t from = rows[static_cast<std::size_t>(i)];
    out.slice(0, i, i + 1).copy_from(x.slice(0, from, from + 1));
  }
  return out;
}

// Places of the pictures' tokens in a prompt.
std::vector<int64_t> picture_places(const std::vector<std::pair<int64_t, int64_t>>& source) {
  std::vector<int64_t> places;
  for (std::size_t t = 0; t < source.size(); ++t)
    if (source[t].first >= 0) places.push_back(static_cast<int64_t>(t));
  return places;
}

}  // namespace

void check_finite(const Onevision& model, std::span<const double> logits, int64_t position) {
  if (std::all_of(logits.begin(), logits.end(), [](double x) { return std::isfinite(x); })) return;
  const std::string where = cat("generate: the logits after token ", position, " are not finite numbers");
  for (const auto& e : model.parameters().entries())
    if (!all_finite(e.parameter.value)) machine_error(where, "; neither is the parameter ", e.parameter.name);
  machine_error(where, ", though every parameter is");
}

// Behind its shared pages a prompt goes on as that of an earlier answer does: what both have in common is copied. False
// while that answer still reads it, if it is at least half of what is left.
bool Engine::copy_tail(Answer& a) {
  const std::size_t page = a.lease.shared.size();
  const int64_t first = static_cast<int64_t>(page) * page_tokens, all = std::ssize(a.tail);
  if (a.run != first || all == 0) return true;
  const Answer* from = nullptr;
  int64_t most = 0;
  for (const auto& r : running_) {
    const Answer& b = *r;
    if (&b == &a) break;
    if (b.lease.shared != a.lease.shared) continue;
    const auto other = std::mismatch(a.tail.begin(), a.tail.end(), b.tail.begin(), b.tail.end()).first;
    const int64_t same = other - a.tail.begin();
    const int64_t there = std::clamp<int64_t>(b.run - first, 0, same);
    if (there < same && 2 * same >= all) return false;
    if (there > most) most = there, from = &b;
  }
  if (!from) return true;
  pool_->copy(from->lease.pages[page], a.lease.pages[page], most);
  a.run += most, a.finish.shared_tokens += most, tally_.shared_tokens += most;
  return true;
}

// How many tokens of a prompt may run now. Pages that somebody has computed are passed over; those that somebody else
// computes are waited for.
int64_t Engine::readable(Answer& a, int64_t budget) {
  const auto shared = [&](int64_t page) { return &table_->at(a.lease.shared[static_cast<std::size_t>(page)]); };
  const int64_t pages = std::ssize(a.lease.shared);
  for (; a.run % page_tokens == 0 && a.run / page_tokens < pages && shared(a.run / page_tokens)->computed;
       a.run += page_tokens)
    a.finish.shared_tokens += page_tokens, tally_.shared_tokens += page_tokens;
  if (!copy_tail(a)) return 0;
  int64_t page = a.run / page_tokens;
  for (; page < pages && page * page_tokens < a.run + budget; ++page) {
    PageTable::Shared& s = *shared(page);
    if (s.computed || (s.owner != 0 && s.owner != a.number)) break;
    s.owner = a.number;
  }
  const int64_t end = page < pages ? page * page_tokens : std::ssize(a.ids);
  return std::clamp<int64_t>(end - a.run, 0, budget);
}

std::vector<Engine::Row> Engine::run_model(std::span<const PagePool::Part> parts, std::span<Answer* const> answers) {
  const kernels::RowProducts alone;  // whatever else is in this pass
  Device& device = model_.parameters().device();
  OnevisionInputs inputs;
  std::vector<int64_t> positions, wanted;
  std::vector<Row> rows;
  std::vector<Tensor> features;  // of the pictures' tokens in this pass, in order
  int64_t feature_rows = 0;
  std::vector<AttentionMap::Watch> watches;
  const bool watched =
      std::any_of(answers.begin(), answers.end(), [](const Answer* a) { return a->request.attention; });
  // A GPU's kernels spread the keys of a few queries only where their row has no prefix.
  const bool gpu = device.kind == Device::Kind::cuda || device.kind == Device::Kind::sim;
  kernels::SegmentTable table = pool_->begin(parts, watched || gpu);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Answer& a = *answers[i];
    const int64_t n = parts[i].end - parts[i].begin, first = parts[i].first;
    for (int64_t t = first; t < first + n; ++t) {
      const auto at = static_cast<std::size_t>(t);
      inputs.input_ids.push_back(a.ids[at]);
      positions.push_back(t);
      const auto [picture, row] = at < a.prompt ? a.source[at] : std::pair<int64_t, int64_t>(-1, -1);
      inputs.feature_rows.push_back(picture < 0 ? -1 : feature_rows++);
      if (picture >= 0)
        features.push_back(a.seen[static_cast<std::size_t>(picture)].features.value.slice(0, row, row + 1));
      const bool last = t + 1 == std::ssize(a.ids);
      if (last ? a.request.max_new_tokens > 0 : a.request.prompt_logprobs) {
        wanted.push_back(parts[i].begin + (t - first));
        rows.push_back({.answer = &a, .at = wanted.back(), .token = t});
        if (last && a.request.attention && !a.seen.empty()) {
          rows.back().watch = std::ssize(watches);
          watches.push_back({wanted.back(), table[i].k_begin, t + 1, picture_places(a.source)});
        }
      }
    }
  }
  Var pictures;
  if (feature_rows) {
    pictures.value = Tensor({feature_rows, features[0].dim(1)}, features[0].dtype(), device);
    for (int64_t i = 0; i < feature_rows; ++i)
      pictures.value.slice(0, i, i + 1).copy_from(features[static_cast<std::size_t>(i)]);
  }
  const auto T = std::ssize(positions);
  inputs.positions = index_tensor("positions", positions, {T}, 0, model_.config().text.max_positions, device);
  inputs.segments = std::make_shared<kernels::Segments>(std::move(table), T, pool_->keys(), true, device);
  AttentionMap map(*pool_, model_.config().text.layers, std::move(watches));
  KvStore* store = &*pool_;
  if (!map.watches().empty()) store = &map;
  Tape counting;  // of no gradients
  Tape* tape = options_.count_products ? &counting : nullptr;
  const Tensor hidden = model_.hidden(tape, inputs, pictures, store).value;
  if (rows.empty()) {
    tally_.products += counting.products().forward;
    return rows;
  }
  const Tensor last = rows_of(hidden, wanted);
  const Tensor logits = model_.logits(tape ? tape->input(last) : Var{last}).value;
  tally_.products += counting.products().forward;
  parallel_for(std::ssize(rows), [&](int64_t i) {
    Row& r = rows[static_cast<std::size_t>(i)];
    try {
      const std::vector<double> z = row_of_logits(logits, i);
      check_finite(model_, z, r.token + 1);
      const auto& ids = r.answer->ids;
      const Sampling& s = r.answer->request.sampling;
      r.next = r.token + 1 == std::ssize(ids)
                   ? sample(z, s, ids, r.answer->prompt - static_cast<std::size_t>(r.answer->request.written))
                   : told(z, ids[static_cast<std::size_t>(r.token + 1)], std::max<int64_t>(0, s.top_logprobs));
      if (r.watch >= 0) r.next.attention = map.watches()[static_cast<std::size_t>(r.watch)].mass;
    } catch (...) { r.error = std::current_exception(); }
  });
  return rows;
}

void Engine::pass() {
  std::vector<PagePool::Part> parts;
  std::vector<Answer*> answers;
  int64_t rows = 0, read = 0;
  for (const bool writing : {true, false}) {
    for (const auto& a : running_) {
      if (a->writes() != writing) continue;
      const int64_t n = writing ? 1 : readable(*a, options_.chunk - read);
      if (n == 0) continue;
      if (!writing) read += n;
      parts.push_back({&a->lease.pages, rows, rows + n, a->run});
      answers.push_back(a.get());
      rows += n;
    }
  }
  std::vector<Row> logits;
  std::exception_ptr failed;
  try {
    logits = run_model(parts, answers);
  } catch (...) { failed = std::current_exception(); }
  ++tally_.passes, tally_.prompt_tokens += read;
  std::size_t next = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Answer& a = *answers[i];
    Ended why = Ended::failed;
    std::exception_ptr error = failed;
    bool over = failed != nullptr;
    if (!failed) {
      a.run += parts[i].end - parts[i].begin;
      for (std::size_t p = 0; p < a.lease.shared.size() && std::cmp_less_equal((p + 1) * page_tokens, a.run); ++p)
        if (PageTable::Shared& s = table_->at(a.lease.shared[p]); s.owner == a.number) s.computed = true, s.owner = 0;
      for (; next < logits.size() && logits[next].answer == &a && !over; ++next)
        over = deliver(a, logits[next], why, error);
      while (next < logits.size() && logits[next].answer == &a) ++next;
      if (!over && a.run == std::ssize(a.ids)) over = true, why = Ended::length;  // nothing was to be written
    }
    if (!over) continue;
    const auto at = std::find_if(running_.begin(), running_.end(), [&](const auto& r) { return r.get() == &a; });
    end(std::move(*at), why, error);
    running_.erase(at);
  }
}

// Hands over one token; true when it was the last.
bool Engine::deliver(Answer& a, const Row& row, Ended& why, std::exception_ptr& error) {
  why = Ended::failed, error = row.error;
  if (error) return true;
  const bool fresh = row.token + 1 == std::ssize(a.ids);
  if (fresh) {
    if (!a.writes()) a.read = Clock::now();
    a.ids.push_back(row.next.id);
    ++tally_.new_tokens;
  }
  try {
    why = Ended::stop;
    if (a.request.token && !a.request.token(row.next)) return true;
  } catch (...) {
    why = Ended::failed, error = std::current_exception();
    return true;
  }
  if (!fresh) return false;
  const auto& stop = a.request.stop;
  if (std::find(stop.begin(), stop.end(), row.next.id) != stop.end()) return true;
  why = Ended::length;
  return std::ssize(a.ids) - std::ssize(a.request.prompt) >= a.request.max_new_tokens;
}

}  // namespace ov
