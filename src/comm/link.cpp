#include "comm/link.h"

#include <algorithm>
#include <cstring>

#include "comm/communicator.h"

namespace ov {
namespace {

enum class Kind : std::uint32_t { data = 1, credit, state, left, expendable, lost, ended, failure, farewell, heard };
constexpr std::size_t most_data = std::size_t{64} << 10;      // in a frame
constexpr std::size_t most_waiting = std::size_t{256} << 10;  // of bytes to be sent

std::size_t at(int i) { return static_cast<std::size_t>(i); }

}  // namespace

struct Link::Frame {
  Kind kind;
  std::uint32_t bytes = 0;  // behind this
  std::int32_t from = -1, to = -1;
  std::int64_t value = 0;
};

Link::Link(const SharedRegion& region, int ranks, const std::vector<int>& here, std::vector<int> there)
    : region_(region),
      ranks_(ranks),
      here_(here),
      there_(std::move(there)),
      place_here_(at(ranks), -1),
      pairs_of_(at(ranks), -1),
      bells_(there_.size()),
      told_(at(ranks)) {
  for (std::size_t i = 0; i < here_.size(); ++i) place_here_[at(here_[i])] = static_cast<int>(i);
  for (const int t : there_) {
    pairs_of_[at(t)] = static_cast<int>(pairs_.size());
    for (const int h : here_) pairs_.push_back({.here = h, .there = t});
  }
}

Link::Pair& Link::pair(int here, int there) { return pairs_[at(pairs_of_[at(there)] + place_here_[at(here)])]; }

void Link::put(const Frame& frame, const void* payload) {
  const auto* head = reinterpret_cast<const std::byte*>(&frame);
  out_.insert(out_.end(), head, head + sizeof frame);
  const auto* body = static_cast<const std::byte*>(payload);
  if (body) out_.insert(out_.end(), body, body + frame.bytes);
}

void Link::sent(std::size_t bytes) {
  sent_ += bytes;
  if (sent_ == out_.size()) out_.clear(), sent_ = 0;
  else if (sent_ >= most_waiting)
    out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(sent_)), sent_ = 0;
}

void Link::say_farewell() {
  if (!said_farewell_) put({.kind = Kind::farewell});
  said_farewell_ = true;
}

void Link::tell_states(bool calls) {
  if (const SharedRegion::Failure f = region_.failure(); f.rank >= 0 && !failed_) {
    failed_ = true;
    put({.kind = Kind::failure,
         .bytes = static_cast<std::uint32_t>(f.text.size()),
         .from = f.rank,
         .to = f.speaker,
         .value = static_cast<int>(f.exit)},
        f.text.data());
  }
  if (is_here(0))
    for (int r = 1; r < ranks_; ++r)
      if (Told& told = told_[at(r)]; !told.expendable && region_.state(r).expendable.load())
        told.expendable = 1, put({.kind = Kind::expendable, .from = r});
  for (const int r : here_) {
    const RankState& s = region_.state(r);
    Told& told = told_[at(r)];
    const std::uint32_t call = s.call.load();
    const std::int64_t step = s.step.load();
    const bool leaves = s.left.load() && !told.left;
    if ((calls || leaves) && (call != told.call || step != told.step)) {
      told.call = call, told.step = step;
      put({.kind = Kind::state, .from = r, .to = static_cast<std::int32_t>(call), .value = step});
    }
    if (leaves) told.left = 1, put({.kind = Kind::left, .from = r});
    if (s.lost.load() && !told.lost) told.lost = 1, put({.kind = Kind::lost, .from = r});
  }
}

