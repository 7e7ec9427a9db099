#include "rl/select_run.h"

#include <cmath>
#include <filesystem>

#include "base/hash.h"
#include "base/io/directory_lock.h"
#include "base/io/file.h"
#include "base/progress.h"
#include "generate/generate.h"
#include "store/jsonl.h"
#include "train/checksums.h"
#include "train/stages/job.h"
#include "train/stages/model_directory.h"

namespace ov::rl {

namespace {

// Which members of a head differ, each with both values.
std::string other_values(const Json& old, const Json& now) {
  if (!old.is_object()) return old.shown();
  std::string out;
  const auto compare = [&](const std::string& name) {
    const Json *was = old.find(name), *is = now.find(name);
    if (was && is && was->dump() == is->dump()) return;
    out += cat(out.empty() ? "" : ", ", name, " was ", was ? was->shown() : "nothing", " and is ",
               is ? is->shown() : "nothing");
  };
  for (const auto& [name, value] : now.members()) compare(name);
  for (const auto& [name, value] : old.members())
    if (!now.find(name)) compare(name);
  return out;
}

// The rewards of the record `at`, from a line of rollouts.jsonl.
RolloutRecord told(const Json& line, const std::string& where, const std::vector<Record>& records, std::size_t at,
                   const SelectionRun& o, std::map<std::string, std::int64_t>& raised) {
  const auto of = [&](const char* key) -> const Json& {
    const Json* v = line.is_object() ? line.find(key) : nullptr;
    if (!v) input_error(where, ": ", key, ": expected it, found nothing; give another out");
    return *v;
  };
  if (at >= records.size()) input_error(where, ": expected ", records.size(), " records; give another out");
  if (const Json& id = of("id"); !id.is_string() || id.as_string() != records[at].id)
    input_error(where, ": id: rollouts of another record: expected '", records[at].id, "', found ", id.shown(),
                "; give another out");
  RolloutRecord r{records[at].id, records[at].source, records[at].group, {}};
  const auto rewards = [&](const char* key, std::int64_t n, std::vector<double>& to) {
    const Json& list = of(key);
    bool whole = list.is_array() && std::ssize(list.items()) == n;
    if (whole)
      for (const Json& reward : list.items())
        if ((whole = whole && reward.is_number() && std::isfinite(reward.as_double())))
          to.push_back(reward.as_double());
    if (!whole) input_error(where, ": ", key, ": expected ", n, " numbers, found ", list.shown());
  };
  rewards("rewards", o.rollouts.group, r.rewards);
  rewards("blind", o.grey < 0 ? 0 : o.rollouts.group, r.blind);
  if (const Json* reasons = line.find("raised"))
    for (const auto& [reason, n] : reasons->members()) raised[reason] += n.as_int();
  return r;
}

}  // namespace

std::string said_of_other_prompts(const std::string& keep, PromptStyle style) {
  const std::string manifest = (std::filesystem::path(keep).parent_path() / "manifest.json").string();
  if (keep.empty() || !path_exists(manifest)) return "";
  Json made;
  try {
    made = Json::read(manifest);
  } catch (const Error&) { return ""; }  // somebody else's
  const Json* rollouts = made.is_object() ? made.find("rollouts") : nullptr;
  const Json* plain = rollouts && rollouts->is_object() ? rollouts->find("plain") : nullptr;
  if (!plain || !plain->is_boolean() || plain->as_bool() == (style == PromptStyle::plain)) return "";
  const auto name = [](bool p) { return p ? "plain" : "released"; };
  return cat(keep, ": was selected with rl.prompt ", name(plain->as_bool()), ", and is asked with rl.prompt ",
             name(!plain->as_bool()), ": what the model earned there says nothing of this run");
}

Selection run_selection(const SelectionRun& o) {
  require_at_least(o.rollouts.group, 1, "rl.group");
  require_at_least(o.at_a_time, 1, "rl.prompts");
  const ModelFiles files = open_model_files(o.model_dir, o.load);
  const RecordFile file(o.records, o.image_dir, o.templates);
  const auto& records = file.records();
  if (const std::string said = file.said_of_unknown_types(); !said.empty()) tell(said);
  make_directories(o.out);
  const DirectoryLock lock(o.out);
  const std::string path = o.out + "/rollouts.jsonl";
  for (const char* name : {"kept.jsonl", "rates.jsonl", "manifest.json", "page.html"}) {  // written at the end
    const std::string made = o.out + "/" + name;
    std::error_code other;
    if (path_exists(made) && (!path_exists(path) || std::filesystem::equivalent(made, o.records, other)))
      input_error(made, ": is not what this command made, or what it reads, and would be replaced; give another out");
  }
  const auto model = load_model(files.config, o.model_dir, o.load);
  RolloutOptions rollouts = o.rollouts;
  rollouts.stop = read_stop_ids(o.model_dir, files.processor.stop_ids(), files.config.text.vocabulary);

  Json about = Json::object(
      {{"type", "rollouts"},
       {"model", o.model_dir},
       {"config", model_fingerprint(files.config)},
       {"weights", hex16(weights_checksum(model->parameters()))},
       {"dtype", name_of(o.load.dtype)},
       {"numerics", cat(o.load.reference, ' ', o.load.hf_shift_bug, ' ', o.load.pre_norm_eps, ' ',
                        o.load.merger_norm_eps, ' ', o.load.segments)},
       {"processor", processor_fingerprint(files.processor)},
       {"pixels", cat(o.limits.min_pixels.value_or(0), ' ', o.limits.max_pixels.value_or(0), ' ', o.limits.fast)},
       {"records", file.fingerprint()},
       {"selected", std::ssize(records)},
       {"n", rollouts.group},
       {"max_new_tokens", rollouts.max_new_tokens},
       {"plain", rollouts.style == PromptStyle::plain},
       {"grey", o.grey},
       {"seed", o.seed}});
  if (!o.image_dir.empty()) about.set("image_dir", o.image_dir);
  std::vector<RolloutRecord> done;
  std::map<std::string, std::int64_t> raised;  // rollouts whose verifier gave up, by reason
  bool begun = false;
  auto log = JsonlWriter::resume(path, [&](const Json& line) {
    if (!std::exchange(begun, true)) {
      if (line.dump() == about.dump()) return true;
      // A head with nothing behind it binds nobody: that run failed before its first rollouts.
      const Json* type = line.is_object() ? line.find("type") : nullptr;
      if (type && type->dump() == "\"rollouts\"" && std::filesystem::file_size(path) == line.dump().size() + 1)
        return begun = false;
      input_error(path, ": rollouts of another model, data or options: ", other_values(line, about),
                  "; to go on give the old values, else give another out");
    }
    done.push_back(told(line, cat(path, ":", done.size() + 2), records, done.size(), o, raised));
    return true;
  });
  if (!begun) log.write(about);

  while (done.size() < records.size()) {
    const std::size_t first = done.size();
    const auto n = static_cast<std::int64_t>(std::min(static_cast<std::size_t>(o.at_a_time), records.size() - first));
    std::vector<RolloutCounts> counts(static_cast<std::size_t>(n));
    const auto rewards = [&](int grey) {
      std::vector<Group> groups(static_cast<std::size_t>(n));
      std::vector<Group*> all;
      for (std::size_t i = 0; i < groups.size(); ++i) {
        groups[i].record = &records[first + i], groups[i].seed = mix64(o.seed, first + i);
        all.push_back(&groups[i]);
      }
      make_prompts(all, file, files.processor, rollouts.style, o.limits, grey);
      RolloutWriter writer(*model, rollouts, 0);
      for (Group& g : groups) writer.add(g);
      while (writer.step()) {}
      std::vector<std::vector<double>> out;
      for (std::size_t i = 0; i < groups.size(); ++i) {
        score(groups[i], files.processor.tokenizer(), rollouts, counts[i]);
        for (out.emplace_back(); const Rollout& r : groups[i].rollouts) out.back().push_back(r.reward.accuracy);
      }
      return out;
    };
    const auto seen = rewards(-1);
    const auto blind = o.grey < 0 ? std::vector<std::vector<double>>(seen.size()) : rewards(o.grey);
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const Record& r = records[first + i];
      Json line = Json::object({{"id", r.id}, {"rewards", seen[i]}, {"blind", blind[i]}});
      Json reasons = Json::object();
      for (const auto& [reason, times] : counts[i].raised_of) reasons.set(reason, times), raised[reason] += times;
      if (reasons.size() > 0) line.set("raised", reasons);
      log.write(line);
      done.push_back({r.id, r.source, r.group, seen[i], blind[i]});
    }
    if (o.progress) o.progress(std::ssize(done), std::ssize(records));
  }

  Selection s = select(done, o.selection);
  std::string kept;
  for (const std::size_t i : s.kept)
    kept += Json::object({{"id", done[i].id}, {"question", question_hash(records[i])}}).dump() + "\n";
  write_durably(o.out + "/kept.jsonl", kept);
  write_durably(o.out + "/rates.jsonl", s.record_lines(done));
  Json reasons = Json::object();
  for (const auto& [reason, times] : raised) reasons.set(reason, times);
  if (!raised.empty()) s.manifest.set("raised", reasons);
  s.raised = std::move(raised);
  s.manifest.set("rollouts", about);
  write_durably(o.out + "/manifest.json", s.manifest.dump() + "\n");
  return s;
}

}  // namespace ov::rl
