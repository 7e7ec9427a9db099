#include "generate/generate.h"

#include <unistd.h>

#include <algorithm>

#include "base/json.h"

namespace ov {
namespace {

std::int64_t room(const Onevision& model, const std::vector<std::int64_t>& prompt, std::int64_t max_new_tokens) {
  check_prompt(model, prompt, max_new_tokens);
  return std::ssize(prompt) + std::max<std::int64_t>(0, max_new_tokens);
}

Var features_of(const Onevision& model, const Tensor& pixel_values, const std::vector<Grid>& grids) {
  return model.encode_images(
      nullptr, {.input_ids = {}, .positions = {}, .segments = {}, .pixel_values = pixel_values, .grids = grids});
}

Tensor last_row(const Tensor& h_TC) { return h_TC.slice(0, h_TC.dim(0) - 1, h_TC.dim(0)); }

}  // namespace

Generation::Generation(const Onevision& model, const std::vector<std::int64_t>& prompt, const Tensor& pixel_values,
                       const std::vector<Grid>& grids, std::int64_t max_new_tokens)
    : Generation(model, prompt, features_of(model, pixel_values, grids), max_new_tokens) {}

Generation::Generation(const Onevision& model, const std::vector<std::int64_t>& prompt, const Var& features,
                       std::int64_t max_new_tokens)
    : model_(model),
      cache_(model.config().text, room(model, prompt, max_new_tokens), model.parameters().dtype(),
             model.parameters().device()) {
  const OnevisionInputs inputs = single_segment(prompt, {}, {}, model.parameters().device());
  // Only the last row goes through the head: the rest of the prompt predicts nothing that is asked for.
  logits_ = model.logits(Var{last_row(model.hidden(nullptr, inputs, features, &cache_).value)}).value;
  check_finite(model, row_of_logits(logits_, 0), cache_.length());
}

void Generation::append(std::int64_t id) {
  if (id < 0 || id >= model_.config().text.vocabulary)
    input_error("generate: id ", id, " where the vocabulary has ", model_.config().text.vocabulary, " rows");
  Device& device = model_.parameters().device();
  const std::int64_t n = cache_.length();
  // One query, at position n, that sees the n cached keys and its own.
  const OnevisionInputs step = {
      .input_ids = {id},
      .positions = index_tensor("positions", {n}, {1}, 0, cache_.capacity(), device),
      .segments = std::make_shared<kernels::Segments>(kernels::SegmentTable{{0, 1, 0, n + 1}}, 1, n + 1, true, device),
      .pixel_values = {},
      .grids = {},
      .feature_rows = {-1}};  // a placeholder that the model itself wrote has no picture
  logits_ = model_.logits(model_.hidden(nullptr, step, {}, &cache_)).value;
  check_finite(model_, row_of_logits(logits_, 0), cache_.length());
}

std::int64_t greedy(const Tensor& logits) {
  const auto z = logits.to(Dtype::f64).to_vector<double>();  // exact, so the order is that of the logits
  return std::max_element(z.begin(), z.end()) - z.begin();   // the first of equals
}

std::vector<std::int64_t> generate(const Onevision& model, const std::vector<std::int64_t>& prompt,
                                   const Tensor& pixel_values, const std::vector<Grid>& grids,
                                   const GenerateOptions& options, const std::function<bool(std::int64_t)>& callback) {
  std::vector<std::int64_t> ids;
  std::exception_ptr error;
  Engine engine(model, {.max_running = 1, .share = false});
  engine.submit({.prompt = prompt,
                 .pictures = split_pictures(pixel_values, grids),
                 .sampling = options.sampling,
                 .max_new_tokens = options.max_new_tokens,
                 .stop = options.stop,
                 .token =
                     [&](const Token& t) {
                       ids.push_back(t.id);
                       return !callback || callback(t.id);
                     },
                 .done = [&](const Finish& f) { error = f.error; }});
  engine.run();
  if (error) std::rethrow_exception(error);
  return ids;
}

std::vector<Picture> split_pictures(const Tensor& pixel_values, const std::vector<Grid>& grids) {
  std::vector<Picture> pictures;
  if (!grids.empty()) check_patches(grids, pixel_values.dim(0));
  std::int64_t row = 0;
  for (const Grid& g : grids) {
    pictures.push_back({.pixel_values = pixel_values.slice(0, row, row + g.patches()), .grid = g});
    row += g.patches();
  }
  return pictures;
}

std::vector<std::int64_t> read_stop_ids(const std::string& directory, const std::vector<std::int64_t>& otherwise,
                                        std::int64_t vocabulary) {
  for (const char* name : {"generation_config.json", "config.json"}) {
    const std::string path = directory + "/" + name;
    if (::access(path.c_str(), F_OK) != 0) continue;
    const Json json = Json::read(path);
    if (!json.is_object()) input_error(path, ": expected an object, found ", kind_name(json.kind()));
    std::vector<std::int64_t> stop;
    for (const char* key : {"eos_token_id", "pad_token_id"}) {
      const Json* value = json.find(key);
      if (!value || value->is_null()) continue;
      for (const Json& id : value->is_array() ? value->items() : std::vector<Json>{*value}) {
        if (!id.is_integer() || id.as_int() < 0 || id.as_int() >= vocabulary)
          input_error(path, ": ", key, ": expected ids from 0 to ", vocabulary - 1, ", found ", value->shown());
        if (std::find(stop.begin(), stop.end(), id.as_int()) == stop.end()) stop.push_back(id.as_int());
      }
    }
    if (!stop.empty()) return stop;
  }
  if (otherwise.empty())
    input_error(directory,
                ": no generation_config.json with eos_token_id, and the tokenizer has no eos; an answer "
                "would never end");
  return otherwise;
}

Sampling read_sampling(const std::string& directory) {
  Sampling sampling;
  const std::string path = directory + "/generation_config.json";
  const Json json = ::access(path.c_str(), F_OK) == 0 ? Json::read(path) : Json::object();
  const auto number = [&](const char* key, double otherwise) {
    const Json* found = json.find(key);
    if (!found || found->is_null()) return otherwise;
    if (!found->is_number()) input_error(path, ": ", key, ": expected a number, found ", found->shown());
    return found->as_double();
  };
  const Json* sampled = json.find("do_sample");
  if (!sampled || !sampled->is_boolean() || !sampled->as_bool()) return sampling;
  sampling.temperature = number("temperature", 1);
  sampling.top_k = static_cast<std::int64_t>(number("top_k", 50));  // Transformers' own default
  sampling.top_p = number("top_p", 1);
  sampling.min_p = number("min_p", 0);
  sampling.repetition_penalty = number("repetition_penalty", 1);
  try {
    check_sampling(sampling, 1);
  } catch (const Error& e) { input_error(path, ": ", e.what()); }
  return sampling;
}

}  // namespace ov
