// FILE.report.html: what was done, how good it is, and how to repeat it; one file that needs no network.
#pragma once
#include <optional>
#include <string>

#include "converter/job/allocate.h"
#include "converter/job/completions.h"
#include "converter/job/plan.h"
#include "converter/job/reporter.h"

namespace svq::convert {

struct Report {
  std::string source_hash, calibration;  // in words
  Summary summary;
  std::optional<Allocation> allocation;
  Completions completions;
};

std::filesystem::path report_path(const Options& options);  // "OUTPUT.report.html"
std::string html_report(const Model& model, const Plan& plan, const Options& options, const Report& report);

}  // namespace svq::convert
