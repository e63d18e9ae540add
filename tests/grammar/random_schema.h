// Random JSON Schemas of the supported kind, and a validator that knows nothing of grammars.
#pragma once
#include <nlohmann/json.hpp>
#include <random>
#include <string>

namespace svq::test {

nlohmann::json random_schema(std::mt19937& rng);
// "" if the value is valid, else where and why it is not. document: where $ref looks.
std::string validate(const nlohmann::json& value, const nlohmann::json& schema, const nlohmann::json& document);

}  // namespace svq::test
