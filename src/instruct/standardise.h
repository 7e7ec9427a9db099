// Whatever layout a record came in, as one record of instruct/record.h; and the checks that any record must pass.
//
// The layouts that the released set is known to mix, and what becomes of each:
//   role and content; from and value; all four keys, half of them null          the same messages
//   keys beside them, as markdown and text                                      left out
//   data_source in the record or in its turns                                   meta.data_source
//   id as a number, or none                                                     meta.id
//   <image> in the first question, or nowhere                                   one tag a picture, in front
//   a set in parts, one of them misspelt twice, one missing                     one source (instruct/manifest.h)
// A set's captions, Alpaca's instruction, input and output, and tar shards and Parquet come the same way.
#pragma once
#include "data/raw/conversations.h"
#include "instruct/manifest.h"
#include "instruct/record.h"

namespace ov::instruct {

// `number`: of the record in its source. Throws Refused: roles out of order, an empty turn or answer, another number of
// <image> than of pictures.
Record standardise(Conversation c, const SourceEntry& source, std::int64_t number, Notes& notes);

}  // namespace ov::instruct
