#include "tools/eval/tasks.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "tools/common/runtime.h"

namespace svq::tools {
namespace {

using nlohmann::json;

constexpr std::string_view kSpace = " \t\r\n";

std::string without_trailing_space(const std::string& text) {
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

// The delimiter's white space at its end belongs to the continuation: byte-pair vocabularies hold words with the space
// before them.
Candidate make_candidate(const std::string& context, const std::string& delimiter, const std::string& continuation) {
  const std::string solid = without_trailing_space(delimiter);
  return {without_trailing_space(context) + solid, delimiter.substr(solid.size()) + continuation, continuation.size()};
}

class LineParser {
 public:
  LineParser(const std::string& name, size_t line) : where_(fmt::format("{}: line {}", name, line)) {}

  Task parse(std::string_view text, const std::string& delimiter) const {
    const json object = json::parse(text, nullptr, false);
    if (object.is_discarded()) throw Failure(where_ + ": is not valid JSON");
    if (!object.is_object()) throw Failure(where_ + ": expected a JSON object");
    Task task;
    if (object.contains("choices")) {
      const std::string query = string_field(object, "query");
      for (const std::string& choice : strings_field(object, "choices"))
        task.candidates.push_back(make_candidate(query, delimiter, choice));
    } else if (object.contains("context_options")) {
      const std::string continuation = string_field(object, "continuation");
      for (const std::string& option : strings_field(object, "context_options"))
        task.candidates.push_back(make_candidate(option, " ", continuation));
    } else {
      throw Failure(where_ + ": expected \"query\" and \"choices\", or \"context_options\" and \"continuation\"");
    }
    const json& gold = field(object, "gold");
    if (!gold.is_number_integer() || gold < 0 || gold >= task.candidates.size())
      throw Failure(fmt::format("{}: \"gold\" is {}, expected an index from 0 to {}", where_, gold.dump(),
                                task.candidates.size() - 1));
    task.gold = gold.get<size_t>();
    return task;
  }

 private:
  const json& field(const json& object, const char* key) const {
    const auto it = object.find(key);
    if (it == object.end()) throw Failure(fmt::format("{}: \"{}\" is missing", where_, key));
    return *it;
  }
  std::string string_field(const json& object, const char* key) const {
    const json& value = field(object, key);
    if (!value.is_string()) throw Failure(fmt::format("{}: \"{}\" is not a string", where_, key));
    return value.get<std::string>();
  }
  std::vector<std::string> strings_field(const json& object, const char* key) const {
    const json& value = field(object, key);
    const auto wrong = [&] {
      return Failure(fmt::format("{}: \"{}\" is not a list of at least two non-empty strings", where_, key));
    };
    if (!value.is_array() || value.size() < 2) throw wrong();
    std::vector<std::string> strings;
    for (const json& item : value) {
      if (!item.is_string() || item.get_ref<const std::string&>().empty()) throw wrong();
      strings.push_back(item.get<std::string>());
    }
    return strings;
  }

  std::string where_;
};

}  // namespace

std::vector<Task> parse_tasks(std::string_view jsonl, const std::string& name, const std::string& delimiter,
                              size_t limit) {
  std::vector<Task> tasks;
  for (size_t line = 1; !jsonl.empty() && (limit == 0 || tasks.size() < limit); ++line) {
    const size_t end = jsonl.find('\n');
    const std::string_view text = jsonl.substr(0, end);
    jsonl.remove_prefix(end == std::string_view::npos ? jsonl.size() : end + 1);
    if (text.find_first_not_of(kSpace) == std::string_view::npos) continue;
    tasks.push_back(LineParser(name, line).parse(text, delimiter));
    tasks.back().line = line;
  }
  if (tasks.empty()) throw Failure(name + ": holds no tasks");
  return tasks;
}

}  // namespace svq::tools
