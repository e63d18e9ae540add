// What svqbench prints.
#pragma once
#include <string>

#include "tools/bench/measure.h"

namespace svq::tools {

std::string table_report(const Bench& bench, const BenchOptions& options);
std::string csv_report(const Bench& bench, const BenchOptions& options);
void print_json_report(const Bench& bench, const BenchOptions& options);

}  // namespace svq::tools
