#include "nn/parameters.h"

#include <algorithm>

namespace ov {

Parameter* Parameters::declare(const std::string& name, const Shape& shape, Role role) {
  entries_.push_back({{.name = name, .value = {}, .main_grad = {}}, shape, role, total_});
  total_ += shape.numel();
  return &entries_.back().parameter;
}

Parameter* Parameters::fuse(const std::vector<Parameter*>& parts) {
  fused_.push_back({{.name = parts.front()->name, .value = {}, .main_grad = {}}, parts});
  return &fused_.back().parameter;
}

const Tensor* Parameters::constant(const std::vector<float>& values) {
  constants_.push_back(Tensor::of(values, {static_cast<std::int64_t>(values.size())}));
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
  values_ = Tensor({total_}, dtype, device, Segment::weights);
  for (Tensor& t : constants_) t = t.to(device, Segment::weights);
  std::map<const Parameter*, const Entry*> by_parameter;
  for (Entry& e : entries_) {
    e.parameter.value = values_.slice(0, e.offset, e.offset + e.shape.numel()).view(e.shape);
    by_parameter[&e.parameter] = &e;
  }
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

void Parameters::train(const std::function<bool(const std::string& name)>& trainable) {
  gradient_places_.clear();
  std::int64_t trained = 0;
  for (Entry& e : entries_) {
    e.parameter.trainable = trainable(e.parameter.name);
    e.parameter.main_grad = {};
    if (!e.parameter.trainable) continue;
    gradient_places_[&e.parameter] = {trained, e.shape.numel()};
    trained += e.shape.numel();
  }
  gradients_ = Tensor({trained}, accum_dtype(dtype()), device(), Segment::gradients);
  gradients_.zero();
  for (Fused& f : fused_) {
    const auto yes = std::count_if(f.parts.begin(), f.parts.end(), [](const Parameter* p) { return p->trainable; });
    f.parameter.trainable = yes > 0;
    f.parameter.main_grad = {};
    if (yes == 0) continue;
    if (yes != static_cast<std::ptrdiff_t>(f.parts.size()))
      input_error("freezing: ", f.parts.front()->name,
                  " and its neighbours share one product; freeze all of them or none");
    const auto last = gradient_places_.at(f.parts.back());
    const auto begin = gradient_places_.at(f.parts.front()).begin;
    gradient_places_[&f.parameter] = {begin, last.begin + last.count - begin};
  }
  for (Entry& e : entries_)
    if (e.parameter.trainable) e.parameter.main_grad = gradient_slice(gradients_, e.parameter);
  for (Fused& f : fused_)
    if (f.parameter.trainable) f.parameter.main_grad = gradient_slice(gradients_, f.parameter);
}

Parameter* Parameters::find(const std::string& name) {
  if (const auto alias = aliases_.find(name); alias != aliases_.end()) return alias->second;
  for (Entry& e : entries_)
    if (e.parameter.name == name) return &e.parameter;
  return nullptr;
}

Tensor Parameters::gradient_slice(const Tensor& flat, const Parameter& p) const {
  const Place place = gradient_places_.at(&p);
  return flat.slice(0, place.begin, place.begin + place.count).view(p.value.shape());
}

}  // namespace ov
