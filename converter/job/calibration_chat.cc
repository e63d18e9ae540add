#include "converter/job/calibration_chat.h"

#include <fmt/format.h>

#include <stdexcept>

#include "converter/base/error.h"

namespace svq::convert {

using Json = nlohmann::ordered_json;

namespace {

const Json* find(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

const std::string& string_of(const Json& object, const char* key, const std::string& where) {
  const Json* value = object.is_object() ? find(object, key) : nullptr;
  if (!value || !value->is_string()) throw Error(fmt::format("{} has no string field '{}'", where, key));
  return value->get_ref<const std::string&>();
}

std::string content_of(const Json& message, const std::string& where) {
  const Json* content = find(message, "content");
  if (!content) return "";
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) throw Error(where + ".content is neither a string nor a list of texts");
  std::string text;
  for (const Json& part : *content) text += string_of(part, "text", where + ".content: a part");
  return text;
}

ToolCall call_of(const Json& given, const std::string& where) {
  const Json* call = given.is_object() ? find(given, "function") : nullptr;
  if (!call) call = &given;
  ToolCall result{string_of(*call, "name", where), Json::object()};
  if (const Json* arguments = find(*call, "arguments")) {
    result.arguments =
        arguments->is_string() ? Json::parse(arguments->get_ref<const std::string&>(), nullptr, false) : *arguments;
    if (!result.arguments.is_object()) throw Error(where + ".arguments is not a JSON object, nor the text of one");
  }
  return result;
}

// With a space behind every comma and colon, as Python's json.dumps writes it.
std::string spaced(const Json& value) {
  if (value.is_object()) {
    std::string text;
    for (const auto& [key, member] : value.items())
      text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", Json(key).dump(), spaced(member));
    return "{" + text + "}";
  }
  if (value.is_array()) {
    std::string text;
    for (const Json& item : value) text += (text.empty() ? "" : ", ") + spaced(item);
    return "[" + text + "]";
  }
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// The assistant's calls as grammar/tools.h has a model write them.
std::vector<rt::Piece> render_calls(const std::vector<ToolCall>& calls, fb::ChatFormat format) {
  const auto json = [&](const ToolCall& call) {
    const char* arguments = format == fb::ChatFormat::Llama3 ? "parameters" : "arguments";
    return spaced(Json{{"name", call.name}, {arguments, call.arguments}});
  };
  std::vector<rt::Piece> pieces;
  switch (format) {
    case fb::ChatFormat::ChatML:
      for (const ToolCall& call : calls) {
        if (!pieces.empty()) pieces.push_back({"\n", false});
        pieces.push_back({"<tool_call>", true});
        pieces.push_back({"\n" + json(call) + "\n", false});
        pieces.push_back({"</tool_call>", true});
      }
      break;
    case fb::ChatFormat::Llama3:
      if (calls.size() > 1) throw std::runtime_error("an assistant message of this chat format holds one tool call");
      pieces.push_back({json(calls[0]), false});
      break;
    case fb::ChatFormat::Mistral: {
      std::string list;
      for (const ToolCall& call : calls) list += (list.empty() ? "[" : ", ") + json(call);
      pieces = {{"[TOOL_CALLS]", true}, {list + "]", false}};
      break;
    }
    default:
      throw std::runtime_error("this model's chat format has no tool calls; chatml, llama3 and mistral have");
  }
  return pieces;
}

}  // namespace

std::optional<Chat> read_chat(const Json& line, const std::string& where) {
  const Json* messages = line.is_object() ? find(line, "messages") : nullptr;
  if (!messages) return std::nullopt;
  if (!messages->is_array() || messages->empty()) throw Error(where + " field 'messages' is not a list of messages");
  Chat chat;
  for (size_t i = 0; i < messages->size(); ++i) {
    const Json& given = (*messages)[i];
    const std::string at = fmt::format("{} messages[{}]", where, i);
    ChatMessage message{string_of(given, "role", at), content_of(given, at), {}};
    if (const Json* calls = find(given, "tool_calls")) {
      if (!calls->is_array()) throw Error(at + ".tool_calls is not a list");
      for (const Json& call : *calls) message.calls.push_back(call_of(call, at + ".tool_calls: a call"));
    }
    chat.messages.push_back(std::move(message));
  }
  if (const Json* tools = find(line, "tools")) {
    if (!tools->is_array()) throw Error(where + " field 'tools' is not a list");
    for (const Json& tool : *tools) {
      const Json* function = tool.is_object() ? find(tool, "function") : nullptr;
      string_of(function ? *function : tool, "name", where + " tools: a tool");
      chat.tools.push_back(tool);
    }
  }
  return chat;
}

std::vector<std::string> render_tools(const std::vector<Json>& tools, fb::ChatFormat format) {
  std::vector<std::string> out;
  for (const Json& tool : tools) {
    const Json whole{{"type", "function"}, {"function", tool.contains("function") ? tool["function"] : tool}};
    out.push_back(format == fb::ChatFormat::Llama3 ? whole.dump(4) : spaced(whole));
  }
  return out;
}

std::optional<std::vector<rt::Piece>> replace_marks(const std::vector<rt::Piece>& pieces,
                                                    const std::vector<std::string>& marks,
                                                    const std::vector<std::vector<rt::Piece>>& texts) {
  std::vector<rt::Piece> out;
  size_t next = 0;
  for (const rt::Piece& piece : pieces) {
    std::string_view rest = piece.text;
    while (next < marks.size()) {
      const size_t at = rest.find(marks[next]);
      if (at == std::string_view::npos) break;
      if (at > 0) out.push_back({std::string(rest.substr(0, at)), piece.special});
      out.insert(out.end(), texts[next].begin(), texts[next].end());
      rest.remove_prefix(at + marks[next].size());
      ++next;
    }
    if (!rest.empty()) out.push_back({std::string(rest), piece.special});
  }
  if (next != marks.size()) return std::nullopt;
  return out;
}

std::vector<rt::Piece> render_chat(const Chat& chat, const fb::Chat& format, const rt::Tokenizer& tokenizer) {
  // Tool calls hold special tokens, which a message's text may not: stand-ins first.
  std::vector<std::string> contents, marks;
  std::vector<std::vector<rt::Piece>> calls;
  for (const ChatMessage& message : chat.messages) {
    contents.push_back(message.content);
    if (message.calls.empty()) continue;
    calls.push_back(render_calls(message.calls, format.format()));
    marks.push_back(fmt::format("\x01svq call {}\x01", marks.size()));
    if (!message.content.empty() && format.format() == fb::ChatFormat::ChatML) contents.back() += "\n";
    contents.back() += marks.back();
  }
  std::vector<rt::Message> messages;
  for (size_t i = 0; i < contents.size(); ++i) messages.push_back({chat.messages[i].role, contents[i]});
  const std::vector<std::string> tools = render_tools(chat.tools, format.format());
  auto pieces = replace_marks(
      rt::format_chat(format, tokenizer, messages, /*continued=*/false, /*open_answer=*/false, tools), marks, calls);
  if (!pieces) throw std::runtime_error("a message holds a control character that is reserved");
  return std::move(*pieces);
}

const std::vector<std::vector<Json>>& sample_tools() {
  static const std::vector<std::vector<Json>> lists = [] {
    const auto tool = [](const char* name, const char* description, const Json& properties) {
      Json required = Json::array();
      for (const auto& [key, unused] : properties.items()) required.push_back(key);
      return Json{{"name", name},
                  {"description", description},
                  {"parameters", {{"type", "object"}, {"properties", properties}, {"required", required}}}};
    };
    const auto of = [](const char* type, const char* description) {
      return Json{{"type", type}, {"description", description}};
    };
    return std::vector<std::vector<Json>>{
        {tool("move_to", "Drives the robot to a place.",
              {{"place", of("string", "name of the place, such as kitchen")}}),
         tool("pick_up", "Grasps an object with the arm.",
              {{"object", of("string", "what to grasp")}, {"force", of("number", "newtons, at most 40")}}),
         tool("say", "Speaks a sentence.", {{"text", of("string", "what to say")}})},
        {tool("get_weather", "Current weather at a place.",
              {{"city", of("string", "name of the city")},
               {"unit", {{"type", "string"}, {"enum", {"celsius", "fahrenheit"}}}}}),
         tool("set_timer", "Starts a timer.", {{"minutes", of("integer", "how long")}})},
        {tool("search_documents", "Full-text search in the manuals.",
              {{"query", of("string", "words to look for")}, {"limit", of("integer", "most results")}}),
         tool("read_sensor", "Reads one of the sensors.",
              {{"sensor", {{"type", "string"}, {"enum", {"battery", "temperature", "distance", "imu"}}}}}),
         tool("stop", "Stops every motion at once.", Json::object())}};
  }();
  return lists;
}

}  // namespace svq::convert
