// Files that the tests of the programs share, in a folder of their own.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "tests/tools/subprocess.h"
#include "tests/tools/tiny_model.h"

namespace svq::test {

// Paths of models that are made on first use: chat format and no begin-of-text token; the latter; no chat format.
const std::string& tiny_model();
const std::string& tiny_model_with_bos();
const std::string& tiny_model_without_chat();

// A file of this content in the folder.
std::string write_file(const std::string& name, const std::string& content);

// Runs a program that must succeed, and parses its standard output.
nlohmann::json run_json(const std::string& program, const std::vector<std::string>& arguments);

}  // namespace svq::test
