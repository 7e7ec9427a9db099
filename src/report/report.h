// One page about a whole run: curves of every stage, accuracy beside the blind baselines, packing, where the time goes,
// pictures with what was asked and answered, configuration and hashes. Everything is inside the file: no scripts,
// nothing is loaded from elsewhere.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace ov {

struct NamedFile {
  std::string name, path;
};

struct ReportOptions {
  std::string title = "onevision";
  std::vector<NamedFile> stages;  // run.jsonl of each, in order
  std::string eval_json;          // eval/evaluate.h; empty: no accuracy
  std::string predictions;        // predictions.jsonl; empty: no pictures
  std::vector<NamedFile> packs;   // data/pack/report.h: members with a "histogram" are drawn, plain ones listed
  std::int64_t pictures = 16;     // two of each category where there are eight: one answered wrongly, one rightly
  std::string out;
  std::string strip;  // a directory to fill with what a README shows (report/pictures.cpp); empty: none
};

// Writes options.out durably. Throws input_error that names the file (and line) which is missing or damaged.
void write_report(const ReportOptions& options);

}  // namespace ov
