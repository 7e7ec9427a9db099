#include "rl/job.h"

#include "generate/generate.h"
#include "train/stages/model_directory.h"

namespace ov::rl {

StepReport run_rl(const RlJob& job) {
  LoadOptions load = job.load;
  load.device = job.device;
  const ModelFiles files = open_model_files(job.model_dir, load);
  const RecordFile records(job.records, job.image_dir, job.templates, job.keep);
  const auto model = load_model(files.config, job.model_dir, load);
  const RunDirectory directory(job, "model", "rl", {job.model_dir});
  Parameters& parameters = model->parameters();
  parameters.train(trainable(job.modules, job.train_class_params), job.train.optimizer.state_on);
  if (parameters.trained() == 0) input_error("train.modules: nothing is trained");
  if (parameters.masters()) load_masters(*model, job.model_dir);
  PolicyOptions policy = job.policy;
  policy.rollouts.stop = read_stop_ids(job.model_dir, files.processor.stop_ids(), files.config.text.vocabulary);
  PolicyObjective objective(*model, files.processor, records, policy);
  StepEngine engine(objective, job.train, *job.ranks);

  const RunFacts facts{.name = "rl",
                       .counts = Json::object({{"records", std::ssize(records.records())}}),
                       .sources = Json::object({{"model", model_fingerprint(files.config)},
                                                {"processor", processor_fingerprint(files.processor)},
                                                {"records", records.fingerprint()}})};
  return run_to_end(engine, job, facts, [&] {
    export_model(directory.result(), *model, files.processor,
                 {.command = "rl", .code = {job.model_dir}, .dtype = job.export_dtype, .card = run_card(job, facts)});
    return Json::object();
  });
}

}  // namespace ov::rl
