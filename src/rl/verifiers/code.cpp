// general-code: every test's output must equal what solution(input) prints. The code is the policy's: it is not run.
// What can be told without running it is told as the original tells it; the rest is refused by name.
#include "rl/verifiers/verifier.h"
#include "text/pattern.h"

namespace ov::rl {

Verdict verify_code(const Text& completion, const Gold& gold) {
  static const Pattern closed(R"(```python(?:\r?\n)?(.*?)```)", true), open(R"(```python(?:\r?\n)?(.*)$)", true);
  const auto s = last_answer(completion);
  if (!s) return {};
  Verdict v{.extracted = Text(trim(*s))};
  if (auto m = closed.search(v.extracted); m || (m = open.search(v.extracted))) v.extracted = Text(trim(*m->groups[1]));

  const Json* tests = nullptr;
  Json answer;
  try {
    answer = Json::parse(python::utf8(gold.one()), "answer");
    tests = answer.is_object() ? answer.find("tests") : nullptr;
  } catch (const std::exception&) { return v; }  // not JSON, or a list: 0
  if (!tests || !tests->is_array()) return v;
  if (tests->size() == 0) {
    v.reward = 1;
    return v;
  }
  // What touches files or processes is turned down unread.
  static const std::vector<Text> forbidden = {U"os.remove",  U"os.unlink", U"os.rmdir", U"os.rename", U"os.replace",
                                              U"shutil.",    U"pathlib",   U"path.",    U"open(",     U"os.system",
                                              U"subprocess", U"fopen(",    U"rm -",     U"rmtree",    U".unlink(",
                                              U".rmdir(",    U".rename("};
  const Text code = lower(v.extracted);
  for (const Text& word : forbidden)
    if (has(code, word)) return v;
  throw Raised("general-code: code that a model wrote is not run");
}

}  // namespace ov::rl
