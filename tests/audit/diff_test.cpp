#include "audit/diff.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "base/io/file.h"
#include "tests/base/scratch.h"

using namespace ov;

namespace {

NamedTensor named(const std::string& name, const std::vector<float>& values) {
  return {name, Tensor::of(values, {static_cast<std::int64_t>(values.size())})};
}

}  // namespace

TEST_CASE("diff: the bound is a share of a tensor's largest element, but at least 1e-6 of its class's") {
  const std::vector<NamedTensor> b = {named("grad.big", {1000, 1}), named("grad.zero", {1e-12f, 0}),
                                      named("act.x", {2, 0.001f})};
  const auto with = [&](float big, float zero, float x) {
    return compare_tensors(
        {named("grad.big", {1000 + big, 1}), named("grad.zero", {1e-12f + zero, 0}), named("act.x", {2, 0.001f + x})},
        b, {}, 1e-3);
  };
  CHECK(with(0, 0, 0).within());
  CHECK(with(0.99f, 0, 0).within());
  CHECK_FALSE(with(1.01f, 0, 0).within());
  CHECK(with(0, 0.9e-6f, 0).within());  // the class's largest is 1000: 1e-6 of it, times 1e-3
  CHECK_FALSE(with(0, 1.1e-6f, 0).within());
  CHECK(with(0, 0, 0.0019f).within());
  CHECK_FALSE(with(0, 0, 0.0021f).within());
}

TEST_CASE("diff: missing and misshapen tensors fail, extra ones are listed, NaN equals only NaN") {
  const std::vector<NamedTensor> b = {named("act.a", {1, 2}), named("act.b", {1}), named("act.c", {NAN})};
  const TraceDifference d =
      compare_tensors({named("act.a", {1}), named("act.c", {NAN}), named("act.extra", {5})}, b, {}, 1e-5);
  REQUIRE(d.compared.size() == 3);
  CHECK(d.compared[0].misshapen);
  CHECK(d.compared[1].missing);
  CHECK(d.compared[2].within);
  CHECK(d.extra == std::vector<std::string>{"act.extra"});
  CHECK(d.worst("act.") == INFINITY);
  CHECK_FALSE(compare_tensors({named("act.c", {1})}, {named("act.c", {NAN})}, {}, 1e-5).within());
  CHECK_FALSE(compare_tensors({named("act.c", {NAN})}, {named("act.c", {1})}, {}, 1e-5).within());
}

TEST_CASE("diff: infinities and NaN are never within, and hide nothing: not in their tensor, not in their class") {
  const auto one = [](const std::vector<float>& a, const std::vector<float>& b, double rtol = 1e-3) {
    return compare_tensors({named("act.x", a)}, {named("act.x", b)}, {}, rtol).compared[0];
  };
  const float inf = INFINITY;
  CHECK(one({inf, 1}, {inf, 1}).within);
  CHECK(one({-inf, NAN}, {-inf, NAN}).within);
  CHECK(one({inf, 1.0009f}, {inf, 1}).within);
  CHECK(one({-inf, 1}, {-inf, 1}, 0).relative == 0);
  const TensorDifference small = one({inf, 5}, {inf, 4});  // the twin of the infinity is no excuse
  CHECK(!small.within);
  CHECK(small.element == 1);
  CHECK(small.absolute == 1);
  CHECK(small.relative == 0.25);
  for (const auto& [a, b] : {std::pair{inf, 1.0f},
                             {1.0f, inf},
                             {-inf, inf},
                             {inf, -inf},
                             {NAN, 1.0f},
                             {1.0f, NAN},
                             {NAN, inf},
                             {inf, NAN},
                             {-inf, 0.0f}}) {
    for (const double rtol : {0.0, 1e-3, 1e300, static_cast<double>(inf)}) {
      const TensorDifference d = one({7, 2, a, 9}, {8, 2, b, 9}, rtol);
      CHECK(!d.within);
      CHECK(d.element == 2);
      CHECK(d.absolute == inf);
      CHECK(d.relative == inf);
      CHECK(d.ulps == inf);
    }
  }
  // One of the class does not widen the others' bound, nor does it stop the class from having one.
  const std::vector<NamedTensor> b = {named("act.inf", {inf, 1000}), named("act.nan", {NAN}), named("act.x", {1e-12f})};
  const auto with = [&](float x) {
    return compare_tensors({named("act.inf", {inf, 1000}), named("act.nan", {NAN}), named("act.x", {x})}, b, {}, 1e-3);
  };
  CHECK(with(0.9e-6f).within());
  CHECK(!with(1.1e-6f).within());
  CHECK(with(1.1e-6f).first()->name == "act.x");
  CHECK(with(5).worst("act.") == doctest::Approx(5 / 1e-3));
  CHECK(compare_tensors({named("act.x", {inf})}, {named("act.x", {1})}, {}, 1e-3).worst("act") == inf);
}

