#include "eval/evaluate.h"

#include <algorithm>
#include <map>

#include "base/parallel.h"
#include "base/text.h"
#include "generate/generate.h"
#include "image/decode.h"
#include "text/conversation.h"

namespace ov {
namespace {

constexpr std::int64_t round_size = 64;  // pictures or questions between two reports of progress

Image constant(ImageSize size, int grey) {
  Image image(size.width, size.height);
  std::fill(image.rgb.begin(), image.rgb.end(), static_cast<std::uint8_t>(grey));
  return image;
}

// One run of the model: a question on a picture. Questions with equal text on the same picture are one job.
struct Job {
  std::size_t picture = 0;
  const Question* question = nullptr;
  std::string answer = {};
};

class Evaluator {
 public:
  Evaluator(const Onevision& model, const Processor& processor, const EvalOptions& options)
      : model_(model), processor_(processor.with_limits(options.limits)), options_(options) {}

  Evaluation run() {
    const EvalTasks tasks = EvalTasks::read(options_.tasks);
    Questions questions = read_questions(options_.data, tasks, options_.limit, [&](const Rejected& r) { rejected(r); });
    encode_pictures(questions.all, tasks.grey);
    // A picture that cannot be read takes its questions with it.
    std::erase_if(questions.all, [&](const Question& q) { return !shown_.contains(q.image); });

    std::vector<std::pair<std::size_t, std::size_t>> job_of;  // with the picture, and blind
    for (const Question& q : questions.all)
      job_of.emplace_back(job(shown_.at(q.image), q), job(grey_.at(sizes_.at(q.image)), q));
    answer_all();

    for (std::size_t i = 0; i < questions.all.size(); ++i) {
      const Question& q = questions.all[i];
      const auto common = questions.commonest.find(q.from_template);
      Answered a{q, jobs_[job_of[i].first].answer, jobs_[job_of[i].second].answer,
                 common == questions.commonest.end() ? "" : common->second};
      a.score = q.scorer->score(a.prediction, q.answer);
      a.grey_score = q.scorer->score(a.grey_prediction, q.answer);
      a.commonest_score = q.scorer->score(a.commonest, q.answer);
      out_.answers.push_back(std::move(a));
    }
    return std::move(out_);
  }

 private:
  using Size = std::pair<std::int64_t, std::int64_t>;  // width, height

  void rejected(const Rejected& r) {
    out_.rejects.add(r.reason());
    if (out_.rejects.total() > options_.max_rejects)
      input_error(r.what(), " (", name_of(r.reason()), "; data.max_rejects is ", options_.max_rejects, ")");
  }

  Var encode(const Patches& patches) const {
    const Grid grid{patches.grid[0], patches.grid[1], patches.grid[2]};
    return model_.encode_images(
        nullptr,
        {.input_ids = {}, .positions = {}, .segments = {}, .pixel_values = patches.pixel_values, .grids = {grid}});
  }

  // Every picture once, on all threads; then one grey for each size.
  void encode_pictures(const std::vector<Question>& questions, int grey) {
    std::vector<std::string> paths;
    for (const Question& q : questions) paths.push_back(q.image);
    std::sort(paths.begin(), paths.end());
    paths.erase(std::unique(paths.begin(), paths.end()), paths.end());

    std::vector<Var> seen(paths.size());
    std::vector<Size> sizes(paths.size());
    std::vector<std::string> faults(paths.size());
    parallel_for(static_cast<std::int64_t>(paths.size()), 4, [&](std::int64_t n) {
      const auto i = static_cast<std::size_t>(n);
      Patches patches;
      try {
        const Image image = read_image(paths[i]);
        patches = named_patches(image, processor_.images(), paths[i]);
        sizes[i] = {image.width, image.height};
      } catch (const Error& e) {
        if (e.exit() != Exit::wrong_input) throw;
        faults[i] = e.what();
        return;
      }
      seen[i] = encode(patches);
    });
    for (std::size_t i = 0; i < paths.size(); ++i) {
      if (!faults[i].empty()) {
        rejected(Rejected(RejectReason::image_unusable, faults[i]));
        continue;
      }
      shown_[paths[i]] = seen_.size();
      sizes_[paths[i]] = sizes[i];
      seen_.push_back(std::move(seen[i]));
    }
    for (const auto& [path, size] : sizes_)
      if (!grey_.contains(size)) {
        grey_[size] = seen_.size();
        seen_.push_back(
            encode(named_patches(constant({size.first, size.second}, grey), processor_.images(), "grey picture")));
      }
  }

  std::size_t job(std::size_t picture, const Question& question) {
    const auto [at, fresh] = job_numbers_.try_emplace({picture, question.question}, jobs_.size());
    if (fresh) jobs_.push_back({picture, &question});
    return at->second;
  }

  void answer_all() {
    // Neighbours in a round come from far apart, so that no thread is left with all the captions.
    const std::size_t n = jobs_.size(), stride = (n + round_size - 1) / round_size;
    std::vector<std::size_t> order;
    for (std::size_t first = 0; first < stride; ++first)
      for (std::size_t i = first; i < n; i += stride) order.push_back(i);

    if (options_.progress) options_.progress(0, static_cast<std::int64_t>(n));
    for (std::size_t begin = 0; begin < n; begin += round_size) {
      const std::size_t end = std::min(begin + round_size, n);
      parallel_for(static_cast<std::int64_t>(end - begin), [&](std::int64_t i) {
        Job& j = jobs_[order[begin + static_cast<std::size_t>(i)]];
        j.answer = answer(j);
      });
      if (options_.progress) options_.progress(static_cast<std::int64_t>(end), static_cast<std::int64_t>(n));
    }
  }

  std::string answer(const Job& j) const {
    const Var& features = seen_[j.picture];
    const std::string& question = j.question->question;
    const bool placed = question.find(image_tag) != question.npos;
    const std::vector<Turn> turns = {{"user", placed ? question : cat(image_tag, "\n", question)},
                                     {"assistant", j.question->answer}};
    const std::vector<std::int64_t> image_tokens = {features.dim(0)};
    const Encoded e = encode_conversation(processor_.tokenizer(), turns, image_tokens);
    const auto first = std::find_if(e.labels.begin(), e.labels.end(), [](auto l) { return l != ignored_label; });
    const std::vector<std::int64_t> prompt(e.ids.begin(), e.ids.begin() + (first - e.labels.begin()));
    const auto ids = generate_from_features(model_, prompt, features,
                                            {.max_new_tokens = options_.max_new_tokens, .stop = options_.stop});
    return std::string(trimmed(processor_.tokenizer().decode(ids)));
  }

  const Onevision& model_;
  const Processor processor_;
  const EvalOptions& options_;
  Evaluation out_;
  std::vector<Var> seen_;                     // merged features [tokens, C] of a picture
  std::map<std::string, std::size_t> shown_;  // by path, into seen_
  std::map<std::string, Size> sizes_;         // by path
  std::map<Size, std::size_t> grey_;          // into seen_
  std::vector<Job> jobs_;
  std::map<std::pair<std::size_t, std::string>, std::size_t> job_numbers_;
};

}  // namespace

Evaluation evaluate(const Onevision& model, const Processor& processor, const EvalOptions& options) {
  return Evaluator(model, processor, options).run();
}

}  // namespace ov
