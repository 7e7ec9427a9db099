// Rules for what must not be learnt (data/instruct/safety.json): refusals, personal data, markup that forges turns,
// words of harm. The audit log says which rule found something and where, and never what: it must not keep what is
// taken out.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "instruct/record.h"

namespace ov::instruct {

class SafetyRules {
 public:
  // Throws input_error that names the rule: a pattern that cannot be compiled or matches "", an
  // unknown check or action.
  static SafetyRules read(const std::string& path);
  // Throws Refused: "refusal", or the name of a rule that rejects. Masks are noted.
  void apply(Record& r, Notes& notes) const;
  std::string refusal_in(const std::string& answer) const;  // how it begins, of the list; "": it refuses nothing

 private:
  struct Rule;
  std::vector<std::string> refusals_;
  std::vector<std::shared_ptr<const Rule>> rules_;
};

// Check digits, of text with blanks and hyphens in it.
bool passes_luhn(const std::string& number);     // ISO/IEC 7812-1, annex B
bool passes_iban(const std::string& account);    // ISO 13616 with ISO/IEC 7064, modulus 97-10
bool passes_gb11643(const std::string& number);  // GB 11643-1999 with ISO/IEC 7064, modulus 11-2

}  // namespace ov::instruct
