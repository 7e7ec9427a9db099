#include "nn/parameters.h"

#include <algorithm>

#include "kernels/copy.h"

namespace ov {

Tensor Parameters::Entry::part_of(const Tensor& all, int rank) const {
  const std::int64_t width = shape.numel() / blocks(), first = cut == Cut::none ? 0 : rank * width;
  return all.view({blocks(), whole.numel() / blocks()}).slice(1, first, first + width);
}

Parameters::Count Parameters::whole_count() const {
  Count n;
  for (const Entry& e : entries_) n.all += e.whole.numel(), n.trained += e.parameter.trainable ? e.whole.numel() : 0;
  return n;
}

Parameter* Parameters::declare(const std::string& name, const Shape& whole, Role role, Cut cut) {
  Shape shape = whole;
  const int axis = cut == Cut::columns ? 1 : 0;
  if (const std::int64_t n = tensor_->ranks(); cut != Cut::none && n > 1) {
    if (whole[axis] % (n * (cut == Cut::thirds ? 3 : 1)) != 0)
      input_error(name, " of ", whole.str(), " does not divide among ", n, " tensor-parallel ranks");
    shape[axis] /= n;
  }
  const Shape part = shape;
  const int holder = chunk_ % pipe_->ranks();
  entries_.push_back({{.name = name, .value = {}, .module = module_, .role = role},
                      shape,
                      total_,
                      whole,
                      cut,
                      part,
                      holder,
                      chunk_,
                      block_,
                      expert_holder_});
  if (!holds(entries_.back())) entries_.back().shape[0] = shape[0] = 0;
  total_ += shape.numel();
  if (!by_name_.emplace(name, &entries_.back().parameter).second) input_error("parameters: two have the name ", name);
  return &entries_.back().parameter;
}

Parameters::Count Parameters::part_count(int holder) const {
  Count n;
  for (const Entry& e : entries_)
    if (e.holder == holder && (e.expert_holder < 0 || e.expert_holder == experts_->rank()))
      n.all += e.part.numel(), n.trained += e.parameter.trainable ? e.part.numel() : 0;
  return n;
}

const Parameters::Entry& Parameters::entry_of(const Parameter* p) const {
  return *std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return &e.parameter == p; });
}

Parameter* Parameters::lent(Parameter* p, int chunk) {
  const int from = entry_of(p).holder, to = chunk % pipe_->ranks();
  if (from == to) return p;
  lent_.push_back({*p, p, from, to});
  return &lent_.back().copy;
}

void Parameters::lend() const {
  for (const Lent& l : lent_) {
    if (pipe_->rank() == l.from) pipe_->send(l.of->value, l.to);
    if (pipe_->rank() == l.to) pipe_->recv(l.copy.value, l.from);
  }
}

Parameter* Parameters::fuse(const std::vector<Parameter*>& parts) {
  fused_.push_back({*parts.front(), parts});
  return &fused_.back().parameter;
}

const Tensor* Parameters::constant(const std::vector<float>& values) {
  constants_.push_back(Tensor::of(values, {static_cast<std::int64_t>(values.size())}, cpu(), Segment::weights));
  return &constants_.back();
}

namespace {

Shape stacked_shape(const std::vector<Parameter*>& parts) {
  Shape shape = parts.front()->value.shape();
  for (std::size_t i = 1; i < parts.size(); ++i) shape[0] += parts[i]->value.dim(0);
  return shape;
}

}  // namespace

void Parameters::allocate(Dtype dtype, Device& device) {
  dtype_ = dtype, device_ = &device;
  values_ = Tensor({total_}, dtype, device, Segment::weights);
  for (Tensor& t : constants_) t = t.to(device, Segment::weights);
  std::map<const Parameter*, const Entry*> by_parameter;
  for (Entry& e : entries_) {
    e.parameter.value = values_.slice(0, e.offset, e.offset + e.shape.numel()).view(e.shape);
    by_parameter[&e.parameter] = &e;
  }
  for (Lent& l : lent_)
    if (pipe_->rank() == l.to) l.copy.value = Tensor(entry_of(l.of).part, dtype, device, Segment::weights);
  for (Fused& f : fused_) {
    std::int64_t next = by_parameter.at(f.parts.front())->offset, begin = next;
    for (const Parameter* p : f.parts) {
      if (by_parameter.at(p)->offset != next)
        input_error("parameters: ", p->name, " does not follow its neighbour; they cannot be fused");
      next += p->value.numel();
    }
    f.parameter.value = values_.slice(0, begin, next).view(stacked_shape(f.parts));
  }
}

