#include "converter/models/tokenizer/chat_template.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "runtime/tokenizer/utf8.h"

namespace svq::convert {
namespace {

// What a template can write: text between its tags, and string literals inside them.
struct Chunk {
  std::string text;
  bool literal;
  std::string before;  // literal: the code between the last chunk and this one
  std::string after;   // literal: the code up to the next literal or the tag's end
};

std::vector<Chunk> chunks_of(std::string_view source) {
  std::vector<Chunk> chunks;
  size_t at = 0;
  const auto starts = [&](std::string_view s) { return source.substr(at, s.size()) == s; };
  std::string text;
  while (at < source.size()) {
    if (starts("{#")) {
      const size_t end = source.find("#}", at);
      at = end == std::string_view::npos ? source.size() : end + 2;
      continue;
    }
    if (!starts("{{") && !starts("{%")) {
      text += source[at++];
      continue;
    }
    if (!text.empty()) chunks.push_back({std::exchange(text, {}), false, {}, {}});
    at += 2;
    std::string code;
    size_t last = SIZE_MAX;  // literal of this tag
    const auto flush = [&] {
      if (last != SIZE_MAX) chunks[last].after = code;
    };
    while (at < source.size() && !starts("}}") && !starts("%}")) {
      const char quote = source[at];
      if (quote != '\'' && quote != '"') {
        code += source[at++];
        continue;
      }
      std::string literal;
      for (++at; at < source.size() && source[at] != quote; ++at) {
        if (source[at] != '\\' || at + 1 >= source.size()) {
          literal += source[at];
          continue;
        }
        switch (source[++at]) {
          case 'n':
            literal += '\n';
            break;
          case 't':
            literal += '\t';
            break;
          case 'r':
            literal += '\r';
            break;
          default:
            literal += source[at];
        }
      }
      if (at < source.size()) ++at;
      flush();
      chunks.push_back({std::move(literal), true, std::exchange(code, {}), {}});
      last = chunks.size() - 1;
    }
    flush();
    at = at < source.size() ? at + 2 : at;
  }
  if (!text.empty()) chunks.push_back({std::move(text), false, {}, {}});
  return chunks;
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

fb::ChatFormat recognise_chat_format(std::string_view t) {
  if (contains(t, "<|im_start|>")) return fb::ChatFormat::ChatML;
  if (contains(t, "<|start_header_id|>")) return fb::ChatFormat::Llama3;
  if (contains(t, "<start_of_turn>")) return fb::ChatFormat::Gemma;
  if (contains(t, "[INST]")) return contains(t, "<<SYS>>") ? fb::ChatFormat::Llama2 : fb::ChatFormat::Mistral;
  return fb::ChatFormat::None;
}

std::optional<std::string> default_system_message(std::string_view source_template) {
  constexpr std::string_view kBegin = "<|im_start|>system\n", kEnd = "<|im_end|>";
  const std::vector<Chunk> chunks = chunks_of(source_template);
  // Written out whole: '<|im_start|>system\nYou are …<|im_end|>\n'.
  for (const Chunk& c : chunks) {
    const size_t begin = c.text.find(kBegin);
    if (begin == std::string::npos) continue;
    const size_t from = begin + kBegin.size(), end = c.text.find(kEnd, from);
    if (end != std::string::npos && end > from) return c.text.substr(from, end - from);
  }
  // {% set default_system_message = 'You are …' %}; not where more is added to it, such as the date.
  for (const Chunk& c : chunks) {
    if (!c.literal || c.text.empty()) continue;
    const bool assigned = contains(c.before, "set ") && contains(c.before, "default_system") &&
                          contains(c.before, "=") && !contains(c.before, "==") && !contains(c.before, "+") &&
                          !contains(c.before, "~");
    if (assigned && !contains(c.after, "+") && !contains(c.after, "~")) return c.text;
  }
  return std::nullopt;
}

std::optional<std::string> fill_chat(std::string source_template, fb::ChatT& chat) {
  chat.format = recognise_chat_format(source_template);
  chat.default_system.clear();
  if (rt::utf8_prefix(source_template) != source_template.size()) {
    chat.format = fb::ChatFormat::None;
    chat.source_template.clear();
    return "the chat template is not UTF-8 and is left out: the model can only continue texts";
  }
  if (chat.format != fb::ChatFormat::None)
    if (auto system = default_system_message(source_template)) chat.default_system = *system;
  const bool empty = source_template.empty();
  chat.source_template = std::move(source_template);
  if (chat.format != fb::ChatFormat::None) return std::nullopt;
  if (empty) return "the source has no chat template: the model can only continue texts";
  return "the chat template is none of the known formats (ChatML, Llama 2, Llama 3, Mistral, Gemma): the model can "
         "only "
         "continue texts";
}

}  // namespace svq::convert
