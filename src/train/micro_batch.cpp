#include "train/micro_batch.h"

#include "base/sum.h"

namespace ov {

OnevisionInputs model_inputs(const MicroBatch& batch, Dtype dtype, Device& device) {
  OnevisionInputs in;
  in.input_ids = batch.input_ids;
  in.positions = index_tensor("positions", batch.positions, {batch.tokens()}, 0, INT64_MAX, device);
  kernels::SegmentTable table;
  for (const TokenSegment& s : batch.segments) table.push_back({s.begin, s.length, s.begin, s.length, s.prefix});
  in.segments = std::make_shared<kernels::Segments>(std::move(table), batch.tokens(), batch.tokens(), true, device);
  if (batch.pixel_values)
    in.pixel_values =
        batch.pixel_values.dtype() == dtype ? batch.pixel_values : batch.pixel_values.to(dtype, Segment::data);
  for (const auto& g : batch.grids) in.grids.push_back({g[0], g[1], g[2]});
  return in;
}

MicroBatchResult run_micro_batch(const Onevision& model, const MicroBatch& batch, const LossTargets& targets,
                                 double denominator, const Tensor& gradients, Tracer* tracer, Floor* floor) {
  const Parameters& parameters = model.parameters();
  Device& device = parameters.device();
  const Dtype dtype = parameters.dtype();
  const auto labelled = static_cast<std::int64_t>(targets.rows.size());
  if (batch.tokens() == 0) return {};  // every record of it is faulty

  Tape tape(tracer);
  OpTimes times;
  if (floor) tape.measure(&times);
  tape.redirect_gradients([&](const Parameter& p) {
    return gradients && p.trainable ? parameters.gradient_slice(gradients, p) : Tensor();
  });
  const Var hidden = model.hidden(&tape, model_inputs(batch, dtype, device));
  // Only rows that predict a labelled token pass through the language head.
  const Tensor rows = index_tensor("labelled rows", targets.rows, {labelled}, 0, batch.tokens(), device);
  const Var logits = model.logits(take_rows(hidden, rows));

  std::vector<std::int64_t> target;
  const Tensor weights({labelled}, accum_dtype(dtype), device, Segment::data);
  by_dtype(weights.dtype(), [&](auto v) {
    for (std::int64_t i = 0; i < labelled; ++i) {
      const auto t = static_cast<std::size_t>(targets.rows[static_cast<std::size_t>(i)]);
      target.push_back(targets.targets[t]);
      weights.data<decltype(v)>()[i] = static_cast<decltype(v)>(targets.weights[t]);
    }
  });
  const CrossEntropy ce = cross_entropy(logits, index_tensor("targets", target, {labelled}, 0, logits.dim(1), device),
                                        weights, denominator);

  MicroBatchResult result;
  result.labelled = labelled;
  by_dtype(weights.dtype(), [&](auto v) {
    using T = decltype(v);
    result.loss = ce.loss.value.data<T>()[0];
    const T* token_loss = ce.token_loss.data<T>();
    result.token_loss = sum<double>(labelled, [&](std::int64_t i) { return static_cast<double>(token_loss[i]); });
    if (!gradients) return;
    if (floor) result.times.floor = floor->micro_batch(tape.nodes(), size_of(dtype));
    const Tensor seed({1}, weights.dtype(), device);
    seed.data<T>()[0] = T(1);
    tape.backward(ce.loss, seed);
  });
  result.times.ops = times.seconds;
  result.products = tape.forward_products() + tape.backward_products();
  result.recomputed_products = tape.recomputed_products();
  return result;
}

}  // namespace ov
