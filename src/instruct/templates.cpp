#include "instruct/templates.h"

#include <algorithm>
#include <set>

#include "base/text.h"

namespace ov::instruct {
namespace {

constexpr std::string_view slot = "{question}";
constexpr std::size_t short_words = 4, short_characters = 8;  // of a short answer, in words or Chinese characters

constexpr std::string_view blanks = " \t\r\n";

std::string folded(std::string_view text) { return lowered(collapsed(text)); }

// Where `stock` ends in a text that begins with it when it is folded; both may be read backward.
template <class It, class Stock>
It behind_stock(It at, Stock stock, Stock end) {
  for (; stock != end; ++stock) {
    if (*stock != ' ') ++at;
    else
      while (blanks.find(*at) != blanks.npos) ++at;
  }
  return at;
}

// Where the question without its tags stands in the text that they lead or trail; npos: one stands in the middle.
std::size_t place_in(std::string_view whole, std::string_view question) {
  std::size_t at = 0;
  const auto skip_blanks = [&] { at = std::min(whole.find_first_not_of(blanks, at), whole.size()); };
  for (skip_blanks(); whole.substr(at).starts_with(image_tag); skip_blanks()) at += std::string_view(image_tag).size();
  return whole.substr(at).starts_with(question) ? at : whole.npos;
}

bool is_small(char c) { return 'a' <= c && c <= 'z'; }

bool ends_sentence(std::string_view text) {
  for (const std::string_view mark : {".", "?", "!", ":", "。", "？", "！", "："})
    if (text.ends_with(mark)) return true;
  return false;
}

// The part of a template beside its slot, "" where it stands on both sides.
std::string affix(const std::string& text) {
  const std::size_t at = text.find(slot);
  const std::string before = folded(text.substr(0, at)), after = folded(text.substr(at + slot.size()));
  return before.empty() ? after : after.empty() ? before : "";
}

bool one_of(const std::string& text, std::initializer_list<const char*> list) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

std::string bare(const std::string& answer) {  // without a full stop at its end
  std::string out = folded(answer);
  for (const std::string_view stop : {".", "。"})
    if (out.ends_with(stop)) out.resize(out.size() - stop.size());
  return out;
}

bool is_letter(const std::string& answer) {
  std::string a = bare(answer);
  if (a.size() == 3 && a.front() == '(' && a.back() == ')') a = a.substr(1, 1);
  return a.size() == 1 && 'a' <= a[0] && a[0] <= 'h';
}

// At least two options, "A. ", "B) " or "(C) ", at the start of a line or behind a blank.
bool lists_options(const std::string& question) {
  int found = 0;
  for (const char letter : {'A', 'B'})
    for (const std::string& mark : {cat(letter, "."), cat(letter, ")"), cat(letter, ":")}) {
      const std::size_t at = question.find(mark);
      if (at != question.npos &&
          (at == 0 || std::string_view(" \n\t(").find(question[at - 1]) != std::string_view::npos))
        ++found;
    }
  return found >= 2;
}

bool is_number(const std::string& answer) {
  const std::string a = bare(answer);
  return !a.empty() && a.size() < 10 && a.find_first_not_of("0123456789") == a.npos;
}

// Four numbers between commas, in brackets or not.
bool is_box(const std::string& answer) {
  const std::string a = bare(answer);
  if (a.find_first_not_of("0123456789., []()") != a.npos || count(a, ",") != 3) return false;
  std::size_t numbers = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    numbers += '0' <= a[i] && a[i] <= '9' && (i == 0 || !(('0' <= a[i - 1] && a[i - 1] <= '9') || a[i - 1] == '.'));
  return numbers == 4;
}

bool is_short(const std::string& answer) {
  if (answer.find('\n') != answer.npos) return false;
  const auto n = words_of(answer).size();
  return n > 0 && n <= (language_of(answer) == "zh" ? short_characters : short_words) && answer.size() <= 60;
}

}  // namespace

TemplateBank TemplateBank::read(const std::string& path, std::uint64_t seed) {
  TemplateBank bank;
  bank.seed_ = seed;
  const Json json = Json::read(path);
  for (const Json& entry : json.at("tasks").items()) {
    Task task;
    task.name = entry.at("task").as_string();
    const std::string where = cat(path, ": task ", shown(task.name));
    if (bank.find(task.name)) input_error(where, ": stands there twice");
    std::set<std::string> seen;
    std::size_t asking = 0, all = 0;
    for (std::size_t l = 0; l < languages.size(); ++l) {
      for (const Json& text : entry.at(languages[l]).items()) {
        task.wording[l].push_back(text.as_string());
        const std::string& t = task.wording[l].back();
        if (!seen.insert(t).second) input_error(where, ": ", shown(t), " stands there twice");
        if (blank(t) || count(t, slot) > 1)
          input_error(where, ": expected a text with at most one {question}: ", shown(t));
        asking += count(t, slot), ++all;
        const std::string own = count(t, slot) ? affix(t) : folded(t);
        if (words_of(own).size() > 1) bank.stock_.push_back({own, bank.tasks_.size()});
      }
      if (task.wording[l].size() < fewest)
        input_error(where, ": ", task.wording[l].size(), " templates in ", languages[l], ", expected at least ",
                    fewest);
    }
    if (asking != 0 && asking != all) input_error(where, ": {question} stands in ", asking, " of ", all, " templates");
    task.asks = asking > 0;
    if (const Json* stock = entry.find("stock"))
      for (const Json& text : stock->items()) bank.stock_.push_back({folded(text.as_string()), bank.tasks_.size()});
    bank.tasks_.push_back(std::move(task));
  }
  std::stable_sort(bank.stock_.begin(), bank.stock_.end(),
                   [](const Stock& a, const Stock& b) { return a.text.size() > b.text.size(); });
  return bank;
}

const TemplateBank::Task* TemplateBank::find(std::string_view name) const {
  for (const Task& t : tasks_)
    if (t.name == name) return &t;
  return nullptr;
}

// What the answers have the form of; of several turns, all of them.
const TemplateBank::Task* TemplateBank::task_of(const Record& r, const std::string& question) const {
  bool letter = true, yes_no = true, box = true, number = true, brief = true;
  for (const Turn& t : r.turns) {
    if (t.role != "assistant") continue;
    letter = letter && is_letter(t.text), box = box && is_box(t.text), number = number && is_number(t.text);
    yes_no = yes_no && one_of(bare(t.text), {"yes", "no", "是", "否", "不是"});
    brief = brief && is_short(t.text);
  }
  if (question.empty()) return find(r.category == "ocr" ? "ocr" : "caption");
  if (letter && lists_options(question)) return find("multiple_choice");
  if (yes_no) return find("yes_no");
  if (box) return find("grounding");
  const std::string q = folded(question);
  const bool counts = q.find("how many") != q.npos || q.find("多少") != q.npos || q.find("几个") != q.npos;
  if (number && counts) return find("counting");
  return brief ? find("short_answer") : nullptr;
}

// Pictures stay where they were, before or behind the question.
void TemplateBank::put(Record& r, const Task& task, const std::string& question) const {
  const std::string asked = language_of(question);  // a turn of a mixed record may be in the other language
  const auto l = static_cast<std::size_t>(std::max(0, place_of(languages, asked == "" ? r.lang : asked)));
  const auto& list = task.wording[l];
  const std::size_t n = drawn(seed_, "instruct template", r.id, list.size());
  std::string text = list[n];
  if (const std::size_t at = text.find(slot); at != text.npos) text.replace(at, slot.size(), question);
  std::string& whole = r.first_question()->text;
  const std::string old = without_tags(whole);
  const std::size_t at = old.empty() ? whole.npos : place_in(whole, old);
  if (at != whole.npos) whole.replace(at, old.size(), text);
  else whole += (whole.empty() || whole.ends_with("\n") ? "" : "\n") + text;
  r.meta.set("template", cat(task.name, ".", languages[l], ".", n + 1));
}

std::optional<TemplateBank::Match> TemplateBank::stock_in(const std::string& question) const {
  const std::string q = folded(question);
  for (const Stock& s : stock_) {
    const Task& task = tasks_[s.task];
    if (!task.asks) {
      if (q == s.text) return Match{&task, 0, 0};
      continue;
    }
    if (q.size() <= s.text.size() + 1) continue;
    const bool behind = q.ends_with(s.text) && q[q.size() - s.text.size() - 1] == ' ';
    const bool before = !behind && q.starts_with(s.text) && (q[s.text.size()] == ' ' || s.text.ends_with(":"));
    if (!behind && !before) continue;
    // Where the stock sentence begins or ends in the text as it was, which may have other blanks and capitals.
    const std::string_view rest =
        behind
            ? std::string_view(question.begin(), behind_stock(question.rbegin(), s.text.rbegin(), s.text.rend()).base())
            : std::string_view(behind_stock(question.begin(), s.text.begin(), s.text.end()), question.end());
    const std::string_view core = trimmed(rest);
    // "..., please" and "Answer the question" are no "please answer the question".
    if (behind && !core.empty() && is_small(question[rest.size()]) && !ends_sentence(core) &&
        rest.find('\n', static_cast<std::size_t>(core.end() - rest.begin())) == rest.npos)
      continue;
    if (!core.empty()) return Match{&task, static_cast<std::size_t>(core.data() - question.data()), core.size()};
  }
  return {};
}

void TemplateBank::reword(Record& r, Notes& notes) const {
  const Turn* first = r.first_question();
  if (!first) return;
  // A tag in the middle of a text: taking a sentence off would move the picture.
  const std::string question = r.question();
  if (!question.empty() && place_in(first->text, question) == std::string::npos) return;
  if (const auto found = stock_in(question)) {
    put(r, *found->task, question.substr(found->begin, found->size));
    notes.push_back({found->task->name, ""});
  }
}

std::optional<TemplateBank::Question> TemplateBank::question_of(const Record& r) const {
  const std::string question = r.question();
  const Turn* first = const_cast<Record&>(r).first_question();
  if (!first || (!question.empty() && place_in(first->text, question) == std::string::npos)) return {};
  const Json* worn = r.meta.find("template");
  if (!worn) {
    const auto found = stock_in(question);
    return Question{"", found ? question.substr(found->begin, found->size) : question};
  }
  // "short_answer.en.7", as put() left it
  const std::string& name = worn->as_string();
  const std::size_t language = name.find('.'), number = name.rfind('.');
  const Task& task = *find(name.substr(0, language));
  const auto l = static_cast<std::size_t>(place_of(languages, name.substr(language + 1, number - language - 1)));
  const std::string& text = task.wording[l][std::stoul(name.substr(number + 1)) - 1];
  const std::size_t at = text.find(slot);
  if (at == text.npos) return Question{task.name, ""};
  return Question{task.name, question.substr(at, question.size() + slot.size() - text.size())};
}

void TemplateBank::ask(Record& r, const Question& q, const std::string& text) const {
  if (!q.task.empty()) return put(r, *find(q.task), text);
  std::string question = r.question();
  const std::size_t at = place_in(r.first_question()->text, question), size = question.size();
  const auto found = stock_in(question);
  question.replace(found ? found->begin : 0, found ? found->size : size, text);
  r.first_question()->text.replace(at, size, question);
}

void TemplateBank::dress(Record& r, Notes& notes) const {
  if (!r.first_question() || r.meta.find("template")) return;
  const std::string question = r.question();
  if (!question.empty() && place_in(r.first_question()->text, question) == std::string::npos) return;
  const Task* task = task_of(r, question);
  if (!task || (question.empty() && r.images.empty())) return;
  put(r, *task, question);
  notes.push_back({task->name, ""});
}

}  // namespace ov::instruct
