// The engine: one answer's bits, whatever happens around it.
#include "generate/engine.h"

#include <doctest/doctest.h>

#include "generate/generate.h"
#include "tests/check.h"
#include "tests/generate/questions.h"

using namespace ov;
using namespace ov::test;

TEST_CASE(
    "engine: an answer's bits are those of the request alone: batch, arrival, cancelled neighbours, chunk, "
    "sharing, threads") {
  for (const bool mixture : {false, true}) {
    const auto model = engine_model(mixture);
    const Questions questions(*model, mixture ? 12 : 36);
    const std::vector<Answer> alone = one_by_one(*model, questions.all());
    const std::size_t n = alone.size();
    std::size_t tokens = 0;
    for (const Answer& a : alone) {
      CHECK(a.ended == 1);
      CHECK_FALSE(a.finish.error);
      tokens += a.ids.size();
    }
    CHECK(tokens > 3 * n);
    std::uint64_t seed = 0;
    for (const int threads : {1, 2}) {
      const Threads use(threads);
      for (const std::int64_t chunk : {16, 512})
        for (const bool share : {false, true})
          for (const bool crowd : {false, true}) {
            if (mixture && threads == 2) continue;
            CAPTURE(mixture);
            CAPTURE(threads);
            CAPTURE(chunk);
            CAPTURE(share);
            CAPTURE(crowd);
            // A crowd: any order, a few at a time, and others that are cancelled at any moment.
            const Philox random(++seed, "arrivals");
            std::uint64_t at = 0;
            Engine engine(*model, {.chunk = chunk, .max_running = crowd ? 7 : 64, .share = share});
            std::vector<Answer> answers(n), cancelled(n);
            const Permutation order(static_cast<std::int64_t>(n), seed, 0);
            for (std::size_t i = 0; i < n; ++i) {
              const std::size_t q = crowd ? static_cast<std::size_t>(order(static_cast<std::int64_t>(i))) : i;
              std::uint64_t other = 0;
              if (crowd && i % 3 == 0) other = ask(engine, questions.all()[(q + 1) % n], cancelled[i]);
              ask(engine, questions.all()[q], answers[q]);
              if (crowd)
                for (std::uint64_t k = random.below(at++, 4); k > 0; --k) engine.step();
              if (other) engine.cancel(other);
            }
            engine.run();
            bool same = true;
            for (std::size_t i = 0; i < n; ++i) same = same && answers[i] == alone[i] && answers[i].ended == 1;
            CHECK(same);
            const EngineStats stats = engine.stats();
            CHECK(stats.running == 0);
            CHECK(stats.waiting == 0);
            CHECK(stats.used_pages == 0);
            CHECK((stats.shared_tokens > 0) == share);
            if (share) CHECK(stats.kept_pages > 0);
          }
    }
  }
}

TEST_CASE("engine: bf16 answers too") {
  const auto model = engine_model(false, Dtype::bf16);
  const Questions questions(*model, 10);
  const std::vector<Answer> alone = one_by_one(*model, questions.all());
  Engine engine(*model, {.chunk = 48});
  std::vector<Answer> answers(alone.size());
  for (std::size_t i = 0; i < alone.size(); ++i) ask(engine, questions.all()[i], answers[i]);
  engine.run();
  CHECK(answers == alone);
}

