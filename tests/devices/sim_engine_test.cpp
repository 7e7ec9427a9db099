// The engine on a simulated GPU: an answer's bits are those of its request alone, though the library's products choose
// the order of their sums by the number of rows.
#include <doctest/doctest.h>

#include "kernels/sim/cublaslt_stand_in.h"
#include "kernels/sim/scheduler.h"
#include "tests/check.h"
#include "tests/devices/sim_device.h"
#include "tests/generate/questions.h"

using namespace ov;
using namespace ov::test;

namespace {

struct ByRows {
  ByRows() { sim::cublaslt_modes().order_depends_on_rows = true; }
  ~ByRows() { sim::cublaslt_modes() = {}; }
};

std::vector<Answer> together(const Onevision& model, const Questions& questions, std::int64_t chunk, bool share) {
  Engine engine(model, {.chunk = chunk, .share = share});
  std::vector<Answer> answers(questions.all().size());
  for (std::size_t i = answers.size(); i-- > 0;) ask(engine, questions.all()[i], answers[i]);
  engine.run();
  return answers;
}

void check_alone_and_together(bool mixture, Dtype dtype, int n, int length, std::vector<std::int64_t> chunks) {
  CAPTURE(mixture);
  CAPTURE(name_of(dtype));
  SimDevice device(ForeignDevice::Policy::lazy, 1);
  const auto model = engine_model(mixture, dtype, device, 16);
  const Questions questions(*model, n, length);
  const ByRows mode;
  const auto alone = one_by_one(*model, questions.all());
  std::size_t tokens = 0;
  for (const Answer& a : alone) {
    CHECK(a.ended == 1);
    CHECK_FALSE(a.finish.error);
    tokens += a.ids.size();
  }
  CHECK(tokens > alone.size());
  const sim::ScheduleScope scope({sim::Order::reverse, 1});
  for (const std::int64_t chunk : chunks) CHECK(together(*model, questions, chunk, chunk % 2 == 0) == alone);
}

std::vector<double> attended(const Onevision& model, Request r) {
  std::vector<double> masses;
  r.attention = true;
  r.token = [&](const Token& t) { return masses.insert(masses.end(), t.attention.begin(), t.attention.end()), true; };
  Engine engine(model, {});
  engine.submit(std::move(r));
  engine.run();
  return masses;
}

}  // namespace

TEST_CASE(
    "sim device: an answer's bits do not depend on batch, chunk and sharing, in f32 and bf16, dense and experts") {
  for (const bool mixture : {false, true})
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) check_alone_and_together(mixture, dtype, 4, 20, {33});
}

TEST_CASE("sim device: in f32 they are the CPU's") {
  SimDevice device;
  const auto here = engine_model(false, Dtype::f32, cpu(), 16), there = engine_model(false, Dtype::f32, device, 16);
  const Questions questions(*here, 4, 30);
  CHECK(together(*there, questions, 64, true) == together(*here, questions, 512, false));
  const auto masses = attended(*there, questions.all()[2]);  // of two pictures
  CHECK(masses.size() > questions.all()[2].pictures.size());
  CHECK(masses == attended(*here, questions.all()[2]));
}

TEST_CASE(
    "sim device: in bf16 an answer's bits do not depend on the batch or on pieces of prompts over spans of keys") {
  check_alone_and_together(false, Dtype::bf16, 2, 530, {200});
}

TEST_CASE("sim device, longer: an answer's bits over several pages, pieces of prompts and kinds of model" *
          doctest::skip()) {
  for (const bool mixture : {false, true})
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16})
      check_alone_and_together(mixture, dtype, 12, 150, {17, 48, 512});
}
