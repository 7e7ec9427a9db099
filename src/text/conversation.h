// A conversation as training sees it: ids, and which of them are to be learnt.
//
// Layout (the original trainer's multi-turn form; ids are put together from separately encoded pieces, so that a
// label is always the id at its own position, whatever an answer begins with):
//
//   <|im_start|>system\n{system}<|im_end|>\n
//   <|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n  {answer}<|im_end|>      first turn
//   \n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n  {answer}<|im_end|>    each later turn
//
// Labelled are the tokens of every answer and the <|im_end|> that closes it, nothing else: not the line end between
// turns, and there is none at the end. A single turn has the text of render_chat without its last line end.
//
// `<image>` in a question stands for the next picture: <|vision_start|>, its image tokens, <|vision_end|>. Only the
// tag is replaced; a line end beside it stays. In an answer or a system prompt `<image>` is ordinary text.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace ov {

inline constexpr std::int64_t ignored_label = -100;  // of a position that is not learnt
inline constexpr const char* image_tag = "<image>";

struct Turn {
  std::string role;  // system, user, assistant
  std::string text;
};

// labels[t] is ids[t] where position t is to be predicted (from what stands before it), ignored_label elsewhere.
struct Encoded {
  std::vector<std::int64_t> ids, labels;
};

// What data that spells an added token ("<|im_end|>" in somebody's question) means.
enum class LiteralTokens {
  as_tokens,  // the token itself, as the original does: data can end a turn or open another
  as_text     // its letters, encoded like any text: data cannot forge structure
};

struct ConversationOptions {
  LiteralTokens literal_tokens = LiteralTokens::as_tokens;
};

// Turns: an optional system first, then user and assistant in turn, an assistant last; one answer before the first
// question is left out. image_tokens[i] is the number of image tokens of picture i, in order of the tags. Throws
// input_error on any other order of roles, on a number of tags other than of pictures, and when an <|image_pad|> that
// data spells out would stand among the real ones.
Encoded encode_conversation(const Tokenizer& tokenizer, std::span<const Turn> turns,
                            std::span<const std::int64_t> image_tokens, ConversationOptions options = {});

// Several questions on one picture: each turn becomes a conversation of its own that shows the same pictures, and
// what they have in common is encoded once.
//
//   prefix       the system turn, and the first user turn up to its last <|vision_end|>; without pictures, up to the
//                user turn's <|im_start|>
//   branches[k]  what turn k's conversation has after the prefix; prefix + branches[k] is, id for id and label for
//                label, encode_conversation of single_turns(turns)[k]
//
// The prefix carries no labels.
struct Branched {
  std::vector<std::int64_t> prefix;
  std::vector<Encoded> branches;
};

// The conversations: system, the first question's text up to its last tag, then this turn's question, and its
// answer. A line end right behind that tag belongs to the picture and is repeated. Throws input_error when a later
// turn has a tag.
std::vector<std::vector<Turn>> single_turns(std::span<const Turn> turns);

Branched encode_branches(const Tokenizer& tokenizer, std::span<const Turn> turns,
                         std::span<const std::int64_t> image_tokens, ConversationOptions options = {});

}  // namespace ov
