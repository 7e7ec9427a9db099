// What happens to text before byte-pair merging in Qwen2's tokenizer: NFC, then a split into words that merges never
// cross (the form of Transformers' Qwen2 tokenizer files). The split is the leftmost match of the first of
//
//   1  (?i:'s|'t|'re|'ve|'m|'ll|'d)        a contraction; U+017F folds to s
//   2  [^\r\n\p{L}\p{N}]?\p{L}+            letters, with one leading character that is no letter, number or line end
//   3  \p{N}                               ONE number character
//   4   ?[^\s\p{L}\p{N}]+[\r\n]*           symbols, with one leading blank and the line ends that follow
//   5  \s*[\r\n]+                          white space up to its last line end
//   6  \s+(?!\S)                           white space, all but the last character when something follows
//   7  \s+
//
// read here by a scanner; no regular expression engine is involved. Every character belongs to exactly one word.
// Classes: libutf8proc's categories, completed to Unicode 16 by the ranges in pretokenize.cpp; \s is White_Space.
#pragma once
#include <string>
#include <string_view>

namespace ov {

// The pattern as tokenizer.json spells it. A file with another pattern is refused, since this scanner reads only
// this one.
extern const char* const qwen2_pattern;

// Unicode normalisation form C. `text` is valid UTF-8 (valid_utf8).
std::string nfc(std::string_view text);

// True when a code point can neither change nor combine under NFC, whatever stands around it (a fast path, not
// exhaustive).
bool nfc_inert(char32_t code_point);

// One past the last byte of the word that starts at `begin` < text.size(). `text` is valid UTF-8.
std::size_t word_end(std::string_view text, std::size_t begin);

bool is_letter(char32_t);       // \p{L}
bool is_number(char32_t);       // \p{N}
bool is_white_space(char32_t);  // \s

}  // namespace ov
