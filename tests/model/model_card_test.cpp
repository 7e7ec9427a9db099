// The model card of an exported directory, and what of a source's directory goes with it.
#include "model/files/model_card.h"

#include <doctest/doctest.h>

#include "base/io/durable_directory.h"
#include "model/files/convert.h"
#include "model/files/hf_directory.h"
#include "tests/base/scratch.h"
#include "tests/train/job_world.h"

using namespace ov;
using namespace ov::test;

namespace {

std::string card_of(const std::string& directory) { return read_file(directory + "/README.md"); }

}  // namespace

TEST_CASE(
    "model card: model, data, recipe, log, licence and hashes; equal runs write equal cards, resumed or elsewhere") {
  const World world;
  write_durably(world.path("start/LICENSE"), "be kind\n");
  write_durably(world.path("start/modeling_x.py"), "class X: pass\n");
  Json config = Json::read(world.path("start/config.json"));
  config.set("auto_map", Json::object({{"AutoModel", "modeling_x.X"}}));
  config.set("_name_or_path", "some-lab/some-model");
  write_durably(world.path("start/config.json"), config.dump(2));
  TrainJob job = world.job("run"), other = world.job("deeper/run");
  job.license = "apache-2.0";
  job.config = Json::object({{"train", Json::object({{"out", job.out}, {"steps", steps}})},
                             {"data", Json::object({{"json", job.data.json}})},
                             {"threads", 1}});
  quietly(job);
  const std::string model = job.out + "/model", card = card_of(model);
  for (const std::string& part :
       {std::string("---\nlibrary_name: transformers\npipeline_tag: image-text-to-text\nlicense: apache-2.0\n"),
        std::string("base_model:\n- some-lab/some-model\n---\n"), std::string("\"records\": 10"),
        std::string("\"json\": \"conversations.json\""), cat("\"steps\": ", steps), cat("\"step\": ", steps),
        std::string("\"token_loss\": "), cat("`model.safetensors`: SHA-256 `", model_sha(job), "`")})
    CHECK_MESSAGE(contains(card, part), part);
  for (const std::string& part : {job.out, std::string("threads"), world.path("")}) CHECK_FALSE(contains(card, part));
  // The source's code and licence came with it, and config.json names the code.
  CHECK(read_file(model + "/modeling_x.py") == "class X: pass\n");
  CHECK(read_file(model + "/LICENSE") == "be kind\n");
  CHECK(Json::read(model + "/config.json").find("auto_map"));

  other.license = job.license, other.config = job.config, other.config.set("threads", 2);
  other.may_change = {"threads"};
  quietly(other);
  CHECK(card_of(other.out + "/model") == card);
  fs::remove_all(other.out + "/model");
  quietly(other);  // from its last checkpoint: no step is left
  CHECK(card_of(other.out + "/model") == card);
  TrainJob more = other;  // the twin: another run
  more.out = world.path("more"), more.license = "", more.train.optimizer.eps = 1e-3;
  quietly(more);
  CHECK(card_of(more.out + "/model") != card);
  CHECK_FALSE(contains(card_of(more.out + "/model"), "license:"));

  // A converted model's card has its hashes; a README.md of somebody else's stays.
  convert_model(model, world.path("bf16"), {.dtype = Dtype::bf16});
  CHECK(contains(card_of(world.path("bf16")), sha256_file(world.path("bf16/model.safetensors"))));
  CHECK_FALSE(contains(card_of(world.path("bf16")), model_sha(job)));
  CHECK(contains(card_of(world.path("bf16")), "conversations.json"));
  write_durably(world.path("start/README.md"), "---\nlicense: mit\n---\nmine\n\n## Weights\n\nnone\n");
  convert_model(world.path("start"), world.path("copy"), {});
  CHECK(card_of(world.path("copy")) == card_of(world.path("start")));
  export_model(world.path("again"), *load_model(model), loader_test::small_processor(),
               {.code = {world.path("start")}});
  CHECK(contains(card_of(world.path("again")), "license: mit\n"));
}

TEST_CASE("model card: an adapter's says what it is for, and a README.md put beside an export is kept") {
  const World world;
  TrainJob job = world.job("run");
  job.lora = {.rank = 2, .targets = {"q_proj"}};
  quietly(job);
  const std::string card = card_of(job.out + "/adapter");
  CHECK(contains(card, "library_name: peft\n"));
  CHECK(contains(card, sha256_file(job.out + "/adapter/adapter_model.safetensors")));
  const std::string out = world.path("export");
  const auto model = load_model(job.out + "/model");
  export_model(out, *model, loader_test::small_processor());
  CHECK(contains(card_of(out), "## Weights"));
  DurableDirectory bare(world.path("bare"), "train");
  write_durably(bare.file("config.json"), "{}");
  bare.commit();
  write_durably(world.path("bare/README.md"), "mine");
  export_model(world.path("bare"), *model, loader_test::small_processor());
  CHECK(card_of(world.path("bare")) == "mine");
}
