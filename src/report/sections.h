// The parts of a report, as markup.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "report/run_summary.h"

namespace ov {

std::string stage_curves(const RunSummary& run);
// Of a run of RL or DPO: reward, length, entropy, staleness, clip; margin, accuracy. "" of another.
std::string policy_curves(const RunSummary& run);
// The loss alone, a plot that other pages can show too.
std::string loss_plot(const RunSummary& run);
std::string time_table(const std::vector<RunSummary>& runs);
// "" when no log has the line "times".
std::string operations_table(const std::vector<RunSummary>& runs);
std::string accuracy_section(const Json& eval);
std::string packing_card(const std::string& name, const Json& report);
// `pictures` of the predictions: in turn from each category, a wrong answer, a right one, and so on.
std::string picture_grid(const std::string& predictions_path, std::int64_t pictures);
// Four answered pictures, a line of Markdown each, and the last stage's loss curve, as files of `directory`.
void write_strip(const std::string& directory, const std::string& predictions_path,
                 const std::vector<RunSummary>& runs);
std::string configuration(const std::vector<RunSummary>& runs);
// `eval` may be null.
std::string hash_table(const std::vector<RunSummary>& runs, const Json& eval);

std::string duration(double seconds);  // 9.3 s, 3 min 20 s, 1 h 05 min

}  // namespace ov
