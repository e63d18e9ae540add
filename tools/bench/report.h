// What svqbench prints.
#pragma once
#include <string>

#include "tools/bench/measure.h"

namespace svq::tools {

// Enters the speeds of an earlier JSON report of the same model at the same settings.
void compare_with(const std::string& path, const BenchOptions& options, Bench& bench);

std::string table_report(const Bench& bench, const BenchOptions& options);
std::string csv_report(const Bench& bench, const BenchOptions& options);
void print_json_report(const Bench& bench, const BenchOptions& options);

}  // namespace svq::tools
