// One sample of a webdataset, the members of its key, as a conversation: the layouts that data/raw/webdataset.h lists.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/raw/conversations.h"
#include "store/tar.h"

namespace ov {

// A member's name up to the first dot of its last component, and the part behind it in lower case. The key is "" of a
// member that webdataset and energon pass over: its last component has no dot or begins with one (README, .DS_Store,
// ._a.jpg), or its first is __so__.
std::string_view webdataset_key(std::string_view name);
std::string part_of(std::string_view name);

// The next member that has a key.
bool next_part(TarReader& tar, TarMember* member);

// How many conversations the sample holds when it is a packed one, 0 when it is not, nothing when it has no part "json"
// to tell. `where` names the shard. Throws Rejected (malformed_record).
std::optional<std::size_t> packed_items(const std::vector<TarMember>& parts, const std::string& where);

// The sample, or conversation `item` of a packed one; -1: it is none. Pictures are views into the members' data, and
// `memory` is left to the caller. Throws Rejected.
Conversation webdataset_conversation(const std::vector<TarMember>& parts, std::int64_t item, const std::string& where);

}  // namespace ov
