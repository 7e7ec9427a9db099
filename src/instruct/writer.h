// Texts that an endpoint writes anew (data/instruct/endpoint.json has the words it is asked with): a question in other
// words, or a whole conversation in the other language.
//
// A reply is used when no rule speaks against it (instruct/preserve.h), and when the endpoint, asked again as a judge,
// says that the answer is still right. Otherwise the text stays as it was, and the objection says why.
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "instruct/endpoint.h"
#include "instruct/preserve.h"
#include "instruct/safety.h"

namespace ov::instruct {

// What is to be written. from == to: the first text in other words; else all of them in the language `to`.
struct Wanted {
  std::string id, from, to;
  std::vector<std::string> texts;  // question, answer, question, ...
};

struct Written {
  std::vector<std::string> texts;  // as many
  Note objection;                  // what: "" when they may be used
};

struct WriterOptions {
  Asker asker;                                              // none: nothing is written
  std::string model = "default", cache;                     // cache: a directory (instruct/endpoint.h)
  std::shared_ptr<std::atomic<std::int64_t>> retries = {};  // that the asker counts
  double share = 1;   // of the records, drawn by id, whose question is put in other words
  bool judge = true;  // ask for a second time
};

class Writer {
 public:
  // `path`: the file of prompts. Throws input_error that names the key.
  Writer(const WriterOptions& options, const std::string& path, const SafetyRules& safety, std::uint64_t seed);

  std::vector<Written> write(const std::vector<Wanted>& wanted);
  const std::string& model() const { return options_.model; }
  std::string spent() const;  // how many requests were sent, for a terminal

 private:
  Json body(const std::string& prompt, const Json& said) const;
  Json asks(const Wanted& t) const;
  Json judges(const Wanted& t, const Written& w) const;
  Written read(const Wanted& t, const Reply& reply) const;

  const WriterOptions options_;
  const SafetyRules safety_;
  const std::uint64_t seed_;
  std::string rewrite_, translate_, judge_;
  double temperature_ = 0;
  std::int64_t variants_ = 1, max_tokens_ = 0;
  WordBounds bounds_;
  Endpoint endpoint_;
};

}  // namespace ov::instruct
