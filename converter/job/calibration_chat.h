// Chats as calibration text: a JSON line {"messages": […], "tools": […]} in the model's chat format.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "runtime/tokenizer/chat.h"

namespace svq::convert {

struct ToolCall {
  std::string name;
  nlohmann::ordered_json arguments;
};

struct ChatMessage {
  std::string role, content;
  std::vector<ToolCall> calls;  // of the assistant
};

struct Chat {
  std::vector<ChatMessage> messages;
  std::vector<nlohmann::ordered_json> tools;
};

// The chat of a line, as OpenAI and Hugging Face write them: content is a string, null, or a list of {"type": "text",
// "text"}; a tool call or a tool stands by itself or inside "function"; arguments are an object or its JSON text.
// Nothing if the line has no "messages". Throws Error beginning with `where` and naming the field.
std::optional<Chat> read_chat(const nlohmann::ordered_json& line, const std::string& where);

// As the model sees it: what the format writes is special, what the messages say is not. Throws std::runtime_error with
// one sentence if the format has no place for something.
std::vector<rt::Piece> render_chat(const Chat& chat, const fb::Chat& format, const rt::Tokenizer& tokenizer);

// Tools in the words that a chat format's models were trained on. None if the format knows no tools.
std::vector<std::string> render_tools(const std::vector<nlohmann::ordered_json>& tools, fb::ChatFormat format);

// The pieces with every occurrence of marks[i] in them replaced by texts[i]. Nothing if one does not occur exactly
// once.
std::optional<std::vector<rt::Piece>> replace_marks(const std::vector<rt::Piece>& pieces,
                                                    const std::vector<std::string>& marks,
                                                    const std::vector<std::vector<rt::Piece>>& texts);

// Lists of tools for chats that a model writes by itself.
const std::vector<std::vector<nlohmann::ordered_json>>& sample_tools();

}  // namespace svq::convert
