// Scorers by numbers worked out by hand; each beside an answer that must not get the same score.
#include "eval/scorers.h"

#include <doctest/doctest.h>

#include "base/error.h"

using namespace ov;

namespace {

double score(const char* scorer, std::string_view prediction, std::string_view answer) {
  return scorer_named(scorer, "test").score(prediction, answer);
}

}  // namespace

TEST_CASE("scorers: normalisation lowers ASCII letters, trims and joins blanks, and leaves other letters alone") {
  CHECK(normalise("  Top\t Left \n RED  ") == "top left red");
  CHECK(normalise("红色 Ä") == "红色 Ä");
  CHECK(normalise(" \t\n") == "");
}

TEST_CASE("scorers: exact forgives case and blanks and nothing else") {
  CHECK(score("exact", " Red\n", "red") == 1);
  CHECK(score("exact", "L A S O", "l a  s o") == 1);
  CHECK(score("exact", "red .", "red") == 0);
  CHECK(score("exact", "LASO", "L A S O") == 0);
  CHECK(score("exact", "", "red") == 0);
}

TEST_CASE("scorers: numbers are equal by value, and words are no numbers") {
  CHECK(score("number", "07", "7") == 1);
  CHECK(score("number", "7.0", " 7 ") == 1);
  CHECK(score("number", "-3", "-3.00") == 1);
  CHECK(score("number", "7.01", "7") == 0);
  for (const char* no : {"seven", "7 apples", "", "7 7", "0x7", "inf", "nan", "-"})
    CHECK(score("number", no, "7") == 0);
}

TEST_CASE("scorers: boxes count from an intersection over union of exactly one half") {
  CHECK(score("iou", "0 , 0 , 2 , 2", "0 , 0 , 2 , 2") == 1);
  CHECK(score("iou", "0,0,2,2", "0 , 0 , 2 , 1") == 1);        // 2 of 4
  CHECK(score("iou", "0 , 0 , 3 , 3", "0 , 0 , 2 , 2") == 0);  // 4 of 9
  CHECK(score("iou", "0 , 0 , 4 , 2", "1 , 0 , 5 , 2") == 1);  // 6 of 10
  CHECK(score("iou", "0 , 0 , 4 , 4", "2 , 0 , 6 , 4") == 0);  // 8 of 24
  CHECK(score("iou", "5 , 5 , 6 , 6", "0 , 0 , 2 , 2") == 0);  // apart: a product of two negatives is no area
  CHECK(score("iou", "2 , 2 , 0 , 0", "0 , 0 , 2 , 2") == 0);  // corners the wrong way round
  CHECK(score("iou", "0 , 0 , 2", "0 , 0 , 2 , 2") == 0);
  CHECK(score("iou", "0 , 0 , 2 , 2 , 2", "0 , 0 , 2 , 2") == 0);
  CHECK(score("iou", "0 , 0 , x , 2", "0 , 0 , 2 , 2") == 0);
}

TEST_CASE("scorers: phrases are matched whole and as often as they are true") {
  const char* truth = "top left large red circle , bottom right small green ring";
  CHECK(score("phrase_f1", "bottom right small  green ring , TOP left large red circle", truth) == 1);
  CHECK(score("phrase_f1", "top left large red circle", truth) == doctest::Approx(2.0 / 3));
  CHECK(score("phrase_f1", "top left large red circle , top left large red circle", truth) == doctest::Approx(0.5));
  CHECK(score("phrase_f1", "top left large red ring , bottom right small green circle", truth) == 0);  // swapped words
  CHECK(score("phrase_f1", "a , b , c", "b , c , d , e") == doctest::Approx(4.0 / 7));
  CHECK(score("phrase_f1", "", truth) == 0);
  CHECK(score("phrase_f1", " , , ", truth) == 0);
}

TEST_CASE("scorers: an answer block counts by what the last one holds, whatever was thought before") {
  const char* truth = "<think>B = 7 , X = 7 - 2 = 5</think><answer>5</answer>";
  CHECK(score("answer_block", "<think>B = 9 , X = 9 - 4 = 5</think><answer> 5</answer>", truth) == 1);
  CHECK(score("answer_block", "<answer>7</answer> no : <answer>5</answer>", truth) == 1);
  CHECK(score("answer_block", "<answer>5</answer> no : <answer>7</answer>", truth) == 0);
  for (const char* broken : {"5", "", "<answer>5", "5</answer>", "</answer>5<answer>", "<answer></answer>"})
    CHECK_MESSAGE(score("answer_block", broken, truth) == 0, broken);
}

TEST_CASE("scorers: an answer that its scorer could never reach is known beforehand") {
  CHECK(scorer_named("iou", "test").takes("1 , 1 , 2 , 3"));
  CHECK(!scorer_named("iou", "test").takes("1 , 1 , 1 , 3"));
  CHECK(!scorer_named("number", "test").takes("red"));
  CHECK(!scorer_named("exact", "test").takes("  "));
  CHECK(!scorer_named("phrase_f1", "test").takes(" , "));
  CHECK(scorer_named("answer_block", "test").takes("<answer>red</answer>"));
  CHECK(!scorer_named("answer_block", "test").takes("red"));
  CHECK(!scorer_named("answer_block", "test").takes("<answer> </answer>"));
  for (const Scorer& s : scorers())
    for (const char* answer : {"red", "7", "1 , 1 , 2 , 3"})
      if (s.takes(answer)) CHECK(s.score(answer, answer) == 1);
}

TEST_CASE("scorers: an unknown name is refused with the nearest one") {
  CHECK_THROWS_WITH_AS(scorer_named("exakt", "eval.json"), "eval.json: unknown scorer 'exakt'; did you mean 'exact'?",
                       Error);
}
