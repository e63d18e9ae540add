#include "runtime/tokenizer/chat.h"

#include <stdexcept>

#include "runtime/tokenizer/utf8.h"

namespace svq::rt {
namespace {

enum class Role { kSystem, kUser, kAssistant, kTool };

Role role_of(std::string_view name) {
  if (name == "system") return Role::kSystem;
  if (name == "user") return Role::kUser;
  if (name == "assistant") return Role::kAssistant;
  if (name == "tool") return Role::kTool;
  throw std::runtime_error("the role \"" + std::string(name.substr(0, 64)) +
                           "\" is unknown; system, user, assistant or tool was expected");
}

// Jinja's trim, on ASCII white space.
std::string_view trim(std::string_view s) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const size_t begin = s.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return s.substr(begin, s.find_last_not_of(kSpace) - begin + 1);
}

std::string_view trim_end(std::string_view s) {
  while (!s.empty() && trim(s.substr(s.size() - 1)).empty()) s.remove_suffix(1);
  return s;
}

class Writer {
 public:
  void format(std::string_view text) { add(text, true); }
  void content(std::string_view text) { add(text, false); }
  std::vector<Piece> take() { return std::move(pieces_); }

 private:
  void add(std::string_view text, bool special) {
    if (text.empty()) return;
    if (!pieces_.empty() && pieces_.back().special == special)
      pieces_.back().text += text;
    else
      pieces_.push_back({std::string(text), special});
  }
  std::vector<Piece> pieces_;
};

struct Turn {
  Role role;
  std::string_view content;
};

// Formats without a system role of their own: the system message goes in front of the next user message.
struct SystemPrefix {
  std::string_view text;
  bool waiting = false;
  void hold(std::string_view system, bool first) {
    if (!first) throw std::runtime_error("a system message can only be the first message in this model's chat format");
    text = system;
    waiting = true;
  }
  void check_used() const {
    if (waiting) throw std::runtime_error("a system message needs a user message after it in this model's chat format");
  }
};

// <|im_start|>role\ncontent<|im_end|>\n. Tools stand in the system message, what they give in the user's turns, as Qwen
// and Hermes models were trained to see them.
void chatml(Writer& w, std::span<const Turn> turns, bool continued, bool open_answer,
            std::span<const std::string> tools) {
  if (continued) w.format("\n");  // of the answer before, which ended with <|im_end|>
  const auto list_tools = [&] {
    w.format(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with "
        "function "
        "signatures within <tools></tools> XML tags:\n<tools>");
    for (const std::string& tool : tools) {
      w.format("\n");
      w.content(tool);
    }
    w.format(
        "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
        "<args-json-object>}\n</tool_call>");
  };
  if (!tools.empty() && (turns.empty() || turns[0].role != Role::kSystem)) {
    w.format("<|im_start|>system\n");
    list_tools();
    w.format("<|im_end|>\n");
  }
  for (size_t i = 0; i < turns.size(); ++i) {
    const Turn& t = turns[i];
    if (t.role == Role::kTool) {
      w.format(i > 0 && turns[i - 1].role == Role::kTool ? "\n<tool_response>\n"
                                                         : "<|im_start|>user\n<tool_response>\n");
      w.content(t.content);
      w.format("\n</tool_response>");
      if (i + 1 == turns.size() || turns[i + 1].role != Role::kTool) w.format("<|im_end|>\n");
      continue;
    }
    w.format(t.role == Role::kSystem ? "<|im_start|>system\n"
             : t.role == Role::kUser ? "<|im_start|>user\n"
                                     : "<|im_start|>assistant\n");
    w.content(t.content);
    if (i == 0 && t.role == Role::kSystem && !tools.empty()) {
      w.format("\n\n");
      list_tools();
    }
    w.format("<|im_end|>\n");
  }
  if (open_answer) w.format("<|im_start|>assistant\n");
}

// <|start_header_id|>role<|end_header_id|>\n\ncontent<|eot_id|>. Tools stand in the first user message; what they give
// comes from the role ipython.
void llama3(Writer& w, std::span<const Turn> turns, bool continued, bool open_answer, std::string_view bos,
            std::span<const std::string> tools) {
  if (!continued) w.format(bos);
  if (!tools.empty() && (turns.empty() || turns[0].role != Role::kSystem)) {
    w.format("<|start_header_id|>system<|end_header_id|>\n\nEnvironment: ipython<|eot_id|>");
  }
  bool listed = tools.empty();
  for (size_t i = 0; i < turns.size(); ++i) {
    const Turn& t = turns[i];
    w.format(t.role == Role::kSystem      ? "<|start_header_id|>system<|end_header_id|>\n\n"
             : t.role == Role::kUser      ? "<|start_header_id|>user<|end_header_id|>\n\n"
             : t.role == Role::kAssistant ? "<|start_header_id|>assistant<|end_header_id|>\n\n"
                                          : "<|start_header_id|>ipython<|end_header_id|>\n\n");
    if (i == 0 && t.role == Role::kSystem && !tools.empty()) w.format("Environment: ipython\n\n");
    if (t.role == Role::kUser && !listed) {
      listed = true;
      w.format(
          "Given the following functions, please respond with a JSON for a function call with its proper arguments "
          "that "
          "best answers the given prompt.\n\nRespond in the format {\"name\": function name, \"parameters\": "
          "dictionary of "
          "argument name and its value}. Do not use variables.\n\n");
      for (const std::string& tool : tools) {
        w.content(tool);
        w.format("\n\n");
      }
    }
    w.content(trim(t.content));
    w.format("<|eot_id|>");
  }
  if (open_answer) w.format("<|start_header_id|>assistant<|end_header_id|>\n\n");
}

[[noreturn]] void no_tools() {
  throw std::runtime_error("this model's chat format has no tools; chatml, llama3 and mistral (from v3 on) have");
}

// <s>[INST] <<SYS>>\nsystem\n<</SYS>>\n\nuser [/INST] answer </s>: every exchange begins with <s>.
void llama2(Writer& w, std::span<const Turn> turns, std::string_view bos, std::string_view eos) {
  SystemPrefix system;
  for (size_t i = 0; i < turns.size(); ++i) {
    const Turn& t = turns[i];
    switch (t.role) {
      case Role::kSystem:
        system.hold(t.content, i == 0);
        break;
      case Role::kUser:
        w.format(bos);
        w.format("[INST] ");
        if (system.waiting) {
          w.format("<<SYS>>\n");
          w.content(system.text);
          w.format("\n<</SYS>>\n\n");
          system.waiting = false;
          w.content(trim_end(t.content));
        } else {
          w.content(trim(t.content));
        }
        w.format(" [/INST]");
        break;
      case Role::kAssistant:
        w.format(" ");
        w.content(trim(t.content));
        w.format(" ");
        w.format(eos);
        break;
      case Role::kTool:
        no_tools();
    }
  }
  system.check_used();
}

// Before v3 "[INST] user [/INST] answer</s>" is text; from v3 on [INST] and [/INST] are tokens, and the spaces behind
// them are SentencePiece's dummy spaces (absent in the byte-level tokenizers). Tools stand before the last user
// message.
void mistral(Writer& w, std::span<const Turn> turns, bool continued, const Tokenizer& tokenizer, std::string_view bos,
             std::string_view eos, std::span<const std::string> tools) {
  const bool tokens = tokenizer.special_id("[INST]") >= 0;
  if (!tools.empty() && tokenizer.special_id("[AVAILABLE_TOOLS]") < 0) no_tools();
  size_t last_user = turns.size();
  for (size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].role == Role::kUser) last_user = i;
  }
  SystemPrefix system;
  if (!continued) w.format(bos);
  for (size_t i = 0; i < turns.size(); ++i) {
    const Turn& t = turns[i];
    switch (t.role) {
      case Role::kSystem:
        system.hold(t.content, i == 0);
        break;
      case Role::kUser:
        if (i == last_user && !tools.empty()) {
          w.format("[AVAILABLE_TOOLS]");
          for (const std::string& tool : tools) {
            w.content(&tool == tools.data() ? "[" : ", ");
            w.content(tool);
          }
          w.content("]");
          w.format("[/AVAILABLE_TOOLS]");
        }
        w.format(tokens ? "[INST]" : "[INST] ");
        if (system.waiting) {
          w.content(system.text);
          w.format("\n\n");
          system.waiting = false;
        }
        w.content(t.content);
        w.format(tokens ? "[/INST]" : " [/INST]");
        break;
      case Role::kAssistant:
        if (!tokens) w.format(" ");
        w.content(trim(t.content));
        w.format(eos);
        break;
      case Role::kTool:
        if (tokenizer.special_id("[TOOL_RESULTS]") < 0) no_tools();
        w.format("[TOOL_RESULTS]");
        w.content("{\"content\": ");
        w.content(t.content);
        w.content("}");
        w.format("[/TOOL_RESULTS]");
        break;
    }
  }
  system.check_used();
}

