#include "tensor/transfer.h"

namespace ov {

void transfer(const Tensor& from, const Tensor& to, Stream stream) {
  Device &source = from.device(), &target = to.device();
  if (from.shape() != to.shape() || from.dtype() != to.dtype() || !source.has_data() || !target.has_data())
    input_error("copy: ", name_of(from.dtype()), " ", from.shape().str(), " on ", source.name, " into ",
                name_of(to.dtype()), " ", to.shape().str(), " on ", target.name,
                source.has_data() && target.has_data() ? "" : ", which has no data on meta");
  if (from.numel() == 0) return;
  if (!to.contiguous()) return to.copy_from(from.to(target, Segment::workspace));
  const Tensor whole = from.contiguous() ? from : from.contiguous_copy(Segment::workspace);
  if (source.on_host()) return target.copy_in(to.device_bytes(), whole.bytes(), whole.nbytes(), stream);
  if (!target.on_host()) return transfer(whole.to(cpu(), Segment::workspace), to, stream);
  source.copy_out(to.bytes(), whole.device_bytes(), whole.nbytes(), Stream::compute);
  source.synchronize();
}

Tensor Tensor::to(Device& target, Segment segment) const {
  if (&target == &device()) return *this;
  Tensor t(shape_, dtype_, target, segment);
  if (!target.has_data()) return t;
  transfer(*this, t, Stream::copy);  // nothing queued reads t yet, so it need not wait for what computes
  target.wait(Stream::compute, Stream::copy);
  return t;
}

Tensor Tensor::uploaded(const void* values, const Shape& shape, Dtype dtype, Device& device, Segment segment) {
  Tensor t(shape, dtype, device, segment);
  if (t.numel() == 0) return t;
  device.copy_in(t.device_bytes(), values, t.nbytes(), Stream::copy);
  device.wait(Stream::compute, Stream::copy);
  return t;
}

double read_scalar(const Tensor& t) {
  if (t.numel() != 1) input_error("read_scalar: ", t.shape().str(), " is not one element");
  if (t.dtype() == Dtype::f64) return t.to_vector<double>()[0];
  return static_cast<double>(t.to_vector<float>()[0]);
}

Tensor index_tensor(const char* what, const std::vector<std::int64_t>& values, const Shape& shape, std::int64_t lowest,
                    std::int64_t end, Device& device) {
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] < lowest || values[i] >= end)
      input_error(what, "[", i, "] is ", values[i], ", outside of [", lowest, ", ", end, ")");
  return Tensor::of(values, shape, device);
}

}  // namespace ov
