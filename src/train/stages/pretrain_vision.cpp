#include "train/stages/pretrain_vision.h"

#include <cstdio>

namespace ov {
namespace {

class RegionSteps : public Steps {
 public:
  RegionSteps(RegionTrainer& trainer, std::int64_t total) : trainer_(trainer), total_(total) {
    last.step.step = trainer.steps_done();
  }
  Step step() override {
    last = trainer_.step();
    char note[96];
    std::snprintf(note, sizeof note, "loss %.3f  objects %.0f%%  characters %.0f%%", last.step.loss,
                  100 * last.object_accuracy, 100 * last.text_recall);
    return {.report = last.step,
            .more = Json::object({{"object_loss", last.object_loss},
                                  {"text_loss", last.text_loss},
                                  {"objects", last.objects},
                                  {"texts", last.texts},
                                  {"object_accuracy", last.object_accuracy},
                                  {"text_recall", last.text_recall}}),
            .note = note};
  }
  std::int64_t done() const override { return trainer_.steps_done(); }
  std::int64_t total() const override { return total_; }
  TrainingState state() override { return trainer_.state(); }
  void restore(const TrainingState& state) override {
    trainer_.restore(state);
    last.step.step = done();
  }
  const StepTimes& times() const override { return trainer_.times(); }

  RegionStepReport last;

 private:
  RegionTrainer& trainer_;
  const std::int64_t total_;
};

}  // namespace

RegionStepReport pretrain_vision(const VisionPretraining& o) {
  o.vision.check();
  const RunDirectory directory(o, "tower", "pretrain", {});
  RegionLoaderOptions data = o.data;
  if (data.rejects_path.empty()) data.rejects_path = o.out + "/rejects.jsonl";
  data.images.patch = o.vision.patch;
  data.images.merge = o.vision.merge;
  RegionLoader loader(data);
  RegionHeadConfig head = o.head;
  head.classes = static_cast<std::int64_t>(loader.file().classes().size());
  head.characters = static_cast<std::int64_t>(loader.file().characters().size());
  RiceModel model(o.vision, head);
  model.parameters().allocate(o.dtype, cpu());
  initialize(model.parameters(), o.init, o.init_seed);
  RegionTrainer trainer(model, loader, o.train);

  RegionSteps steps(trainer, o.train.steps);
  const RunFacts facts{.name = "pretrain",
                       .counts = Json::object({{"parameters", model.parameters().count()},
                                               {"pictures", loader.file().size()},
                                               {"classes", head.classes},
                                               {"characters", head.characters}})};
  run_to_end(steps, o, facts, [&] {
    export_tower(directory.result(), model);
    return Json::object({{"rejects", loader.state().rejects.json()}});
  });
  return steps.last;
}

}  // namespace ov