void Link::fill(bool states) {
  if (said_farewell_) return;
  for (std::size_t t = 0; t < there_.size(); ++t) {
    const std::uint32_t bell = region_.bell(there_[t]);
    if (bell == bells_[t]) continue;
    bells_[t] = bell;
    for (const int h : here_) pair(h, there_[t]).look = true;
  }
  for (Pair& p : pairs_)
    if (p.look) p.waiting = region_.available(p.here, p.there);
  tell_states(states);
  for (std::size_t i = 0; i < pairs_.size() && out_.size() - sent_ < most_waiting; ++i) {
    Pair& p = pairs_[(turn_ + i) % pairs_.size()];
    if (!p.look) continue;
    p.look = false;
    // A quarter of the ring at a time: what is not said yet leaves room for three.
    const std::uint64_t read = region_.read_so_far(p.there, p.here);
    if (read - p.credited >= region_.capacity() / 4) {
      p.credited = read;
      put({.kind = Kind::credit, .from = p.there, .to = p.here, .value = static_cast<std::int64_t>(read)});
    }
    const std::size_t room = region_.capacity() - static_cast<std::size_t>(p.sent - p.read_there);
    std::byte bytes[most_data];
    // The ring hands out at most a quarter of itself.
    if (const std::size_t n = std::min({p.waiting, room, most_data, region_.capacity() / 4}); n > 0) {
      region_.read(p.here, p.there, {bytes, n});
      put({.kind = Kind::data, .bytes = static_cast<std::uint32_t>(n), .from = p.here, .to = p.there}, bytes);
      p.sent += n, p.waiting -= n;
      p.look = p.waiting > 0 && n < room;  // without room: when the reader has come on
    }
    if (!p.ended && told_[at(p.here)].lost && region_.available(p.here, p.there) == 0) {
      p.ended = true;
      put({.kind = Kind::ended, .from = p.here, .to = p.there});
    }
  }
  if (!pairs_.empty()) turn_ = (turn_ + 1) % pairs_.size();
}

bool Link::drained() const {
  for (const Pair& p : pairs_) {
    const RankState& reader = region_.state(p.there);
    if (reader.left.load() || reader.lost.load()) continue;
    if (region_.available(p.here, p.there) > 0 || (region_.state(p.here).lost.load() && !p.ended)) return false;
  }
  return true;
}

void Link::take(std::span<const std::byte> bytes) {
  in_.insert(in_.end(), bytes.begin(), bytes.end());
  std::size_t begin = 0;
  for (Frame f{}; in_.size() - begin >= sizeof f;) {
    std::memcpy(&f, in_.data() + begin, sizeof f);
    check(f.bytes <= (f.kind == Kind::data ? most_data : f.kind == Kind::failure ? longest_message : 0), f);
    if (in_.size() - begin < sizeof f + f.bytes) break;
    apply(f, std::span(in_).subspan(begin + sizeof f, f.bytes));
    begin += sizeof f + f.bytes;
  }
  in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(begin));
}

void Link::check(bool holds, const Frame& f) const {
  if (!holds)
    machine_error("rank ", here_[0], ": from the machine of rank ", there_[0], " came what is no message (kind ",
                  static_cast<std::uint32_t>(f.kind), ", ", f.bytes, " bytes, ", f.from, " to ", f.to, ", ", f.value,
                  ")");
}

void Link::apply(const Frame& f, std::span<const std::byte> payload) {
  const auto of = [&](bool known) -> RankState& {
    check(known && f.from >= 0 && f.from < ranks_, f);
    return region_.state(f.from);
  };
  switch (f.kind) {
    case Kind::data: {
      check(is_there(f.from) && is_here(f.to) && region_.has_room(f.from, f.to, payload.size()), f);
      while (!payload.empty()) payload = payload.subspan(region_.write(f.from, f.to, payload));
      return;
    }
    case Kind::credit: {
      check(is_here(f.from) && is_there(f.to), f);
      Pair& p = pair(f.from, f.to);
      const auto read = static_cast<std::uint64_t>(f.value);
      check(read >= p.read_there && read <= p.sent, f);
      p.read_there = read, p.look = true, p.waiting = 0;
      return;
    }
    case Kind::state: {
      RankState& s = of(is_there(f.from) && f.to >= 0 && f.to <= static_cast<int>(Call::alone));
      s.call.store(static_cast<std::uint32_t>(f.to)), s.step.store(f.value);
      return;
    }
    case Kind::left: return of(is_there(f.from)).left.store(1);
    case Kind::expendable: return of(is_there(0) && f.from > 0).expendable.store(1);
    case Kind::lost: of(is_there(f.from)); return region_.lose(f.from);
    case Kind::ended:
      check(is_there(f.from) && is_here(f.to) && region_.state(f.from).lost.load(), f);
      return region_.end(f.from, f.to);
    case Kind::failure: {
      check(f.to >= 0 && f.to < ranks_ && f.value > 0 && f.value < 256, f);
      of(true);
      const std::string text(reinterpret_cast<const char*>(payload.data()), payload.size());
      region_.fail(f.from, f.to, static_cast<Exit>(f.value), text);
      return;
    }
    case Kind::farewell:
      farewell_ = true;
      put({.kind = Kind::heard});
      return;
    case Kind::heard: heard_ = true; return;
  }
  check(false, f);
}

}  // namespace ov
