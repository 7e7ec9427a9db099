#include "train/run_log.h"

#include <unistd.h>

#include <cstdio>

#include "base/error.h"
#include "base/hash.h"

namespace ov {
namespace {

// Cuts the file at the first line that is damaged, and says what was found.
std::string cut_damage(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0) return "";
  const auto file = MappedFile::open(path);
  const std::string_view text = file->text();
  std::size_t at = 0, line = 0;
  for (std::size_t newline; (newline = text.find('\n', at)) != text.npos; at = newline + 1) {
    try {
      const Json value = Json::parse(text.substr(at, newline - at), path, ++line);
      value.at("type").as_string();
      if (const Json* step = value.find("step")) step->as_int();
    } catch (const Error& e) {
      AppendFile(path, at);
      const std::string fault = e.what(), place = cat(path, ":", line, ":");
      return fault.starts_with(place) ? fault : cat(place, " ", fault);
    }
  }
  return "";
}

JsonlWriter open_log(const std::string& path, std::int64_t resume_after, bool* has_run, std::string* damage) {
  if (resume_after == 0) return JsonlWriter::create(path);
  *damage = cut_damage(path);
  return JsonlWriter::resume(path, [&](const Json& line) {
    *has_run = *has_run || line.at("type").as_string() == "run";
    const Json* step = line.find("step");
    return !step || step->as_int() <= resume_after;
  });
}

}  // namespace

double model_flops_utilisation(const StepReport& report, double peak_flops) {
  return report.seconds > 0 && peak_flops > 0 ? 2 * static_cast<double>(report.products) / report.seconds / peak_flops
                                              : 0;
}

RunLog::RunLog(const std::string& path, std::int64_t resume_after)
    : path_(path), file_(open_log(path, resume_after, &has_run_, &damage_)) {}

Json last_step(const std::string& path) {
  Json last = Json::object();
  JsonlReader lines(path);
  for (Json line; lines.next(&line);) {
    const Json* type = line.is_object() ? line.find("type") : nullptr;
    if (!type || type->dump() != "\"step\"") continue;
    last = Json::object();
    for (const char* key : {"step", "loss", "token_loss", "aux_loss"})
      if (const Json* value = line.find(key)) last.set(key, *value);
  }
  return last;
}

void RunLog::sync() { sync_path(path_, false, path_); }

void RunLog::note(const std::string& type, const Json& members) {
  Json line = Json::object({{"type", type}});
  for (const auto& [key, value] : members.members()) line.set(key, value);
  file_.write(line);
}

void RunLog::run(const Json& about) {
  note("run", about);
  has_run_ = true;
}

Json RunLog::step(const StepReport& r, double peak_flops) {
  const double rate = r.seconds > 0 ? 1 / r.seconds : 0;
  Json line = Json::object({{"type", "step"}, {"step", r.step}, {"loss", r.loss}});
  for (const auto& [key, value] : r.parts.members()) line.set(key, value);
  line.set("lr", r.lr), line.set("gradient_norm", r.gradient_norm);
  line.set("samples", r.samples), line.set("tokens", r.tokens);
  line.set("labelled", r.labelled), line.set("patches", r.patches), line.set("flops", 2 * r.products);
  line.set("seconds", r.seconds), line.set("data_seconds", r.data_seconds);
  line.set("tokens_per_second", rate * static_cast<double>(r.tokens));
  line.set("samples_per_second", rate * static_cast<double>(r.samples));
  if (r.floor_seconds > 0)
    line.set("floor_seconds", r.floor_seconds), line.set("plain_floor_seconds", r.plain_floor_seconds);
  if (r.checksums)
    line.set("checksums", Json::object({{"batch", hex16(r.checksums->batch)},
                                        {"loss", hex16(r.checksums->loss)},
                                        {"gradients", hex16(r.checksums->gradients)},
                                        {"parameters", hex16(r.checksums->parameters)}}));
  if (peak_flops > 0) line.set("mfu", model_flops_utilisation(r, peak_flops));
  file_.write(line);
  return line;
}

}  // namespace ov
