#include "rl/select_run.h"

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
  for (const auto& [name, value] : now.members()) {
    const Json* before = old.find(name);
    if (before && before->dump() == value.dump()) continue;
    out += cat(out.empty() ? "" : ", ", name, " was ", before ? before->shown() : "nothing", " and is ", value.shown());
  }
  return out;
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

  const Json about = Json::object(
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
  std::vector<RolloutRecord> done;
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
    const auto at = done.size();
    if (at >= records.size() || line.at("id").as_string() != records[at].id) return false;
    RolloutRecord r{records[at].id, records[at].source, records[at].group, {}};
    for (const Json& reward : line.at("rewards").items()) r.rewards.push_back(reward.as_double());
    for (const Json& reward : line.at("blind").items()) r.blind.push_back(reward.as_double());
    done.push_back(std::move(r));
    return true;
  });
  if (!begun) log.write(about);

  while (done.size() < records.size()) {
    const std::size_t first = done.size();
    const auto n = static_cast<std::int64_t>(std::min(static_cast<std::size_t>(o.at_a_time), records.size() - first));
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
      RolloutCounts counts;
      for (Group& g : groups) {
        score(g, files.processor.tokenizer(), rollouts, counts);
        for (out.emplace_back(); const Rollout& r : g.rollouts) out.back().push_back(r.reward.accuracy);
      }
      return out;
    };
    const auto seen = rewards(-1);
    const auto blind = o.grey < 0 ? std::vector<std::vector<double>>(seen.size()) : rewards(o.grey);
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const Record& r = records[first + i];
      log.write(Json::object({{"id", r.id}, {"rewards", seen[i]}, {"blind", blind[i]}}));
      done.push_back({r.id, r.source, r.group, seen[i], blind[i]});
    }
    if (o.progress) o.progress(std::ssize(done), std::ssize(records));
  }

  Selection s = select(done, o.selection);
  std::string kept;
  for (const std::size_t i : s.kept) kept += Json::object({{"id", done[i].id}}).dump() + "\n";
  write_durably(o.out + "/kept.jsonl", kept);
  write_durably(o.out + "/rates.jsonl", s.record_lines(done));
  s.manifest.set("rollouts", about);
  write_durably(o.out + "/manifest.json", s.manifest.dump() + "\n");
  return s;
}

}  // namespace ov::rl
