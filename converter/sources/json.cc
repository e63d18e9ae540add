#include "converter/sources/json.h"

#include <unordered_set>
#include <vector>

#include "converter/base/error.h"
#include "converter/sources/mapped_file.h"
#include "converter/sources/text.h"

namespace svq::convert {
namespace {

constexpr int kMaxDepth = 64;

}  // namespace

nlohmann::json parse_json(const std::string& label, std::string_view text) {
  using nlohmann::json;
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kMaxDepth) throw Error(label + ": nests deeper than " + std::to_string(kMaxDepth) + " levels");
    if (event == json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key && !keys.back().insert(parsed.get_ref<const std::string&>()).second) {
      throw Error(label + ": the key " + in_quotes(parsed.get_ref<const std::string&>()) +
                  " occurs twice in one object");
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), check);
  } catch (const json::parse_error& error) {
    throw Error(label + ": is not valid JSON at byte " + std::to_string(error.byte));
  } catch (const json::exception&) {  // a number out of range
    throw Error(label + ": holds a number that is out of range");
  }
}

nlohmann::json read_json(const std::filesystem::path& path, uint64_t max_bytes) {
  const MappedFile file(path);
  if (file.size() > max_bytes) {
    throw Error(path.string() + ": has " + std::to_string(file.size()) + " bytes, expected at most " +
                std::to_string(max_bytes));
  }
  return parse_json(path.string(), {reinterpret_cast<const char*>(file.bytes().data()), file.size()});
}

}  // namespace svq::convert