TEST_CASE(
    "engine: a prefix is computed once, also by requests that arrive together; its pages are evicted for others") {
  const auto model = engine_model(false);
  std::vector<std::int64_t> prompt(200);
  for (std::size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<std::int64_t>(i * 7 % 90);
  const std::int64_t page = PagePool::page_bytes(model->config().text, Dtype::f32);
  // Room for 16 pages: 200 tokens and 8 new ones are 4, of which 3 are shared.
  Engine engine(*model, {.max_running = 8, .cache_bytes = 16 * page, .fitted = false});
  std::vector<Answer> answers(8);
  for (Answer& a : answers) ask(engine, {.prompt = prompt, .max_new_tokens = 8}, a);
  engine.run();
  for (const Answer& a : answers) CHECK(a.ids == answers[0].ids);
  EngineStats s = engine.stats();
  CHECK(s.pages == 16);
  CHECK(s.shared_tokens == 7 * 199);  // all but the last, whose logits are the answer's first
  CHECK(s.prompt_tokens == 200 + 7);
  CHECK(s.kept_pages == 3);
  CHECK(s.evicted_pages == 0);
  // Others come, and the oldest prefixes go: the last ones asked are still there, the first is not.
  const auto asked = [&](std::int64_t first) {
    prompt[0] = first;
    Answer a;
    ask(engine, {.prompt = prompt, .max_new_tokens = 8}, a);
    engine.run();
    return a.finish.shared_tokens;
  };
  CHECK(asked(0) == 192);
  for (std::int64_t first = 1; first < 6; ++first) CHECK(asked(first) == 0);
  CHECK(engine.stats().evicted_pages > 0);
  CHECK(asked(5) == 192);
  CHECK(asked(0) == 0);
}

TEST_CASE("engine: what fills no page is copied from an earlier answer that began alike, as far as it did") {
  const auto model = engine_model(false);
  const auto prompt = [](int begin, int same, int other, std::int64_t word) {
    std::vector<std::int64_t> ids;
    for (int i = 0; i < begin + same; ++i) ids.push_back(i * 11 % 90);
    ids.insert(ids.end(), static_cast<std::size_t>(other), word);
    return ids;
  };
  for (const int begin : {0, 64})  // behind no page, behind one
    for (const std::int64_t chunk : {1, 7, 512}) {
      CAPTURE(begin);
      CAPTURE(chunk);
      // Behind `begin` tokens: 40; the same; 30 of these and 10 others; 10 and 30 others; none; 30 and 10 again.
      std::vector<Request> asked;
      for (const auto& p : {prompt(begin, 40, 0, 0), prompt(begin, 40, 0, 0), prompt(begin, 30, 10, 7),
                            prompt(begin, 10, 30, 8), prompt(begin, 0, 40, 9), prompt(begin, 30, 10, 7)})
        asked.push_back({.prompt = p, .max_new_tokens = 5});
      const std::vector<Answer> alone = one_by_one(*model, asked);
      Engine engine(*model, {.chunk = chunk});
      std::vector<Answer> answers(asked.size());
      for (std::size_t i = 0; i < asked.size(); ++i) ask(engine, asked[i], answers[i]);
      engine.run();
      CHECK(answers == alone);
      CHECK(answers[0].finish.shared_tokens == 0);
      CHECK(answers[1].finish.shared_tokens == begin + 39);
      CHECK(answers[2].finish.shared_tokens == begin + 30);
      CHECK(answers[3].finish.shared_tokens >= begin);  // waits for nobody: less than half would be the same
      CHECK(answers[3].finish.shared_tokens <= begin + 10);
      CHECK(answers[4].finish.shared_tokens == begin);
      CHECK(answers[5].finish.shared_tokens == begin + 39);

      // The one that all copy from is cancelled while they wait.
      Engine cut(*model, {.chunk = chunk});
      std::vector<Answer> left(asked.size());
      const std::uint64_t number = ask(cut, asked[0], left[0]);
      for (std::size_t i = 1; i < asked.size(); ++i) ask(cut, asked[i], left[i]);
      cut.step();
      cut.cancel(number);
      cut.run();
      for (std::size_t i = 1; i < asked.size(); ++i) CHECK(left[i] == alone[i]);
    }
}

TEST_CASE("engine: whoever waits for a page goes on when the one that computes it is cancelled") {
  const auto model = engine_model(false);
  const std::vector<std::int64_t> prompt(300, 4);
  Engine engine(*model, {.chunk = 40});
  Answer first, second, alone;
  const std::uint64_t number = ask(engine, {.prompt = prompt, .max_new_tokens = 4}, first);
  ask(engine, {.prompt = prompt, .max_new_tokens = 4}, second);
  engine.step(), engine.step();
  engine.cancel(number);
  engine.run();
  CHECK(first.finish.why == Ended::cancelled);
  CHECK(first.ids.empty());
  Engine other(*model, {});
  ask(other, {.prompt = prompt, .max_new_tokens = 4}, alone);
  other.run();
  CHECK(second == alone);
}

TEST_CASE("engine: equal placeholders with other pictures share nothing beyond what is equal") {
  const auto model = engine_model(false);
  const Questions questions(*model, 12);
  Request r = questions.all()[1];
  r.prompt.insert(r.prompt.end(), 200, 3);
  Request other = r;
  const Tensor pixels = r.pictures[0].pixel_values.contiguous_copy();
  pixels.data<float>()[5] += 1;
  other.pictures[0].pixel_values = pixels;
  const auto alone = one_by_one(*model, {r, other});
  Engine engine(*model, {.cache_bytes = 1 << 20, .fitted = false});
  std::vector<Answer> answers(3);
  for (const std::size_t i : {0, 1, 2}) {
    ask(engine, i == 1 ? other : r, answers[i]);
    engine.run();
  }
  CHECK(answers[0] == alone[0]);
  CHECK(answers[1] == alone[1]);
  CHECK(answers[2] == alone[0]);
  CHECK(answers[1].finish.shared_tokens == 128);  // of 150 tokens before the picture
  CHECK(answers[2].finish.shared_tokens > 192);
  CHECK(engine.stats().pictures == 2);
}

TEST_CASE("engine: what can never be answered is refused with numbers, and waiting is bounded") {
  const auto model = engine_model(false);
  const std::int64_t page = PagePool::page_bytes(model->config().text, Dtype::f32);
  Engine engine(*model, {.max_running = 1, .max_waiting = 2, .cache_bytes = 3 * page, .fitted = false});
  Answer a[4];
  CHECK(thrown([&] { ask(engine, {.prompt = std::vector<std::int64_t>(100, 1), .max_new_tokens = 94}, a[0]); }) ==
        "the prompt of 100 tokens and an answer of 94 need 256 tokens of cache, which has 192 (engine.cache_gb)");
  CHECK(thrown([&] {
          ask(engine, {.prompt = {1, 90}}, a[0]);
        }) == "input_ids holds 1 image placeholders, the pictures have 0 tokens");
  CHECK(thrown([&] { ask(engine, {.prompt = {1}, .sampling = {.top_p = 2}}, a[0]); }).find("top_p") == 0);
  const std::vector<std::int64_t> whole(100, 1);
  for (int i = 0; i < 2; ++i) ask(engine, {.prompt = whole, .max_new_tokens = 93}, a[i]);
  CHECK_THROWS_AS(ask(engine, {.prompt = {1}}, a[2]), EngineFull);
  engine.step();
  CHECK(engine.stats().running == 1);
  ask(engine, {.prompt = {1}, .max_new_tokens = 3}, a[2]);  // one began, so one more may wait
  engine.run();
  CHECK(a[0] == a[1]);
  CHECK(a[0].ids.size() == 93);
  CHECK(a[2].ids.size() == 3);
  CHECK(a[2].finish.why == Ended::length);
}

TEST_CASE(
    "engine: log-probabilities of a prompt are those of its tokens as answers; a callback that throws ends its own") {
  const auto model = engine_model(false);
  Answer written, read, thrown_at, beside;
  Engine engine(*model, {.chunk = 16});
  ask(engine, {.prompt = {1, 2, 3}, .sampling = {.top_logprobs = 0}, .max_new_tokens = 40}, written);
  engine.run();
  std::vector<std::int64_t> prompt = {1, 2, 3};
  prompt.insert(prompt.end(), written.ids.begin(), written.ids.end());
  ask(engine, {.prompt = prompt, .sampling = {.top_logprobs = 0}, .max_new_tokens = 0, .prompt_logprobs = true}, read);
  Request bad{.prompt = {1, 2, 3}};
  bad.token = [](const Token&) -> bool { throw std::runtime_error("no"); };
  bad.done = [&](const Finish& f) { thrown_at.finish = f; };
  engine.submit(bad);
  ask(engine, {.prompt = {1, 2, 3}, .sampling = {.top_logprobs = 0}, .max_new_tokens = 40}, beside);
  engine.run();
  REQUIRE(read.ids.size() == prompt.size() - 1);
  CHECK(std::equal(prompt.begin() + 1, prompt.end(), read.ids.begin()));
  CHECK(std::equal(written.logprobs.begin(), written.logprobs.end(), read.logprobs.begin() + 2));
  CHECK(thrown_at.finish.why == Ended::failed);
  CHECK(beside == written);
}
