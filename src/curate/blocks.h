// Work in blocks: how a command is spread over machines, and how it goes on after a kill.
//
// What is to be done falls into numbered blocks, each a function of its number alone, and a block is one durable file
// in OUT.blocks. A run makes those of its share that are missing; whoever finds all of them joins them, in their order.
// So the result is a function of the blocks: shards, threads, processes and kills cannot change it.
//
//   --shard ""       all of it: makes what is missing, joins, and removes the blocks
//   --shard 3/8      makes blocks 2, 10, 18 ... and joins nothing; any number of processes may do so at a time
//   --shard merge    joins what the shards have made; a block that is missing is an error
//
// Beside a block stands BLOCK.sha256, of its files and its name, written behind them: a block whose bytes are others is
// made again, or refused by who only joins. OUT.blocks is locked (base/io/directory_lock.h): a run that joins is alone
// there, shards are there together, and no two make the same block.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/io/directory_lock.h"
#include "store/safetensors.h"

namespace ov {

struct Shard {
  std::int64_t index = 0, count = 1;
  bool makes = true, joins = true;
  static Shard parse(const std::string& text);  // input_error that names the key
};

class Blocks {
 public:
  // `made_from`: digest of all that a block depends on; blocks of other inputs are left alone. `written`: when data of
  // which it tells a part alone were last written (data/raw/records.h); a share's older blocks are made again, and who
  // only joins takes them, since its copy of the data may be younger. `beside`: what the names of further files of a
  // block end in.
  Blocks(const std::string& out, const std::string& made_from, std::int64_t count, std::int64_t written = 0,
         const std::vector<std::string>& beside = {});
  // More blocks of the same run, in the same directory and under the same lock.
  Blocks(const Blocks& run, const std::string& made_from, std::int64_t count);

  // Takes the run's lock, which make() does otherwise: for whoever reads what stands in the directory before it.
  // input_error when another process is at work there.
  void lock(const Shard& shard) const;
  std::int64_t count() const { return count_; }
  std::int64_t written() const { return written_; }
  std::string path(std::int64_t block) const;
  Safetensors open(std::int64_t block) const;  // input_error of a damaged one: how it is made again
  std::string remedy(std::int64_t block) const;
  // Calls make(block) for what is missing of the shard's share; it writes path(block) durably. `what` names the work in
  // a progress bar. True when the caller shall join the blocks now; they are its own until remove(). input_error when
  // another process is at work there.
  // `stands(block)`, if given, is called for each block of the share once it stands, those made before among them.
  bool make(const Shard& shard, const std::string& what, const std::function<void(std::int64_t)>& make,
            const std::function<void(std::int64_t)>& stands = {}) const;
  bool any_stands() const;
  // input_error of a block whose bytes are not those that were written: how it is made again.
  void check(std::int64_t block) const;
  void remove_left(const Shard& shard) const;  // OUT.blocks of a run that is over, where a kill left it
  void remove() const noexcept;                // after the result stands
  void remove_blocks() const noexcept;         // these alone: the run goes on, and keeps its lock

 private:
  std::string digest(std::int64_t block) const;  // "" of one that is not there
  bool sound(std::int64_t block) const;

  const std::string directory_, prefix_;
  const std::int64_t count_, written_ = 0;
  std::vector<std::string> endings_;
  std::shared_ptr<std::unique_ptr<DirectoryLock>> lock_;  // of the run, from its lock() or first make() on
};

}  // namespace ov