// <start_of_turn>role\ncontent<end_of_turn>\n with the roles user and model.
void gemma(Writer& w, std::span<const Turn> turns, bool continued, bool open_answer, std::string_view bos) {
  SystemPrefix system;
  w.format(continued ? "\n" : bos);
  for (size_t i = 0; i < turns.size(); ++i) {
    const Turn& t = turns[i];
    if (t.role == Role::kSystem) {
      system.hold(t.content, i == 0);
      continue;
    }
    if (t.role == Role::kTool) no_tools();
    w.format(t.role == Role::kUser ? "<start_of_turn>user\n" : "<start_of_turn>model\n");
    if (t.role == Role::kUser && system.waiting) {
      w.content(trim(system.text));
      w.format("\n\n");
      system.waiting = false;
    }
    w.content(trim(t.content));
    w.format("<end_of_turn>\n");
  }
  system.check_used();
  if (open_answer) w.format("<start_of_turn>model\n");
}

}  // namespace

std::vector<Piece> format_chat(const fb::Chat& chat, const Tokenizer& tokenizer, std::span<const Message> messages,
                               bool continued, bool open_answer, std::span<const std::string> tools) {
  std::vector<Turn> turns;
  for (const Message& m : messages) turns.push_back({role_of(m.role), m.content});
  if (!continued && chat.default_system() && (turns.empty() || turns.front().role != Role::kSystem))
    turns.insert(turns.begin(), {Role::kSystem, chat.default_system()->string_view()});
  const std::string_view bos = tokenizer.bos_text(), eos = tokenizer.special_text(tokenizer.eos());
  if (!tools.empty() && (chat.format() == fb::ChatFormat::Llama2 || chat.format() == fb::ChatFormat::Gemma)) no_tools();
  Writer w;
  switch (chat.format()) {
    case fb::ChatFormat::ChatML:
      chatml(w, turns, continued, open_answer, tools);
      break;
    case fb::ChatFormat::Llama2:
      llama2(w, turns, bos, eos);
      break;
    case fb::ChatFormat::Llama3:
      llama3(w, turns, continued, open_answer, bos, tools);
      break;
    case fb::ChatFormat::Mistral:
      mistral(w, turns, continued, tokenizer, bos, eos, tools);
      break;
    case fb::ChatFormat::Gemma:
      gemma(w, turns, continued, open_answer, bos);
      break;
    case fb::ChatFormat::None:
      throw std::runtime_error("the model has no chat format");
    default:
      throw std::runtime_error("chat.format: " + std::to_string(static_cast<int>(chat.format())) +
                               " is unknown to this version");
  }
  return w.take();
}

const char* chat_format_name(fb::ChatFormat format) {
  switch (format) {
    case fb::ChatFormat::ChatML:
      return "chatml";
    case fb::ChatFormat::Llama2:
      return "llama2";
    case fb::ChatFormat::Llama3:
      return "llama3";
    case fb::ChatFormat::Mistral:
      return "mistral";
    case fb::ChatFormat::Gemma:
      return "gemma";
    default:
      return "none";
  }
}

}  // namespace svq::rt
