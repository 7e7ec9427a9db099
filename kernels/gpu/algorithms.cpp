#include "kernels/gpu/algorithms.h"

#include <iterator>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"

namespace ov::gpu {
namespace {

constexpr const char* decides[] = {"compute_capability", "multiprocessors", "cublaslt"};
constexpr std::size_t words = sizeof(lt::Algo::data) / sizeof(std::uint64_t), digits = 16;  // of 64 bits each

std::string hex(const lt::Algo& algo) {
  std::string text;
  for (const std::uint64_t word : algo.data) text += hex16(word);
  return text;
}

lt::Algo algorithm_of(const std::string& text, const std::string& where) {
  if (text.size() != words * digits || text.find_first_not_of("0123456789abcdef") != std::string::npos)
    input_error(where, ": expected ", words * digits, " hexadecimal digits");
  lt::Algo algo{};
  for (std::size_t i = 0; i < words; ++i) algo.data[i] = std::stoull(text.substr(i * digits, digits), nullptr, 16);
  return algo;
}

}  // namespace

std::string algorithms_text(const About& about, const Algorithms& algorithms) {
  Json of = Json::object(), chosen = Json::object();
  for (const auto& [name, value] : about) of.set(name, value);
  for (const auto& [product, algo] : algorithms) chosen.set(product, hex(algo));
  return Json::object({{"about", of}, {"algorithms", chosen}}).dump(1) + "\n";
}

KeptAlgorithms kept_algorithms(const std::string& text, const std::string& from, const About& about) {
  const Json file = Json::parse(text, from);
  KeptAlgorithms kept;
  try {
    for (const char* name : decides) {
      std::string here;
      for (const auto& [known, value] : about)
        if (known == name) here = value;
      const std::string there = file.at("about").at(name).as_string();
      if (there != here) kept.differs += cat(kept.differs.empty() ? "" : ", ", name, " was ", there, " and is ", here);
    }
    for (const auto& [product, algo] : file.at("algorithms").members())
      kept.algorithms[product] = algorithm_of(algo.as_string(), product);
  } catch (const Error& e) { input_error(from, ": ", e.what()); }
  if (!kept.differs.empty()) kept.algorithms.clear();
  return kept;
}

}  // namespace ov::gpu
