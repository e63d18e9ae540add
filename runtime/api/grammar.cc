// Grammars, and tools as far as they are grammars.
#include "runtime/api/guard.h"
#include "runtime/grammar/json_schema.h"
#include "runtime/tokenizer/chat.h"
#include "runtime/grammar/tools.h"

using namespace svq::rt;

extern "C" {

svq_status svq_grammar_create(svq_model* model, svq_grammar_kind kind, const char* text, size_t text_bytes,
                              svq_grammar** out) {
  return guard([&] {
    require(out != nullptr, "out is NULL");
    *out = nullptr;
    require(model != nullptr, "model is NULL");
    require(text != nullptr, "text is NULL");
    const std::shared_ptr<const Model>& m = model->model;
    const Tokenizer& tokenizer = m->require_tokenizer();
    const std::string_view source(text, text_bytes);
    std::string gbnf;
    switch (raw(kind)) {
      case SVQ_GRAMMAR_GBNF:
        gbnf = source;
        break;
      case SVQ_GRAMMAR_JSON_SCHEMA:
        gbnf = schema_grammar(source);
        break;
      case SVQ_GRAMMAR_TOOLS:
      case SVQ_GRAMMAR_TOOLS_OR_TEXT: {
        const svq::fb::Chat* chat = m->metadata().chat();
        gbnf = tools_grammar(chat == nullptr ? svq::fb::ChatFormat::None : chat->format(), tokenizer, source,
                             raw(kind) == SVQ_GRAMMAR_TOOLS_OR_TEXT);
        break;
      }
      default:
        fail(SVQ_ERROR_INVALID_ARGUMENT, "unknown kind of grammar ", raw(kind));
    }
    *out = new svq_grammar{m, std::make_shared<const Grammar>(parse_gbnf(gbnf), m->token_trie(), tokenizer)};
  });
}

void svq_grammar_free(svq_grammar* grammar) { delete grammar; }

uint64_t svq_grammar_memory(const svq_grammar* grammar) {
  return grammar == nullptr ? 0 : grammar->grammar->heap_bytes() + grammar->grammar->trie().heap_bytes();
}

svq_status svq_session_set_grammar(svq_session* session, const svq_grammar* grammar) {
  return guard([&] {
    require(session != nullptr, "session is NULL");
    require(grammar == nullptr || grammar->model.get() == &session->session.model(),
            "the grammar was made for another model than the session's");
    session->session.set_grammar(grammar == nullptr ? nullptr : grammar->grammar);
  });
}

}  // extern "C"
