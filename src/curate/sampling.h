// Concept balance (LLaVA-OneVision-1.5, 3.1, after MetaCLIP): how many pictures have a concept, what a picture weighs,
// and which are drawn.
//
//   f_c = |{i : c in C(i)}|                 C(i): the concepts of picture i, its nearest
//   w_i = Σ_{c in C(i)} 1 / f_c             sum; or the mean or the largest of the terms
//   π_i = min(1, λ w_i)                     λ such that Σ_i π_i = n
//   metaclip: π_i = 1 - Π_{c in C(i)} (1 - min(1, t / f_c)), t such that Σ_i π_i = n
//
// Of the sum, Σ_i w_i is the number of concepts that any picture has: each gives f_c / f_c. The paper says neither k
// nor how terms are joined nor whether pictures may be drawn twice; the sum is MetaCLIP's rule to first order in
// t / f_c.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace ov {

enum class ConceptWeight { sum, mean, max, metaclip };

// C(i) of every picture, k places each; -1: none.
struct ConceptLists {
  std::int64_t k = 0;
  std::vector<std::int32_t> ids;
  std::int64_t size() const { return k ? static_cast<std::int64_t>(ids.size()) / k : 0; }
  std::span<const std::int32_t> of(std::int64_t i) const { return {ids.data() + i * k, static_cast<std::size_t>(k)}; }
};

std::vector<std::int64_t> concept_counts(const ConceptLists& lists, std::int64_t concepts);

// w_i, 0 for a picture without concepts; of metaclip the sum. Every concept in a list has a count.
std::vector<double> concept_weights(const ConceptLists& lists, const std::vector<std::int64_t>& counts,
                                    ConceptWeight how);

// The same of one picture.
double concept_weight(std::span<const std::int32_t> list, const std::vector<std::int64_t>& counts, ConceptWeight how);
double metaclip_probability(std::span<const std::int32_t> list, const std::vector<std::int64_t>& counts, double t);

// Numbers of all pictures, told one by one in the same order each time: so a pool needs no room, whatever its size.
using EachNumber = std::function<void(const std::function<void(double)>&)>;

// λ, to rounding; infinite where no more than n pictures weigh anything: all of them are kept then. Four passes, each
// of which knows 16 bits more of the largest weight that is not kept for certain.
double scale_for(const EachNumber& weights, double n);
double scale_for(const std::vector<double>& weights, double n);
// The n smallest of numbers that are not negative, of equal ones the first: those below `below`, and the first `ties`
// of those that are equal to it. Infinite ones are none of them. Four passes.
struct Smallest {
  double below = 0;
  std::int64_t ties = 0;
};
Smallest smallest(const EachNumber& numbers, std::int64_t n);
// π_i = min(1, λ w_i).
std::vector<double> inclusion(const std::vector<double>& weights, double lambda);
// MetaCLIP's π_i for t, and the t that gives n of them.
std::vector<double> metaclip_inclusion(const ConceptLists& lists, const std::vector<std::int64_t>& counts, double t);
double metaclip_threshold(const ConceptLists& lists, const std::vector<std::int64_t>& counts, double n);
// `expected`: Σ π_i of a t, asked for some sixty of them.
double metaclip_threshold(const std::function<double(double)>& expected, const std::vector<std::int64_t>& counts,
                          double n);

// How often each picture is drawn. Its random number is a function of the seed and its id, so that neither the order of
// the pictures nor what else is in the pool moves it.
double drawn_number(std::uint64_t seed, const std::string& id);  // u_i, uniform in [0,1)
std::vector<std::int32_t> draw_poisson(const std::vector<double>& inclusion, const std::vector<double>& u);
// Exactly n, or all that weigh something: the smallest -ln(1 - u_i) / w_i (Efraimidis and Spirakis 2006).
std::vector<std::int32_t> draw_exact(const std::vector<double>& weights, const std::vector<double>& u, std::int64_t n);
double waiting_time(double weight, double u);  // -ln(1 - u) / w; infinite where nothing weighs
// n draws, each by w_i / Σ w, the same picture as often as it comes.
std::vector<std::int32_t> draw_with_replacement(const std::vector<double>& weights, std::int64_t n, std::uint64_t seed);
// The same in the pictures' order: 8 bytes a draw, whatever the pool's size. `sum`: Σ w, added in that order.
class ReplacementDraws {
 public:
  ReplacementDraws(std::int64_t n, double sum, std::uint64_t seed);
  std::int32_t next(double weight, bool last);  // how often the next picture is drawn

 private:
  std::vector<double> at_;
  std::size_t drawn_ = 0;
  double upto_ = 0;
};

// How unequal counts are, over all concepts: Gini's coefficient, and exp(entropy), as many equal ones would be as even.
struct Evenness {
  double gini = 0, effective = 0;
  std::int64_t covered = 0;  // concepts with a count
};
Evenness evenness(std::vector<std::int64_t> counts);

}  // namespace ov
