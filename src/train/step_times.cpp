#include "train/step_times.h"

#include "base/parallel.h"

namespace ov {

StepTimes::Floors StepTimes::add(const Step& step, const std::vector<BatchTimes>& batches) {
  ++steps_;
  sum_.seconds += step.seconds;
  sum_.data += step.data;
  sum_.update += step.update;
  sum_.update_floor += step.update_floor;
  Floors floor{step.update_floor, step.update_floor};
  for (const BatchTimes& b : batches)
    for (std::size_t i = 0; i < b.ops.size(); ++i) {
      batches_.ops[i] += b.ops[i];
      batches_.floor.floor[i] += b.floor.floor[i];
      batches_.floor.plain[i] += b.floor.plain[i];
      floor.seconds += b.floor.floor[i] / threads();
      floor.plain += b.floor.plain[i] / threads();
    }
  return floor;
}

Json StepTimes::json() const {
  Json ops = Json::object();
  for (const OpRow* r : rows()) {
    const auto i = static_cast<std::size_t>(r->op);
    if (batches_.ops[i] == 0) continue;
    Json times = Json::array();
    for (const double s : {batches_.ops[i], batches_.floor.floor[i], batches_.floor.plain[i]}) times.push(s);
    ops.set(r->name, times);
  }
  return Json::object({{"steps", steps_},
                       {"threads", threads()},
                       {"seconds", sum_.seconds},
                       {"data_seconds", sum_.data},
                       {"update_seconds", sum_.update},
                       {"update_floor", sum_.update_floor},
                       {"ops", ops}});
}

}  // namespace ov