void Parameters::lie_in(const Tensor& values, std::int64_t first) {
  const auto here = [&](std::int64_t begin, std::int64_t n) {
    return begin >= first && begin + n <= first + values.numel();
  };
  std::map<const Parameter*, std::int64_t> offsets;
  for (Entry& e : entries_) {
    offsets[&e.parameter] = e.offset;
    if (here(e.offset, e.shape.numel()))
      e.parameter.value = values.slice(0, e.offset - first, e.offset - first + e.shape.numel()).view(e.shape);
  }
  for (Fused& f : fused_) {
    const Shape shape = stacked_shape(f.parts);
    const std::int64_t begin = offsets.at(f.parts.front());
    if (here(begin, shape.numel()))
      f.parameter.value = values.slice(0, begin - first, begin - first + shape.numel()).view(shape);
  }
}

void Parameters::divide(Divided divided) {
  divided_ = std::move(divided);
  values_ = {};
}

void Parameters::undivide() {
  values_ = Tensor({total_}, dtype_, *device_, Segment::weights);
  lie_in(values_, 0);
  divided_ = {};
}

void Parameters::borrow(Dtype dtype, const std::function<Tensor(const Entry&)>& stored) {
  dtype_ = dtype, device_ = &cpu(), values_ = {};
  for (Entry& e : entries_) {
    const Tensor t = stored(e);
    e.parameter.value = t.dtype() == dtype ? t : t.to(dtype, Segment::weights);
  }
  for (Fused& f : fused_) {
    const Tensor first = f.parts.front()->value;
    const std::byte* next = first.bytes();
    bool in_place = true;  // neighbours by chance are none: each would be freed by itself
    for (const Parameter* p : f.parts) {
      const Storage &whole = *first.storage(), &own = *p->value.storage();
      const bool together = &own == &whole || (own.owner && own.owner == whole.owner);
      in_place = in_place && together && p->value.bytes() == next;
      next = p->value.bytes() + p->value.nbytes();
    }
    const Shape shape = stacked_shape(f.parts);
    f.parameter.value = in_place ? Tensor::borrowed(first.bytes(), shape, dtype, first.storage())
                                 : Tensor(shape, dtype, cpu(), Segment::weights);
    std::int64_t row = 0;
    for (Parameter* p : f.parts) {
      const Tensor own = f.parameter.value.slice(0, row, row + p->value.dim(0));
      row += p->value.dim(0);
      if (!in_place) own.copy_from(p->value);
      p->value = own;
    }
  }
}

void Parameters::train(const Choice& trainable) {
  trained_ = 0;
  for (Entry& e : entries_) {
    e.parameter.trainable = trainable(e.parameter);
    e.parameter.gradient = e.parameter.trainable ? trained_ : -1;
    if (e.parameter.trainable) trained_ += e.shape.numel();
  }
  for (Fused& f : fused_) {
    const auto yes = std::count_if(f.parts.begin(), f.parts.end(), [](const Parameter* p) { return p->trainable; });
    if (yes != 0 && yes != static_cast<std::ptrdiff_t>(f.parts.size()))
      input_error("freezing: ", f.parts.front()->name,
                  " and its neighbours share one product; freeze all of them or none");
    f.parameter.trainable = yes > 0;
    f.parameter.gradient = f.parts.front()->gradient;
  }
  masters_ = {}, masters_begin_ = 0;
}

void Parameters::make_masters(std::int64_t begin, std::int64_t end, Device* on) {
  if (accum_dtype(dtype()) == dtype()) return;
  masters_ = Tensor({end - begin}, accum_dtype(dtype()), on ? *on : device(), Segment::weights), masters_begin_ = begin;
  for (const Entry& e : entries_) {
    const Stretch master = master_of(e.parameter);
    if (!master.values) continue;
    const Tensor from = e.parameter.value.flat().slice(0, master.begin, master.begin + master.values.numel());
    if (&from.device() != &master.values.device())
      master.values.copy_from(from.to(master.values.dtype(), Segment::workspace));
    else if (from.has_data()) kernels::copy({.y = master.values, .x = from});  // through no buffer of f32
  }
}

Parameters::Stretch Parameters::master_of(const Parameter& p) const {
  if (!masters_ || !p.trainable || p.gradient < 0) return {};
  const std::int64_t begin = std::max(p.gradient, masters_begin_),
                     end = std::min(p.gradient + p.value.numel(), masters_begin_ + masters_.numel());
  if (begin >= end) return {};
  return {masters_.slice(0, begin - masters_begin_, end - masters_begin_), begin - p.gradient};
}

Tensor Parameters::precise(const Parameter& p) const {
  if (!masters_ || !p.trainable || p.gradient < 0) return p.value;
  const Stretch master = master_of(p);
  if (master.values && master.values.numel() == p.value.numel()) return master.values.view(p.value.shape());
  if (!precise_from_) input_error(p.name, ": other ranks have some of its master");
  return precise_from_(p);
}

Parameter* Parameters::find(const std::string& name) {
  if (const auto alias = aliases_.find(name); alias != aliases_.end()) return alias->second;
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace ov
