#include "instruct/bilingual.h"

#include "base/rng.h"
#include "base/text.h"

namespace ov::instruct {
namespace {

// Question, answer, question ... with the first question as the bank sees it. Empty: a record of another form, with
// words of a system before it or pictures inside of later questions.
std::vector<std::string> texts_of(const Record& r, const TemplateBank::Question& q) {
  std::vector<std::string> texts = {q.text};
  if (r.turns.empty() || r.turns[0].role != "user") return {};
  for (std::size_t t = 1; t < r.turns.size(); ++t) {
    if (r.turns[t].text.find(image_tag) != std::string::npos) return {};
    texts.push_back(r.turns[t].text);
  }
  return texts;
}

// The record in the other language. What the bank draws is of that language then.
void put(Record& r, const TemplateBank& bank, const TemplateBank::Question& q, const std::vector<std::string>& texts,
         const std::string& to, const std::string& by) {
  r.meta.set("translated", by), r.meta.set("translated_from", r.lang);
  r.lang = to;
  bank.ask(r, q, texts[0]);
  for (std::size_t t = 1; t < texts.size(); ++t) r.turns[t].text = texts[t];
}

}  // namespace

bool Rewording::draws(const char* purpose, const Record& r, double share) const {
  return share > 0 && Philox(seed_, purpose).uniform_f64(fnv1a(r.id)) < share;
}

void Rewording::rewrite(std::vector<Visit>& batch) const {
  if (!writer_) return;
  struct Open {
    Visit* visit;
    TemplateBank::Question question;
  };
  std::vector<Open> open;
  std::vector<Wanted> wanted;
  for (Visit& v : batch) {
    Record& r = *v.record;
    if (!draws("instruct rewrite", r, share_)) continue;
    const auto q = bank_->question_of(r);
    if (!q || q->text.empty()) continue;
    open.push_back({&v, *q});
    const std::size_t answer = r.turns[0].role == "system" ? 2 : 1;
    wanted.push_back({r.id, r.lang, r.lang, {q->text, r.turns[answer].text}});
  }
  const std::vector<Written> written = writer_->write(wanted);
  for (std::size_t i = 0; i < open.size(); ++i) {
    Visit& v = *open[i].visit;
    if (const Note& why = written[i].objection; !why.what.empty()) {
      v.notes.push_back({"kept_" + why.what, cat(open[i].question.text, ": ", why.message)});
      continue;
    }
    bank_->ask(*v.record, open[i].question, written[i].texts[0]);
    v.record->meta.set("rewritten", writer_->model());
    v.notes.push_back({"rewritten", cat(open[i].question.text, " -> ", written[i].texts[0])});
  }
}

void Rewording::translate(std::vector<Visit>& batch) const {
  struct Open {
    Visit* visit;
    TemplateBank::Question question;
    std::string to;
  };
  std::vector<Open> open;
  std::vector<Wanted> wanted;
  for (Visit& v : batch) {
    Record& r = *v.record;
    const int from = place_of(languages, r.lang);
    if (from < 0) continue;
    const auto to = static_cast<std::size_t>(1 - from);
    if (!draws("instruct bilingual", r, bilingual_.share[to])) continue;
    const auto q = bank_->question_of(r);
    const std::vector<std::string> texts = q ? texts_of(r, *q) : std::vector<std::string>();
    if (texts.size() < 2) {
      v.notes.push_back({"kept_form", "a system's words, or a picture inside of a text"});
      continue;
    }
    if (bilingual_.phrases)
      if (const auto said = phrases_->translated(texts, languages[to], q->text.empty() && q->task == "ocr")) {
        put(r, *bank_, *q, *said, languages[to], "phrases");
        v.notes.push_back({"translated_by_phrases", cat(texts[0], " -> ", (*said)[0])});
        continue;
      }
    if (!writer_ || !bilingual_.endpoint) {
      v.notes.push_back({"kept_no_phrase", ""});
      continue;
    }
    open.push_back({&v, *q, languages[to]});
    wanted.push_back({r.id, r.lang, languages[to], texts});
  }
  if (wanted.empty()) return;
  const std::vector<Written> written = writer_->write(wanted);
  for (std::size_t i = 0; i < open.size(); ++i) {
    Visit& v = *open[i].visit;
    if (const Note& why = written[i].objection; !why.what.empty()) {
      v.notes.push_back({"kept_" + why.what, cat(wanted[i].texts[0], ": ", why.message)});
      continue;
    }
    put(*v.record, *bank_, open[i].question, written[i].texts, open[i].to, writer_->model());
    v.notes.push_back({"translated_by_endpoint", cat(wanted[i].texts[0], " -> ", written[i].texts[0])});
  }
}

}  // namespace ov::instruct
