#include "train/stages/pretrain_vision.h"

#include "parallel/mesh.h"
#include "train/stages/job.h"

namespace ov {

StepReport pretrain_vision(const VisionPretraining& o) {
  o.vision.check();
  Mesh mesh(*o.ranks, 1, 1, 1, 1, o.train.classes);
  const RunDirectory directory(o, "tower", "pretrain", {});
  RegionLoaderOptions data = o.data;
  if (data.rejects_path.empty()) data.rejects_path = o.rejects_path();
  data.images.patch = o.vision.patch;
  data.images.merge = o.vision.merge;
  RegionLoader loader(data);
  RegionHeadConfig head = o.head;
  head.classes = static_cast<std::int64_t>(loader.file().classes().size());
  head.characters = static_cast<std::int64_t>(loader.file().characters().size());
  RiceModel model(o.vision, head, mesh.experts);
  model.recompute_blocks = o.recompute, model.recompute_first = o.recompute_first;
  model.parameters().allocate(o.dtype, *o.device);
  model.initialize(o.init, o.init_seed);
  RegionObjective objective(model, loader, o.train);
  StepEngine engine(objective, o.train, mesh.data);

  const RunFacts facts{
      .name = "pretrain",
      .counts = Json::object(
          {{"pictures", loader.file().size()}, {"classes", head.classes}, {"characters", head.characters}})};
  return run_to_end(engine, o, facts, [&] {
    export_tower(directory.result(), model, o.export_dtype);
    CardFacts card = run_card(o, facts);
    card.pipeline = "image-feature-extraction", card.library = "onevision", card.title = "RICE-ViT";
    card.model = tower_facts(o.vision);
    write_model_card(directory.result(), card);
    return Json::object({{"rejects", loader.state().rejects.json()}});
  });
}

}  // namespace ov
