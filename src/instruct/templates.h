// Instructions in other words: the template bank (data/instruct/templates.json).
//
// A record's task shows in its question, where a public set's stock instruction stands in it, or in its answers: a
// letter where options are listed, yes or no, a box, a number that was asked for, a few words. `reword` replaces stock
// instructions, `dress` gives one to questions that have none. Answers stay as they are, and no template asks for a
// form that the answers do not have.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "instruct/record.h"

namespace ov::instruct {

class TemplateBank {
 public:
  static constexpr std::size_t fewest = 20;  // templates of a task and language
  // Throws input_error that names the entry: too few templates, one twice, {question} in some of a task's but not all.
  static TemplateBank read(const std::string& path, std::uint64_t seed);

  void reword(Record& r, Notes& notes) const;
  void dress(Record& r, Notes& notes) const;

  // What the first question asks, without the stock instruction or the template around it; `text` is "" where it asks
  // by the instruction alone.
  struct Question {
    std::string task;  // of the template that it wears; "" before reword and dress
    std::string text;
  };
  std::optional<Question> question_of(const Record& r) const;  // none: a picture stands inside of it
  // `text` in the place of `q.text`. A template is drawn again, of the record's language.
  void ask(Record& r, const Question& q, const std::string& text) const;

 private:
  struct Task {
    std::string name;
    bool asks = false;                                // its templates hold {question}
    std::array<std::vector<std::string>, 2> wording;  // by language
  };
  struct Stock {
    std::string text;
    std::size_t task;
  };
  struct Match {
    const Task* task;
    std::size_t begin, size;  // of what is asked, in the question
  };
  std::optional<Match> stock_in(const std::string& question) const;
  const Task* find(std::string_view name) const;
  const Task* task_of(const Record& r, const std::string& question) const;
  void put(Record& r, const Task& task, const std::string& question) const;

  std::uint64_t seed_ = 0;
  std::vector<Task> tasks_;
  std::vector<Stock> stock_;  // the longest first
};

}  // namespace ov::instruct
