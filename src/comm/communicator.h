// What ranks say to each other. The calls are collective: every rank makes them in the same order with tensors of the
// same shape and dtype. This is the seam; backends for several ranks stand beside communicator.cpp.
#pragma once
#include "tensor/tensor.h"

namespace ov {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;

  virtual void all_reduce(const Tensor& t) = 0;                              // t = the sum over ranks
  virtual void reduce_scatter(const Tensor& part, const Tensor& whole) = 0;  // part = this rank's rows of the sum
  virtual void all_gather(const Tensor& whole, const Tensor& part) = 0;      // whole = the parts, by rank
  virtual void broadcast(const Tensor& t, int from) = 0;
  virtual void all_to_all(const Tensor& to, const Tensor& from) = 0;  // part r of `from` goes to rank r
  virtual void send(const Tensor& t, int to) = 0;
  virtual void recv(const Tensor& t, int from) = 0;
  virtual void barrier() = 0;
};

Communicator& one_rank();

}  // namespace ov
