// Tools (functions that a model may call): their list as JSON, the grammar of calls, calls read from an answer.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"
#include "svq_generated.h"

namespace svq::rt {

// A list of tools, [{"name": …, "description": …, "parameters": schema}] or with each inside
// {"type": "function", "function": …}. Returns them as the latter, one JSON text each, indented or in one line as the
// chat format wants. Throws Error (GRAMMAR).
std::vector<std::string> list_tools(std::string_view tools, fb::ChatFormat format);
// The grammar, as GBNF, of one call or several in the chat format; or_text: or of an answer without. Throws Error:
// GRAMMAR, UNSUPPORTED (a chat format that has no calls).
std::string tools_grammar(fb::ChatFormat format, const Tokenizer& tokenizer, std::string_view tools, bool or_text);
// [{"name": …, "arguments": {…}}, …] of the calls in an answer; "[]" if there are none. Throws Error (GRAMMAR) if a
// call is begun and not well-formed.
std::string read_tool_calls(fb::ChatFormat format, std::string_view answer);

}  // namespace svq::rt
