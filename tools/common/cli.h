// What the programs' main functions share: parsing, error sentences, exit codes.
#pragma once
#include <CLI/CLI.hpp>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/common/runtime.h"

namespace svq::tools {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;        // the work could not be done
inline constexpr int kExitUsage = 2;          // the command line is wrong
inline constexpr int kExitInterrupted = 130;  // stopped by Ctrl-C, as shells report it

// Width of the help texts, --version, examples after the options.
void describe(CLI::App& app, const std::string& name, const std::string& examples);

// What body throws where options exclude each other: as wrong as an unknown option.
class UsageError : public Failure {
 public:
  using Failure::Failure;
};

// Parses the command line and runs body, whose value is the exit code. Every failure becomes one line
// "NAME: sentence" on standard error. Also fails when standard output could not be written. Descriptors 0 to 2 are
// open from here on: missing ones are /dev/null, so that no other file is taken for them.
int run_program(CLI::App& app, const std::string& name, int argc, char** argv, const std::function<int()>& body);

// Checks of an option's value. Their sentences name what was expected; the help text is left to the option.
// integer_between is for Option::transform: it also makes 010 the ten that it looks like, which CLI11 reads as octal.
CLI::Validator integer_between(int64_t low, int64_t high);
CLI::Validator number_between(double low, double high);
CLI::Validator one_of(std::vector<std::string> values);

// Options that several programs have, with the library's defaults.
void add_threads(CLI::App& app, uint32_t& threads);
void add_kv_bits(CLI::App& app, uint32_t& kv_bits);
void add_device(CLI::App& app, std::string& device);

// JSON on standard output, indented, ending in a line break. Text that is not UTF-8 is repaired.
void print_json(const nlohmann::ordered_json& json, bool indented = true);

}  // namespace svq::tools
