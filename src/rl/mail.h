// Letters between a trainer and the ranks that generate for it: a kind, a number and a text.
//
//   to a generator     weights   version; the text says what the run is of; the values follow in buckets
//                      groups    [{number, rollouts so far, none of a fresh one}] to be written: of a few bytes, but
//                                when a run goes on or another generator was lost, and then a generator has nothing
//                                to say, so that nobody waits for room on both sides
//                      hold      break off, say how far everything is, and wait for weights
//                      stop      the run is over
//   from a generator   finished  number; its rollouts and what they earn
//                      held      how far the others are, and how many tokens were read and written
//                      scoring   number: a verifier is at work, so that one which hangs is known by name
//                      alive     nothing new, now and then
//                      signal    its number: somebody asks the run to stop
#pragma once
#include <cstdint>
#include <string>

#include "comm/communicator.h"

namespace ov::rl {

enum class Kind : std::int64_t { weights, groups, hold, stop, finished, held, scoring, alive, signal };

struct Letter {
  Kind kind = Kind::alive;
  std::int64_t number = 0;
  std::string text = {};
};

inline void post(Communicator& ranks, int to, const Letter& letter) {
  const auto bytes = static_cast<std::int64_t>(letter.text.size());
  ranks.send(Tensor::of(std::vector<std::int64_t>{static_cast<std::int64_t>(letter.kind), letter.number, bytes}, {3}),
             to);
  if (bytes > 0) ranks.send(Tensor::of(std::vector<std::uint8_t>(letter.text.begin(), letter.text.end()), {bytes}), to);
}

inline Letter letter_from(Communicator& ranks, int from) {
  const Tensor head = Tensor::of(std::vector<std::int64_t>(3), {3});
  ranks.recv(head, from);
  const auto h = head.to_vector<std::int64_t>();
  Letter letter{static_cast<Kind>(h[0]), h[1]};
  if (h[2] == 0) return letter;
  const Tensor text = Tensor::of(std::vector<std::uint8_t>(static_cast<std::size_t>(h[2])), {h[2]});
  ranks.recv(text, from);
  const auto bytes = text.to_vector<std::uint8_t>();
  letter.text.assign(bytes.begin(), bytes.end());
  return letter;
}

}  // namespace ov::rl
