// Messages in a model's chat format.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"
#include "svq_generated.h"

namespace svq::rt {

struct Message {
  std::string_view role;  // "system", "user", "assistant", or "tool": what a call gave
  std::string_view content;
};

// The conversation as pieces: what the format itself writes is special, what the messages say is not. Concatenate their
// texts for a string, or hand them to Tokenizer::encode(pieces, false): begin-of-text is among them where it belongs.
// continued: the messages follow earlier turns, of which the last ended with the end-of-turn token; no begin-of-text
// (but Llama 2 starts every turn with one) and no default system message. open_answer: appends the start of the
// assistant's turn. tools: JSON of each tool that may be called (grammar/tools.h); chatml, llama3 and mistral have
// them. Throws std::runtime_error with one sentence: unknown role, no chat format, or a system message where the format
// has no place for it.
std::vector<Piece> format_chat(const fb::Chat& chat, const Tokenizer& tokenizer, std::span<const Message> messages,
                               bool continued, bool open_answer, std::span<const std::string> tools = {});

// "none", "chatml", "llama2", "llama3", "mistral", "gemma".
const char* chat_format_name(fb::ChatFormat format);

}  // namespace svq::rt