TEST_CASE("diff: the report names the element and the worst of a class, infinite or not") {
  const ScratchDirectory d;
  write_safetensors(d / "a", {named("act.x", {1, INFINITY}), named("grad.y", {3, 4})});
  write_safetensors(d / "b", {named("act.x", {1, 2}), named("grad.y", {3, 5})});
  std::string report;
  CHECK(!diff_files(d / "a", d / "b", 1e-5, report));
  CHECK(report.find("differs   act.x element 1: inf against 2, inf relative, inf ulps") != report.npos);
  CHECK(report.find("worst act inf\n") != report.npos);
  CHECK(report.find("worst grad 0.2\n") != report.npos);
  CHECK(report.find("2 tensors compared, 2 not within 1e-05; first: act.x\n") != report.npos);
}

TEST_CASE(
    "diff: files are walked in B's order of execution, else A's; dtypes may differ; other tensors are left alone") {
  const ScratchDirectory d;
  const std::string a = d.path() + "/a.safetensors", b = d.path() + "/b.safetensors";
  write_safetensors(a, {named("act.first", {1}), named("act.second", {2}), named("logits", {3})},
                    {{"order", "act.second\nact.first\nlogits\n"}});
  write_safetensors(b, {{"act.first", Tensor::of<double>({1.5}, {1})},
                        {"act.second", Tensor::of<double>({2.5}, {1})},
                        named("pixel_values", {9})});
  CHECK(diff_traces(a, b, 1e-5).first()->name == "act.second");
  write_safetensors(b, {named("act.first", {1.5}), named("act.second", {2.5})}, {{"order", "act.first\nact.second\n"}});
  CHECK(diff_traces(a, b, 1e-5).first()->name == "act.first");
  CHECK(diff_traces(a, b, 1e-5).extra == std::vector<std::string>{"logits"});
  std::string report;
  CHECK_FALSE(diff_files(a, b, 1e-5, report));
  CHECK(report.find("differs   act.first element 0: 1 against 1.5") != report.npos);
  CHECK(diff_files(a, a, 0, report));
  write_safetensors(b, {named("pixel_values", {9})});
  CHECK_THROWS_AS(diff_files(a, b, 1e-5, report), Error);
}

TEST_CASE("diff: of two runs the first step and sum that differ are named; a step logged twice counts as it was last") {
  const ScratchDirectory d;
  const std::string a = d.path() + "/a.jsonl", b = d.path() + "/b.jsonl";
  const auto line = [](int step, const char* loss, const char* parameters) {
    return cat("{\"type\":\"step\",\"step\":", step, ",\"checksums\":{\"loss\":\"", loss, "\",\"parameters\":\"",
               parameters, "\"}}\n");
  };
  write_durably(a, line(1, "x", "y") + line(2, "x", "wrong") + line(2, "x", "y") + line(3, "x", "y"));
  write_durably(b, line(1, "x", "y") + line(2, "x", "y") + line(3, "x", "z") + line(4, "q", "q"));
  const RunDifference r = diff_runs(a, b);
  CHECK(r.compared == 6);
  CHECK(r.first == "step 3: parameters");
  CHECK(diff_runs(a, a).first.empty());
  CHECK(r.apart.empty());
  write_durably(b, line(9, "x", "y"));
  CHECK_THROWS_AS(diff_runs(a, b), Error);
}

TEST_CASE("diff: of two runs that differ, how far apart their numbers come and where; a directory stands for its run") {
  const ScratchDirectory d;
  std::filesystem::create_directory(d / "a"), std::filesystem::create_directory(d / "b");
  const auto line = [](int step, double loss, double norm) {
    return cat("{\"type\":\"step\",\"step\":", step, ",\"loss\":", loss, ",\"lr\":0.1,\"gradient_norm\":", norm,
               ",\"checksums\":{\"loss\":\"", loss, "\"}}\n");
  };
  write_durably(d / "a/run.jsonl", line(1, 4, 2) + line(2, 4.5, 2) + line(3, 8.25, 3));
  write_durably(d / "b/run.jsonl", line(1, 4, 2) + line(2, 4, 2) + line(3, 8, 2) + line(4, 1, 9));
  std::string report;
  CHECK_FALSE(diff_files(d / "a", d / "b", 1, report));
  CHECK(report ==
        "3 checksums compared: first difference at step 2: loss\n"
        "  loss: at most 0.125 of B's, in step 2: 4.5 against 4; first in step 2\n"
        "  gradient_norm: at most 0.5 of B's, in step 3: 3 against 2; first in step 3\n");
  CHECK(diff_files(d / "a", d / "a/run.jsonl", 0, report));
  CHECK(report == "3 checksums compared: all equal\n");
  std::filesystem::remove(d / "b/run.jsonl");
  CHECK_THROWS_WITH_AS(
      diff_files(d / "a", d / "b", 0, report),
      (d / "b: a directory without run.jsonl; expected a run's, or a file that trace wrote (two models: "
           "checkpoint diff)")
          .c_str(),
      Error);
}
