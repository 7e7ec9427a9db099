#include "eval/questions.h"

#include <sys/stat.h>

#include <set>

#include "base/io/mapped_file.h"
#include "base/progress.h"
#include "base/text.h"
#include "store/jsonl.h"
#include "text/conversation.h"

namespace ov {
namespace {

void only_keys(const Json& object, const std::vector<std::string>& known, const std::string& where) {
  for (const auto& [key, value] : object.members())
    if (std::find(known.begin(), known.end(), key) == known.end())
      input_error(where, ": unknown key '", key, "'", did_you_mean(key, known));
}

EvalTasks::Category read_category(const std::string& name, const Json& json, const std::string& path) {
  const std::string where = cat(path, ": category '", name, "'");
  if (!json.is_object()) input_error(where, ": expected an object, found ", kind_name(json.kind()));
  only_keys(json, {"scorer", "templates"}, where);
  const auto scorer = [](const Json* value, const std::string& at) {
    if (!value || !value->is_string())
      input_error(at, ": scorer: expected a text, found ", value ? value->shown(40) : "nothing");
    return &scorer_named(value->as_string(), at);
  };
  EvalTasks::Category c{name, scorer(json.find("scorer"), where)};
  const Json* templates = json.find("templates");
  if (templates && !templates->is_object())
    input_error(where, ": templates: expected an object, found ", kind_name(templates->kind()));
  if (templates)
    for (const auto& [id, value] : templates->members())
      c.templates[id] = scorer(&value, cat(where, ": template '", id, "'"));
  return c;
}

bool is_file(const std::string& path) {
  struct stat s;
  return ::stat(path.c_str(), &s) == 0 && S_ISREG(s.st_mode);
}

const std::string& text_of(const Json& line, const char* key, const std::string& where) {
  const Json* value = line.is_object() ? line.find(key) : nullptr;
  if (!value || !value->is_string())
    reject(RejectReason::malformed_record, where, ": expected a string '", key, "', found ",
           value              ? value->shown()
           : line.is_object() ? "none"
                              : kind_name(line.kind()));
  return value->as_string();
}

class Reader {
 public:
  Reader(const std::string& directory, const EvalTasks& tasks) : directory_(directory), tasks_(tasks) {
    for (const auto& c : tasks.categories) names_.push_back(c.name);
  }

  Question question(const Json& line, const std::string& where) {
    Question q{.id = text_of(line, "id", where),
               .image = directory_ + "/" + text_of(line, "image", where),
               .category = text_of(line, "category", where),
               .from_template = text_of(line, "template", where),
               .question = text_of(line, "question", where),
               .answer = text_of(line, "answer", where)};
    const auto at = std::find(names_.begin(), names_.end(), q.category);
    if (at == names_.end())
      input_error(where, ": category '", q.category, "' is not one of ", tasks_.path, did_you_mean(q.category, names_));
    const EvalTasks::Category& category = tasks_.categories[static_cast<std::size_t>(at - names_.begin())];
    const auto own = category.templates.find(q.from_template);
    q.scorer = own == category.templates.end() ? category.scorer : own->second;
    if (const Json* stated = line.find("scorer");
        stated && (!stated->is_string() || stated->as_string() != q.scorer->name))
      input_error(where, ": scorer ", stated->shown(), " for template '", q.from_template, "', where ", tasks_.path,
                  " has '", q.scorer->name, "'");
    if (normalise(q.question).empty()) reject(RejectReason::empty_text, where, ": the question is empty");
    if (count(q.question, image_tag) > 1 || count(q.question, "<|image_pad|>") > 0)
      reject(RejectReason::image_count, where,
             ": the question has more places for pictures than the one that is shown");
    if (!q.scorer->takes(q.answer))
      reject(RejectReason::no_answer, where, ": '", shown(q.answer), "' is no answer for scorer ", q.scorer->name);
    if (!is_file(q.image)) reject(RejectReason::image_missing, where, ": no such picture: ", q.image);
    if (!ids_.insert(q.id).second) reject(RejectReason::duplicate_key, where, ": id '", q.id, "' came before");
    return q;
  }

 private:
  const std::string& directory_;
  const EvalTasks& tasks_;
  std::vector<std::string> names_;
  std::set<std::string> ids_;
};

}  // namespace

EvalTasks EvalTasks::read(const std::string& path) {
  const Json json = Json::read(path);
  EvalTasks tasks;
  tasks.path = path;
  try {
    only_keys(json, {"categories", "grey"}, path);
    const Json& categories = json.at("categories");
    if (!categories.is_object()) input_error("categories: expected an object, found ", kind_name(categories.kind()));
    for (const auto& [name, category] : categories.members())
      tasks.categories.push_back(read_category(name, category, path));
    if (const Json* grey = json.find("grey")) {
      if (!grey->is_integer() || grey->as_int() < 0 || grey->as_int() > 255)
        input_error("grey: expected 0 to 255, found ", grey->shown(40));
      tasks.grey = static_cast<int>(grey->as_int());
    }
  } catch (const Error& e) {
    const std::string message = e.what();
    throw Error(e.exit(), message.starts_with(path) ? message : path + ": " + message);
  }
  if (tasks.categories.empty()) input_error(path, ": categories: expected at least one");
  return tasks;
}

Questions read_questions(const std::string& directory, const EvalTasks& tasks, std::int64_t limit,
                         const std::function<void(const Rejected&)>& rejected) {
  Reader reader(directory, tasks);
  std::map<std::string, std::vector<Question>> by_category;
  std::vector<std::string> found;
  for (const std::string& name : list_directory(directory)) {
    if (!name.ends_with(".jsonl")) continue;
    const std::string path = directory + "/" + name;
    JsonlReader lines(path);
    for (bool more = true; more;) {
      try {
        Json line;
        try {
          if (!(more = lines.next(&line))) break;
        } catch (const Error& e) {
          if (e.exit() != Exit::wrong_input) throw;
          throw Rejected(RejectReason::malformed_record, e.what());
        }
        Question q = reader.question(line, cat(path, ":", lines.line()));
        if (!by_category.contains(q.category)) found.push_back(q.category);
        auto& of_category = by_category[q.category];
        if (limit == 0 || static_cast<std::int64_t>(of_category.size()) < limit) of_category.push_back(std::move(q));
      } catch (const Rejected& r) { rejected(r); }
    }
  }
  Questions out;
  for (const auto& category : tasks.categories) {
    auto& questions = by_category[category.name];
    if (questions.empty())
      input_error(tasks.path, ": category '", category.name, "': no question in ", directory, " belongs to it",
                  did_you_mean(category.name, found));
    std::move(questions.begin(), questions.end(), std::back_inserter(out.all));
  }
  const std::string commonest = directory + "/commonest_answers.json";
  if (!path_exists(commonest)) {
    tell(cat(commonest, " is not there: what guessing the commonest answer would score is not known and shown as 0"));
    return out;
  }
  const Json answers = Json::read(commonest);
  if (!answers.is_object())
    input_error(commonest, ": expected an object of templates, found ", kind_name(answers.kind()));
  for (const auto& [id, entry] : answers.members()) {
    const Json* answer = entry.is_object() ? entry.find("answer") : nullptr;
    if (!answer || !answer->is_string())
      input_error(commonest, ": '", id, "': expected an object with a string 'answer'");
    out.commonest[id] = answer->as_string();
  }
  return out;
}

}  // namespace ov
