#include "runtime/grammar/tools.h"

#include <set>

#include "runtime/base/error.h"
#include "runtime/base/json_reader.h"
#include "runtime/grammar/json_schema.h"
#include "runtime/grammar/schema_algebra.h"
#include "runtime/tokenizer/chat.h"

namespace svq::rt {
namespace {

using Kind = JsonValue::Kind;

struct Tool {
  std::string name;
  const JsonValue* parameters;  // null: none are given
  const JsonValue* function;
};

std::vector<Tool> tools_of(const JsonValue& list) {
  if (!list.is(Kind::kArray) || list.items.empty())
    fail(SVQ_ERROR_GRAMMAR, "tools: a list of at least one tool was expected");
  std::vector<Tool> out;
  for (size_t i = 0; i < list.items.size(); ++i) {
    const JsonValue* tool = &list.items[i];
    if (const JsonValue* inner = tool->find("function")) tool = inner;
    const JsonValue* name = tool->find("name");
    if (name == nullptr || !name->is(Kind::kString) || name->text.empty())
      fail(SVQ_ERROR_GRAMMAR, "tools: tool ", i, " has no name");
    out.push_back({name->text, tool->find("parameters"), tool});
  }
  return out;
}

// What stands for the text in GBNF: the special token of that text where it is one that hides, else the text itself.
std::string mark(const Tokenizer& tokenizer, std::string_view text) {
  const int32_t id = tokenizer.special_id(text);
  return id >= 0 && tokenizer.is_control(id) ? cat("<[", id, "]>") : gbnf_quoted(text);
}

[[noreturn]] void no_calls(fb::ChatFormat format) {
  fail(SVQ_ERROR_UNSUPPORTED, "the chat format \"", chat_format_name(format),
       "\" has no tool calls; chatml, llama3 and mistral have");
}

std::string_view trim(std::string_view s) {
  const size_t begin = s.find_first_not_of(" \t\r\n");
  return begin == std::string_view::npos ? std::string_view()
                                         : s.substr(begin, s.find_last_not_of(" \t\r\n") - begin + 1);
}

JsonValue call_of(const JsonValue& in, const char* arguments) {
  const JsonValue *name = in.find("name"), *values = in.find(arguments);
  if (name == nullptr || !name->is(Kind::kString) || values == nullptr) {
    fail(SVQ_ERROR_GRAMMAR, "a tool call without name or ", arguments, ": ", in.dump());
  }
  return json_object({{"name", *name}, {"arguments", *values}});
}

}  // namespace

std::vector<std::string> list_tools(std::string_view tools, fb::ChatFormat format) {
  const JsonValue list = read_json(tools, "tools", SVQ_ERROR_GRAMMAR);
  std::vector<std::string> out;
  for (const Tool& tool : tools_of(list)) {
    const JsonValue whole = json_object({{"type", json_string("function")}, {"function", *tool.function}});
    out.push_back(format == fb::ChatFormat::Llama3 ? whole.dump(JsonValue::Style::kIndented)
                                                   : whole.dump(JsonValue::Style::kSpaced));
  }
  return out;
}

std::string tools_grammar(fb::ChatFormat format, const Tokenizer& tokenizer, std::string_view tools, bool or_text) {
  const char* arguments = format == fb::ChatFormat::Llama3 ? "parameters" : "arguments";
  const JsonValue list = read_json(tools, "tools", SVQ_ERROR_GRAMMAR);
  std::string rules, calls;
  std::set<std::string> shared;
  int n = 0;
  for (const Tool& tool : tools_of(list)) {
    static const JsonValue kAnyObject = read_json("{\"type\": \"object\"}", "tools", SVQ_ERROR_GRAMMAR);
    const JsonValue& schema = tool.parameters == nullptr ? kAnyObject : *tool.parameters;
    SchemaRules of_tool(schema, cat("tools, \"", tool.name, "\""), cat("t", n++, "-"));
    const std::string root = of_tool.rule(schema, "#");
    for (size_t at = 0; at < of_tool.text().size();) {  // rules without the prefix are the same in all tools
      const size_t end = of_tool.text().find('\n', at) + 1;
      const std::string line = of_tool.text().substr(at, end - at);
      if (shared.insert(line).second) rules += line;
      at = end;
    }
    const JsonValue name = json_string(tool.name);
    calls += cat(calls.empty() ? "" : " | ", gbnf_quoted(cat("{\"name\": ", name.dump(), ", \"", arguments, "\": ")),
                 " ", root, " \"}\"");
  }
  std::string root, text;
  switch (format) {
    case fb::ChatFormat::ChatML:
      root = "(call (\"\\n\" call)*)";
      rules += cat("call ::= ", mark(tokenizer, "<tool_call>"), " \"\\n\" json \"\\n\" ",
                   mark(tokenizer, "</tool_call>"), "\n");
      text = "[^<]+ ";
      break;
    case fb::ChatFormat::Llama3:
      root = "json";
      text = "[^{ \\t\\r\\n] .*";
      break;
    case fb::ChatFormat::Mistral:
      root = cat("(", mark(tokenizer, "[TOOL_CALLS]"), " \"[\" json (\", \" json)* \"]\")");
      text = "[^\\[ \\t\\r\\n] .*";
      break;
    default:
      no_calls(format);
  }
  rules += cat("json ::= ", calls, "\n");
  if (!or_text) return cat(rules, "root ::= ", root, "\n");
  return cat(rules, "root ::= ", root, " | ", text, format == fb::ChatFormat::ChatML ? cat(root, "?") : std::string(),
             "\n");
}

std::string read_tool_calls(fb::ChatFormat format, std::string_view answer) {
  JsonValue out{.kind = Kind::kArray, .text = {}, .items = {}, .members = {}};
  const auto read = [](std::string_view text) { return read_json(trim(text), "tool call", SVQ_ERROR_GRAMMAR); };
  switch (format) {
    case fb::ChatFormat::ChatML: {
      constexpr std::string_view kBegin = "<tool_call>", kEnd = "</tool_call>";
      for (size_t at = answer.find(kBegin); at != std::string_view::npos; at = answer.find(kBegin, at)) {
        at += kBegin.size();
        const size_t end = answer.find(kEnd, at);
        if (end == std::string_view::npos) fail(SVQ_ERROR_GRAMMAR, "a tool call is begun and does not end");
        out.items.push_back(call_of(read(answer.substr(at, end - at)), "arguments"));
        at = end;
      }
      break;
    }
    case fb::ChatFormat::Llama3:
      if (trim(answer).starts_with('{')) out.items.push_back(call_of(read(answer), "parameters"));
      break;
    case fb::ChatFormat::Mistral: {
      std::string_view rest = trim(answer);
      constexpr std::string_view kMark = "[TOOL_CALLS]";
      if (rest.starts_with(kMark)) rest = trim(rest.substr(kMark.size()));
      if (!rest.starts_with("[{")) break;
      for (const JsonValue& call : read(rest).items) out.items.push_back(call_of(call, "arguments"));
      break;
    }
    default:
      no_calls(format);
  }
  return out.dump();
}

}  // namespace svq::rt
