// Tokens and chat formats.
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/api/guard.h"
#include "runtime/grammar/tools.h"
#include "runtime/tokenizer/chat.h"

using namespace svq::rt;

namespace {

std::vector<Piece> chat_pieces(const svq_model* model, const svq_message* messages, size_t n_messages, int continued,
                               int open_answer, const char* tools = nullptr) {
  require(model != nullptr, "model is NULL");
  require(messages != nullptr || n_messages == 0, "messages is NULL");
  const Model& m = *model->model;
  const Tokenizer& tokenizer = m.require_tokenizer();
  const svq::fb::Chat* chat = m.metadata().chat();
  if (chat == nullptr || chat->format() == svq::fb::ChatFormat::None) {
    fail(SVQ_ERROR_NO_TOKENIZER, m.file().name(), ": the file holds no chat format");
  }
  std::vector<Message> list;
  for (size_t i = 0; i < n_messages; ++i) {
    if (messages[i].role == nullptr || messages[i].content == nullptr) {
      fail(SVQ_ERROR_INVALID_ARGUMENT, "message ", i, " has a NULL role or content");
    }
    list.push_back({messages[i].role, messages[i].content});
  }
  try {
    const auto listed = tools == nullptr ? std::vector<std::string>() : list_tools(tools, chat->format());
    return format_chat(*chat, tokenizer, list, continued != 0, open_answer != 0, listed);
  } catch (const std::runtime_error& e) {
    fail(SVQ_ERROR_INVALID_ARGUMENT, e.what());
  }
}

}  // namespace

extern "C" {

svq_status svq_tokenize(const svq_model* model, const char* text, size_t text_bytes, uint32_t flags, svq_token* tokens,
                        size_t* n) {
  return guard([&] {
    require(model != nullptr && n != nullptr, "model or n is NULL");
    require(text != nullptr || text_bytes == 0, "text is NULL");
    require((flags & ~uint32_t{SVQ_TOKENIZE_ADD_SPECIAL | SVQ_TOKENIZE_PARSE_SPECIAL}) == 0, "unknown tokenize flags");
    const auto ids = model->model->require_tokenizer().encode(
        text_bytes == 0 ? std::string_view() : std::string_view(text, text_bytes),
        (flags & SVQ_TOKENIZE_ADD_SPECIAL) != 0, (flags & SVQ_TOKENIZE_PARSE_SPECIAL) != 0);
    copy_out(ids.data(), ids.size(), tokens, n);
  });
}

svq_status svq_detokenize(const svq_model* model, const svq_token* tokens, size_t n_tokens, int with_special,
                          char* text, size_t* n) {
  return guard([&] {
    require(model != nullptr && n != nullptr, "model or n is NULL");
    require(tokens != nullptr || n_tokens == 0, "tokens is NULL");
    const std::string out = model->model->require_tokenizer().decode({tokens, n_tokens}, with_special != 0);
    copy_out(out.data(), out.size(), text, n);
  });
}

int svq_token_is_end(const svq_model* model, svq_token token) {
  if (model == nullptr || model->model->tokenizer() == nullptr) return 0;
  return model->model->tokenizer()->is_end(token) ? 1 : 0;
}

svq_status svq_chat_format(const svq_model* model, const svq_message* messages, size_t n_messages, int continued,
                           int open_answer, char* text, size_t* n) {
  return guard([&] {
    require(n != nullptr, "n is NULL");
    std::string out;
    for (const Piece& piece : chat_pieces(model, messages, n_messages, continued, open_answer)) out += piece.text;
    copy_out(out.data(), out.size(), text, n);
  });
}

svq_status svq_chat_tokenize(const svq_model* model, const svq_message* messages, size_t n_messages, int continued,
                             int open_answer, svq_token* tokens, size_t* n) {
  return guard([&] {
    require(n != nullptr, "n is NULL");
    const auto pieces = chat_pieces(model, messages, n_messages, continued, open_answer);
    const auto ids = model->model->require_tokenizer().encode(pieces, false);
    copy_out(ids.data(), ids.size(), tokens, n);
  });
}

svq_status svq_chat_tokenize_tools(const svq_model* model, const svq_message* messages, size_t n_messages,
                                   const char* tools, int continued, int open_answer, svq_token* tokens, size_t* n) {
  return guard([&] {
    require(n != nullptr && tools != nullptr, "n or tools is NULL");
    const auto pieces = chat_pieces(model, messages, n_messages, continued, open_answer, tools);
    const auto ids = model->model->require_tokenizer().encode(pieces, false);
    copy_out(ids.data(), ids.size(), tokens, n);
  });
}

svq_status svq_tool_calls(const svq_model* model, const char* answer, size_t bytes, char** out_json) {
  return guard([&] {
    require(out_json != nullptr, "out_json is NULL");
    *out_json = nullptr;
    require(model != nullptr && (answer != nullptr || bytes == 0), "model or answer is NULL");
    const svq::fb::Chat* chat = model->model->metadata().chat();
    const std::string json = read_tool_calls(chat == nullptr ? svq::fb::ChatFormat::None : chat->format(),
                                             bytes == 0 ? std::string_view() : std::string_view(answer, bytes));
    char* copy = static_cast<char*>(std::malloc(json.size() + 1));
    if (copy == nullptr) throw std::bad_alloc();
    std::memcpy(copy, json.c_str(), json.size() + 1);
    *out_json = copy;
  });
}

}  // extern "C"
