// One leaf against this rank's blocks of the class tables: a part of a turn (train/objectives/class_turn.h).
//
//   construction   r_s -> logits of own blocks, draw by draw, on a tape
//   join           what all blocks say of the rows -> their loss, and which labels hit
//   backward       dz of own blocks -> gradients of own classes, and what this rank adds to that of r_s
#pragma once
#include "train/objectives/class_turn.h"

namespace ov {

class LeafOfTurn {
 public:
  using Ids = std::vector<std::int64_t>;
  // directions [R,D] of the leaf, which is this rank's `own` or another's. `held`: the blocks of this rank, by table,
  // their gradients in `gradients`. What is multiplied counts on `tape`.
  LeafOfTurn(const ClassTurn& turn, std::int64_t leaf, bool own, const Tensor& directions, std::vector<Parameter>& held,
             const Tensor& gradients, Tape& tape);

  void join();
  Tensor above() const { return above_; }  // by label, how many classes of this rank lie above it
  void backward();
  Tensor directions_gradient(std::size_t table) const;  // what this rank adds
  void report_hits(const Ids& above) const;             // of all ranks

 private:
  // A class that is positive for a row; each once.
  struct Label {
    std::int64_t row, block, column, wanted;  // column: among the block's drawn classes; wanted: it hits below so many
  };

  // One draw of one leaf, against the blocks of this rank.
  struct Draw {
    struct Part {
      std::int64_t block, classes;  // that are drawn of it
      Var cos = {}, z = {};         // [R, classes]; null where none is
      Tensor roles = {};
      Ids target = {};  // by row, the label's column; -1: of another block
    };
    std::size_t table, number;
    ClassBlocks blocks;
    std::vector<const LabelledRow*> rows = {};
    std::vector<Label> labels = {};
    Ids owner = {};                 // by row, the first label's block
    Tensor weights = {}, lse = {};  // lse: of all blocks
    double denominator = 0;
    std::vector<Part> parts = {};
    std::int64_t R() const { return static_cast<std::int64_t>(rows.size()); }
  };
  void record(std::size_t table, std::size_t number, const ClassBlocks& blocks, Range here, std::size_t held);
  Tensor said() const;
  Device& device() const { return tape_.gradients().device(); }
  Dtype wide() const { return tape_.gradients().dtype(); }
  bool softmax(const Draw& d) const { return turn_.tables[d.table].options->softmax; }

  const ClassTurn& turn_;
  std::size_t leaf_;
  bool own_;
  std::vector<Parameter>& held_;
  Tape head_;
  Tape& tape_;
  std::vector<std::vector<Var>> inputs_;  // by table, by own block
  std::vector<Draw> draws_;
  Tensor above_;
};

}  // namespace ov
