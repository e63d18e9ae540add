// Multiple-choice tasks, one JSON object a line, in the two forms of common evaluation sets:
//   {"query": …, "choices": [… ], "gold": i}                     which choice follows the query?
//   {"context_options": [… ], "continuation": …, "gold": i}      after which context does the continuation follow?
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace svq::tools {

struct Candidate {
  std::string context;
  std::string continuation;  // what is scored, with the white space that separates it from the context
  size_t bytes = 0;          // length of the continuation without that white space
};

struct Task {
  size_t line = 0;  // from 1
  std::vector<Candidate> candidates;
  size_t gold = 0;  // index of the right candidate
};

// name stands for the file in errors, which name the line too. delimiter goes between query and choice (white space at
// the query's end is dropped); a continuation follows its context option after one space. At most `limit` tasks (0:
// all).
std::vector<Task> parse_tasks(std::string_view jsonl, const std::string& name, const std::string& delimiter,
                              size_t limit);

}  // namespace svq::tools
