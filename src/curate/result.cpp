#include "curate/result.h"

#include <unistd.h>

#include <filesystem>

#include "base/io/file.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "data/raw/record_index.h"

namespace ov {
namespace {

std::string report_path(const std::string& out) { return out + ".report.json"; }

// "" of what is no file, as a pipe is none.
std::string digest_of(const std::string& out) { return std::filesystem::is_regular_file(out) ? sha256_file(out) : ""; }

// Of a number in the report; -1: it has none.
std::int64_t number_in(const Json& report, const char* key) {
  const Json* n = report.find(key);
  return n && n->is_integer() ? n->as_int() : -1;
}

}  // namespace

Json finished_report(const std::string& out, const std::string& made_from, const Blocks& blocks, const Shard& shard,
                     std::int64_t most) {
  if (!path_exists(report_path(out)) || blocks.any_stands()) return {};
  Json report;
  try {
    report = Json::read(report_path(out));
  } catch (const Error&) { return {}; }
  const Json* from = report.is_object() ? report.find("made_from") : nullptr;
  if (!from || !from->is_string() || from->as_string() != sha256(made_from)) return {};
  if (number_in(report, "refused") > most) return {};
  if (shard.makes && written_before(report_path(out), blocks.written())) return {};
  const Json* digest = report.find("sha256");
  if (!digest || !digest->is_string() || digest->as_string() != digest_of(out)) return {};
  if (shard.joins) blocks.remove_left(shard);
  tell(cat(out,
           ": stands already, made from the same data with the same options; remove it to make it again, as after "
           "a change of pictures in files of their own, which are not compared"));
  return report;
}

void begin_result(const std::string& out) { ::unlink(report_path(out).c_str()); }

Json write_report(const std::string& out, const std::string& made_from, Json report) {
  report.set("made_from", sha256(made_from)), report.set("sha256", digest_of(out));
  write_durably(report_path(out), report.dump(2) + "\n");
  return report;
}

}  // namespace ov
