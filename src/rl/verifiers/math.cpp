#include "rl/verifiers/verifier.h"
namespace ov::rl {
Verdict verify_math(const Text&, const Gold& g) { g.one(); return {}; }
Verdict verify_math_strict(const Text&, const Gold&) { return {}; }
}
