#include "train/stages/pretrain_text.h"

#include "parallel/mesh.h"
#include "train/checkpoint.h"
#include "train/stages/model_directory.h"

namespace ov {

ModelConfig with_tokenizer(ModelConfig described, const Tokenizer& tokenizer, const std::string& directory) {
  const ChatTokens chat = ChatTokens::of(tokenizer);
  described.image_token = chat.image_pad;
  described.video_token = chat.video_pad;
  described.vision_start_token = chat.vision_start;
  if (described.text.vocabulary == 0) described.text.vocabulary = tokenizer.vocab_size();
  if (described.text.vocabulary < tokenizer.vocab_size())
    input_error("text.vocabulary is ", described.text.vocabulary, ", the tokenizer in ", directory, " has ",
                tokenizer.vocab_size(), " tokens");
  described.check();
  return described;
}

Processor described_processor(const ModelConfig& model, const Tokenizer& tokenizer) {
  ProcessorConfig images;
  images.patch = model.vision.patch;
  images.merge = model.vision.merge;
  return {tokenizer, images};
}

namespace {

struct Start {
  std::unique_ptr<Onevision> model;
  Processor processor;
};

Start start_of(const TextPretraining& o, Mesh& mesh) {
  if (!o.model_dir.empty()) {
    ModelFiles files = open_model_files(o.model_dir);
    const LoadOptions load{.dtype = o.dtype,
                           .device = o.device,
                           .tensor = &mesh.tensor,
                           .pipe = &mesh.pipe,
                           .chunks = o.train.chunks,
                           .experts = &mesh.experts};
    return {load_model(files.config, o.model_dir, load), std::move(files.processor)};
  }
  const Tokenizer tokenizer = Tokenizer::read(o.tokenizer_dir);
  auto model = std::make_unique<Onevision>(with_tokenizer(o.model, tokenizer, o.tokenizer_dir), mesh.tensor, mesh.pipe,
                                           o.train.chunks, mesh.experts);
  model->parameters().allocate(o.dtype, *o.device);
  initialize(model->parameters(), o.init, o.init_seed);
  Processor processor = described_processor(model->config(), tokenizer);
  return {std::move(model), std::move(processor)};
}

}  // namespace

StepReport pretrain_text(const TextPretraining& o) {
  Mesh mesh(*o.ranks, o.train.tensor, o.train.pipeline, o.train.context, o.train.experts);
  const Start start = start_of(o, mesh);
  start.model->recompute_blocks = o.recompute, start.model->recompute_first = o.recompute_first;
  const RunDirectory directory(o, "model", "pretrain", {o.model_dir, o.tokenizer_dir});
  LoaderOptions data = o.data;
  if (data.rejects_path.empty()) data.rejects_path = o.rejects_path();
  Loader loader(data, start.processor, std::make_unique<TextCorpus>(o.corpus, start.processor.tokenizer()));
  TrainOptions train = o.train;
  train.modules = {"language_model"};
  Json counts = Json::object({{"records", loader.records()}});
  choose_recompute(o.choose_recompute, *o.ranks, loader, *start.model, counts);
  LanguageObjective objective(*start.model, loader, train, mesh.context);
  StepEngine engine(objective, train, mesh.data);
  if (!o.model_dir.empty()) load_masters(*start.model, o.model_dir);

  const RunFacts facts{.name = "pretrain",
                       .counts = counts,
                       .sources = Json::object({{"model", model_fingerprint(start.model->config())},
                                                {"processor", processor_fingerprint(start.processor)}})};
  return run_to_end(engine, o, facts, [&] {
    std::unique_ptr<Onevision> whole;
    if (o.train.tensor * o.train.pipeline * o.train.experts > 1 || engine.parallel().divides_values())
      whole = load_model(start.model->config(), checkpoints(o.out).back(), {.dtype = accum_dtype(o.dtype)});
    export_model(directory.result(), whole ? *whole : *start.model, start.processor,
                 {.command = "pretrain", .code = {o.model_dir}, .dtype = o.export_dtype, .card = run_card(o, facts)});
    return Json::object({{"rejects", loader.rejects().json()}});
  });
}

}  // namespace ov
