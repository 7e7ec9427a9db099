#include "train/stages/pretrain_clip.h"

#include "base/io/durable_directory.h"
#include "base/io/file.h"
#include "data/raw/captioned_pictures.h"
#include "model/files/clip_directory.h"
#include "train/stages/job.h"

namespace ov {
namespace {

// What Transformers' CLIPImageProcessor does with the defaults of its class.
Json image_processor(const ProcessorConfig& c, std::int64_t side) {
  const auto three = [](const std::array<double, 3>& v) { return Json(std::vector<double>(v.begin(), v.end())); };
  return Json::object({{"image_processor_type", "CLIPImageProcessor"},
                       {"size", Json::object({{"shortest_edge", side}})},
                       {"crop_size", Json::object({{"height", side}, {"width", side}})},
                       {"do_resize", true},
                       {"do_center_crop", true},
                       {"do_rescale", true},
                       {"do_normalize", true},
                       {"do_convert_rgb", true},
                       {"resample", 3},
                       {"rescale_factor", c.rescale},
                       {"image_mean", three(c.mean)},
                       {"image_std", three(c.std)}});
}

ClipConfig with_tokenizer(ClipConfig c, const Tokenizer& tokenizer, const std::string& directory) {
  const auto eos = tokenizer.token_id("<|endoftext|>");
  if (!eos) input_error(directory, ": the tokenizer has no token <|endoftext|>, which ends a caption");
  c.eos = *eos;
  if (c.vocabulary == 0) c.vocabulary = tokenizer.vocab_size();
  if (c.vocabulary < tokenizer.vocab_size())
    input_error("text.vocabulary is ", c.vocabulary, ", the tokenizer in ", directory, " has ", tokenizer.vocab_size(),
                " tokens");
  c.check("");
  if (c.channels != 3 || c.image % c.patch != 0)
    input_error("clip.image is ", c.image, ": expected a multiple of vision.patch, ", c.patch);
  return c;
}

}  // namespace

StepReport pretrain_clip(const ClipPretraining& o) {
  const Tokenizer tokenizer = Tokenizer::read(o.tokenizer_dir);
  ClipModel model(with_tokenizer(o.model, tokenizer, o.tokenizer_dir));
  const ClipConfig& c = model.config();
  const RunDirectory directory(o, "model", "pretrain", {o.tokenizer_dir});
  model.parameters().allocate(o.dtype, *o.device);
  initialize(model, o.init, o.init_seed);

  ProcessorConfig images;
  images.patch = c.patch, images.merge = 1;
  const Processor processor(tokenizer, images);
  LoaderOptions data = o.data;
  if (data.samples_per_micro_batch < 2)
    input_error("train.micro_batch_samples is ", data.samples_per_micro_batch,
                ": a caption is told apart from the others of its micro-batch, so a CLIP needs two at least");
  if (data.rejects_path.empty()) data.rejects_path = o.rejects_path();
  const CaptionedOptions captioned{o.captions, o.image_dir, o.manifest, c.image, c.eos, c.max_positions};
  Loader loader(data, processor, std::make_unique<CaptionedPictures>(captioned, processor));
  ContrastiveObjective objective(model, loader, o.train);
  StepEngine engine(objective, o.train, *o.ranks);

  const RunFacts facts{.name = "pretrain",
                       .counts = Json::object({{"pictures", loader.records()}}),
                       .sources = Json::object({{"processor", processor_fingerprint(processor)}})};
  return run_to_end(engine, o, facts, [&] {
    DurableDirectory out(directory.result(), "pretrain");
    write_clip(out.path(), model, o.export_dtype);
    tokenizer.write(out.path());
    write_durably(out.file("preprocessor_config.json"), image_processor(images, c.image).dump(2) + "\n");
    out.commit();
    CardFacts card = run_card(o, facts);
    card.pipeline = "zero-shot-image-classification", card.title = "CLIP";
    const auto tower = [](const ClipTowerConfig& t) { return cat(t.layers, " layers of width ", t.hidden); };
    card.model =
        Json::object({{"parameters", model.parameters().count()},
                      {"picture tower", cat(tower(c.vision), ", ", c.image, " pixels in patches of ", c.patch)},
                      {"text tower", tower(c.text)},
                      {"vocabulary", c.vocabulary}});
    write_model_card(directory.result(), card);
    return Json::object({{"rejects", loader.rejects().json()}});
  });
}

}  // namespace ov
