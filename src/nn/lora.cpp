#include "nn/lora.h"

#include <algorithm>

#include "base/text.h"

namespace ov {
namespace {

constexpr std::string_view weight = ".weight";
constexpr int most_elements = 40;  // log2: of x in a micro-batch, so that two of them never draw the same

std::string module_of(const Parameter& p) { return p.name.substr(0, p.name.size() - weight.size()); }

std::string last_word(const std::string& module) { return module.substr(module.rfind('.') + 1); }

bool is_linear(const Parameters::Entry& e) {
  const Role role = e.parameter.role;
  return e.shape.rank() == 2 && e.parameter.name.ends_with(weight) &&
         (role == Role::matrix || role == Role::projection_out || role == Role::head);
}

// '*' stands for any letters.
bool fits(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] != '*') return !text.empty() && pattern[0] == text[0] && fits(pattern.substr(1), text.substr(1));
  for (std::size_t i = 0; i <= text.size(); ++i)
    if (fits(pattern.substr(1), text.substr(i))) return true;
  return false;
}

bool chooses(const std::string& target, const Parameter& p) {
  if (target == "all-linear") return p.role != Role::head;
  const std::string module = module_of(p);
  return module.ends_with("." + target) || fits(target, module);
}

}  // namespace

Var adapted(const Var& y, const Var& x, const Parameter* w, std::size_t part, const Tensor& offsets) {
  if (part >= w->beside.size() || !w->beside[part]) return y;
  const LowRank& l = *w->beside[part];
  const Var a = on_tape_of(x, l.a), b = on_tape_of(x, l.b);
  const bool wide = y.value.dtype() != x.value.dtype();
  const Tape::Draws draws = x.tape ? x.tape->draws() : Tape::Draws();
  const Var seen = l.dropout > 0 && draws.on ? dropout(x, l.dropout, Philox(l.seed, "dropout " + l.a->name, draws.step),
                                                       draws.leaf << most_elements)
                                             : x;
  const Var s = scale(offsets ? grouped_linear(seen, a, offsets) : linear(seen, a), l.scale);
  const Var d = offsets ? grouped_linear(s, b, offsets) : linear(s, b, {}, wide);
  return y + view(d, y.shape());
}

bool Parameters::adapts(Module module) const {
  return std::any_of(adapters_.begin(), adapters_.end(), [&](const Adapter& a) { return a.w->module == module; });
}

void Parameters::adapt(const LoraOptions& o) {
  lora_ = o;
  if (o.rank == 0) return;
  if (pipe_->ranks() > 1) input_error("lora.rank ", o.rank, " with parallel.pipeline ", pipe_->ranks(), ": not built");
  if (tensor_->ranks() > 1)
    input_error("lora.rank ", o.rank, " with parallel.tensor ", tensor_->ranks(), ": not built");
  if (experts_->ranks() > 1)
    input_error("lora.rank ", o.rank, " with parallel.experts ", experts_->ranks(), ": not built");
  std::vector<bool> used(o.targets.size());
  std::vector<std::string> words;
  const auto chosen = [&](const Entry& e) {
    if (!is_linear(e) || (o.where && !o.where(e.parameter))) return false;
    bool any = false;
    for (std::size_t i = 0; i < used.size(); ++i)
      if (chooses(o.targets[i], e.parameter)) any = used[i] = true;
    words.push_back(last_word(module_of(e.parameter)));
    return any;
  };
  std::map<const Parameter*, Fused*> fused;
  for (Fused& f : fused_)
    for (const Parameter* p : f.parts) fused[p] = &f;

  const std::size_t count = entries_.size();
  for (std::size_t at = 0; at < count;) {
    // The matrices of one product, by the parts that it is cut into: of a mixture a part is of all experts.
    const auto found = fused.find(&entries_[at].parameter);
    Parameter& product = found == fused.end() ? entries_[at].parameter : found->second->parameter;
    const std::size_t end = at + (found == fused.end() ? 1 : found->second->parts.size());
    std::vector<std::vector<std::size_t>> parts;
    std::vector<std::string> kinds;
    std::vector<bool> wanted(count);
    for (std::size_t i = at; i < end; ++i) {
      const std::string kind = last_word(module_of(entries_[i].parameter));
      std::size_t k = 0;
      while (k < kinds.size() && kinds[k] != kind) ++k;
      if (k == kinds.size()) kinds.push_back(kind), parts.emplace_back();
      parts[k].push_back(i);
      wanted[i] = chosen(entries_[i]);
    }
    at = end;
    for (std::size_t k = 0; k < parts.size(); ++k) {
      const std::vector<std::size_t>& part = parts[k];
      const auto n =
          static_cast<std::size_t>(std::count_if(part.begin(), part.end(), [&](std::size_t i) { return wanted[i]; }));
      if (n == 0) continue;
      if (n != part.size())
        input_error("lora.targets: ", n, " of ", part.size(), " experts of ", entries_[part[0]].parameter.name,
                    " and its like; choose all of them or none");
      std::vector<Parameter*> a, b;
      for (const bool is_a : {true, false})
        for (const std::size_t i : part) {
          const Entry& e = entries_[i];
          in(e.parameter.module);
          const std::string name = module_of(e.parameter) + (is_a ? ".lora_A" : ".lora_B") + std::string(weight);
          const Shape shape = is_a ? Shape{o.rank, e.shape[1]} : Shape{e.shape[0], o.rank};
          (is_a ? a : b).push_back(declare(name, shape, is_a ? Role::lora_a : Role::lora_b));
        }
      for (std::size_t i = 0; i < part.size(); ++i) adapters_.push_back({&entries_[part[i]].parameter, a[i], b[i]});
      low_rank_.push_back(
          {part.size() == 1 ? a[0] : fuse(a), part.size() == 1 ? b[0] : fuse(b), o.scale(), o.dropout, o.seed});
      product.beside.resize(parts.size());
      product.beside[k] = &low_rank_.back();
    }
  }
  for (std::size_t i = 0; i < used.size(); ++i)
    if (!used[i])
      input_error("lora.targets: no matrix that may be adapted is called ", o.targets[i],
                  did_you_mean(o.targets[i], words));
  if (adapters_.empty()) input_error("lora.targets: names no matrix");
}

}  // namespace ov
