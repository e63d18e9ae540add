/* The C ABI as C sees it: compiled as strict C99 and again as C++17, linked to the shared library. Every function is
 * called as it should be and with NULL and other nonsense: nothing may crash. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "svqrt/svqrt.h"

static int failures = 0;
#define EXPECT(condition)                                                                    \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      printf("%s:%d: expected %s (%s)\n", __FILE__, __LINE__, #condition, svq_last_error()); \
      ++failures;                                                                            \
    }                                                                                        \
  } while (0)
/* A failure comes with a sentence. */
#define EXPECT_STATUS(call, status)                          \
  do {                                                       \
    const svq_status s_ = (call);                            \
    EXPECT(s_ == (status));                                  \
    EXPECT((s_ == SVQ_OK) == (svq_last_error()[0] == '\0')); \
  } while (0)
#define EXPECT_INVALID(call) EXPECT_STATUS(call, SVQ_ERROR_INVALID_ARGUMENT)

static int messages_logged = 0;
static void count_log(svq_log_level level, const char* message, void* user) {
  (void)level;
  EXPECT(message != NULL && message[0] != '\0');
  ++*(int*)user;
}

static int stop_at_once(const char* text, size_t bytes, svq_token token, void* user) {
  (void)text;
  (void)bytes;
  (void)token;
  ++*(int*)user;
  return 1;
}

static void nulls(void) {
  svq_model* model = (svq_model*)&failures; /* must become NULL on failure */
  svq_session* session = (svq_session*)&failures;
  svq_size_estimate size;
  svq_model_info info;
  svq_token token = 1;
  size_t n = 1;
  uint64_t count = 0;
  char* json = NULL;
  svq_message message;

  svq_model_free(NULL);
  svq_model_params_free(NULL);
  svq_session_free(NULL);
  svq_session_params_free(NULL);
  svq_string_free(NULL);
  svq_session_cancel(NULL);
  svq_set_log(NULL, NULL);

  EXPECT_INVALID(svq_model_params_set(NULL, SVQ_MODEL_VERIFY, 1));
  EXPECT_INVALID(svq_session_params_set(NULL, SVQ_SESSION_THREADS, 1));
  EXPECT_INVALID(svq_estimate_size(NULL, NULL, &size));
  EXPECT_INVALID(svq_estimate_size("x", NULL, NULL));
  EXPECT_INVALID(svq_model_load(NULL, NULL, &model));
  EXPECT(model == NULL);
  EXPECT_INVALID(svq_model_load("x", NULL, NULL));
  EXPECT_INVALID(svq_model_get_info(NULL, &info));
  EXPECT_INVALID(svq_model_describe(NULL, 0, &json));
  EXPECT_INVALID(svq_model_describe(NULL, 0, NULL));
  EXPECT_INVALID(svq_model_verify(NULL));
  EXPECT_INVALID(svq_model_code_histogram(NULL, "embedding", &count, &n));
  EXPECT_INVALID(svq_tokenize(NULL, "a", 1, 0, &token, &n));
  EXPECT_INVALID(svq_detokenize(NULL, &token, 1, 0, NULL, &n));
  EXPECT(svq_token_is_end(NULL, 0) == 0);
  message.role = "user";
  message.content = "hi";
  EXPECT_INVALID(svq_chat_format(NULL, &message, 1, 0, 1, NULL, &n));
  EXPECT_INVALID(svq_chat_tokenize(NULL, &message, 1, 0, 1, &token, &n));
  EXPECT_INVALID(svq_session_create(NULL, NULL, &session));
  EXPECT(session == NULL);
  EXPECT_INVALID(svq_session_create(NULL, NULL, NULL));
  EXPECT_INVALID(svq_session_eval(NULL, &token, 1));
  EXPECT_INVALID(svq_session_eval_logits(NULL, &token, 1, NULL));
  EXPECT(svq_session_logits(NULL) == NULL);
  EXPECT(svq_session_position(NULL) == 0);
  EXPECT(svq_session_context(NULL) == 0);
  EXPECT_INVALID(svq_session_truncate(NULL, 0));
  EXPECT(svq_session_memory(NULL) == 0);
  EXPECT(svq_session_threads(NULL) == 0);
  EXPECT_INVALID(svq_session_set_sampler(NULL, SVQ_SAMPLER_SEED, 1));
  EXPECT_INVALID(svq_session_sample(NULL, &token));
  EXPECT_INVALID(svq_session_generate(NULL, &token, 1, 1, NULL, NULL, NULL));
  EXPECT_INVALID(svq_session_fork(NULL, NULL, &session));
  EXPECT(session == NULL);
  EXPECT_INVALID(svq_session_fork(NULL, NULL, NULL));
  EXPECT_INVALID(svq_session_save(NULL, &count, &n));
  EXPECT_INVALID(svq_session_restore(NULL, &count, 8));
  EXPECT_INVALID(svq_session_save_file(NULL, "x"));
  EXPECT_INVALID(svq_session_restore_file(NULL, "x"));
  EXPECT_INVALID(svq_session_set_limit(NULL, SVQ_LIMIT_DEADLINE_US, 1));
  svq_grammar_free(NULL);
  EXPECT(svq_grammar_memory(NULL) == 0);
  EXPECT_INVALID(svq_grammar_create(NULL, SVQ_GRAMMAR_GBNF, "", 0, NULL));
  EXPECT_INVALID(svq_session_set_grammar(NULL, NULL));
  EXPECT_INVALID(svq_tool_calls(NULL, "x", 1, &json));
  EXPECT_INVALID(svq_tool_calls(NULL, "x", 1, NULL));
  EXPECT_INVALID(svq_chat_tokenize_tools(NULL, &message, 0, "[]", 0, 1, &token, &n));
  EXPECT_INVALID(svq_model_create_random(NULL, 2, 0, &model));
  EXPECT_INVALID(svq_model_create_random("smollm2-135m", 2, 0, NULL));
  EXPECT_INVALID(svq_model_create_random("no such shape", 2, 0, &model));
  EXPECT(svq_measure_read_bandwidth(0, 1 << 20) == 0);
  EXPECT(svq_measure_read_bandwidth(1, 0) == 0);
}

static void constants(void) {
  int i;
  EXPECT(svq_version_number() == SVQ_VERSION_NUMBER);
  EXPECT(strcmp(svq_version_string(), "0.1.0") == 0);
  EXPECT(svq_format_version() == 65536);
  EXPECT(strcmp(svq_status_name(SVQ_ERROR_CHECKSUM), "SVQ_ERROR_CHECKSUM") == 0);
  for (i = -1; i < 20; ++i) EXPECT(svq_status_name((svq_status)i) != NULL);
  for (i = 0; svq_shape_name((size_t)i) != NULL; ++i) {
  }
  EXPECT(i >= 5);
  EXPECT(svq_shape_name((size_t)-1) == NULL);
}

static void missing_files(const char* program, const char* path) {
  svq_model* model = NULL;
  svq_size_estimate size;
  EXPECT_STATUS(svq_model_load("/nonexistent/a.svq", NULL, &model), SVQ_ERROR_IO);
  EXPECT(strstr(svq_last_error(), "/nonexistent/a.svq") != NULL);
  EXPECT_STATUS(svq_model_load("/", NULL, &model), SVQ_ERROR_IO);
  EXPECT_STATUS(svq_model_load("/dev/null", NULL, &model), SVQ_ERROR_IO);
  EXPECT_STATUS(svq_estimate_size("/nonexistent/a.svq", NULL, &size), SVQ_ERROR_IO);
  EXPECT_STATUS(svq_model_load(program, NULL, &model), SVQ_ERROR_FORMAT);
  EXPECT(model == NULL);
  EXPECT_STATUS(svq_estimate_size(path, NULL, &size), SVQ_OK); /* success clears the sentence */
}

static void parameters(const char* path) {
  svq_model* model = NULL;
  svq_model_params* mp = svq_model_params_create();
  svq_session_params* sp = svq_session_params_create();
  EXPECT(mp != NULL && sp != NULL);
  EXPECT_INVALID(svq_model_params_set(mp, (svq_model_parameter)99, 1));
  EXPECT_INVALID(svq_model_params_set(mp, SVQ_MODEL_VERIFY, 2));
  EXPECT_INVALID(svq_model_params_set(mp, SVQ_MODEL_MEMORY_LIMIT, -1));
  EXPECT_INVALID(svq_session_params_set(sp, (svq_session_parameter)99, 1));
  EXPECT_INVALID(svq_session_params_set(sp, SVQ_SESSION_KV_BITS, 4));
  EXPECT_INVALID(svq_session_params_set(sp, SVQ_SESSION_THREADS, -1));
  EXPECT_INVALID(svq_session_params_set(sp, SVQ_SESSION_CHUNK, 0));
  EXPECT_INVALID(svq_session_params_set(sp, SVQ_SESSION_CONTEXT, (int64_t)1 << 40));
  EXPECT_INVALID(svq_session_params_set(sp, SVQ_SESSION_ACTIVATIONS, 16));
  EXPECT_INVALID(svq_session_params_set(sp, SVQ_SESSION_PIN_THREADS, 2));
  EXPECT_INVALID(svq_model_params_set(mp, SVQ_MODEL_MEMORY_BUDGET, -1));
  EXPECT_INVALID(svq_model_params_set(mp, SVQ_MODEL_LOCK, 2));
  EXPECT_INVALID(svq_session_params_set(sp, SVQ_SESSION_SHIFT, 2));
  EXPECT_INVALID(svq_session_params_set(sp, SVQ_SESSION_KEEP, -1));
  EXPECT_INVALID(svq_session_params_set(sp, SVQ_SESSION_PRIORITY, 21));
  EXPECT_INVALID(svq_session_params_set(sp, SVQ_SESSION_LOCK, -1));
  EXPECT_STATUS(svq_model_params_set(mp, SVQ_MODEL_MEMORY_BUDGET, 1000), SVQ_OK);
  EXPECT_STATUS(svq_model_load(path, mp, &model), SVQ_ERROR_OUT_OF_MEMORY);
  EXPECT(strstr(svq_last_error(), "budget of 1000") != NULL);
  EXPECT_STATUS(svq_model_params_set(mp, SVQ_MODEL_MEMORY_BUDGET, 0), SVQ_OK);
  EXPECT_STATUS(svq_model_params_set(mp, SVQ_MODEL_MEMORY_LIMIT, 100), SVQ_OK);
  EXPECT_STATUS(svq_model_load(path, mp, &model), SVQ_ERROR_OUT_OF_MEMORY);
  EXPECT_STATUS(svq_model_params_set(mp, SVQ_MODEL_MEMORY_LIMIT, 0), SVQ_OK);
  EXPECT_STATUS(svq_model_params_set(mp, SVQ_MODEL_VERIFY, 1), SVQ_OK);
  EXPECT_STATUS(svq_model_params_set(mp, SVQ_MODEL_PREFAULT, 1), SVQ_OK);
  EXPECT_STATUS(svq_model_load(path, mp, &model), SVQ_OK);
  svq_model_free(model);
  svq_model_params_free(mp);
  svq_session_params_free(sp);
}

static void text(const svq_model* model) {
  svq_token tokens[256];
  char out[1024];
  size_t n = 256, bytes = sizeof out;
  svq_message messages[2];
  const char* sample = "the thing\xff";
  EXPECT_STATUS(svq_tokenize(model, sample, strlen(sample), 0, tokens, &n), SVQ_OK);
  EXPECT(n > 0 && n < strlen(sample));
  EXPECT_STATUS(svq_detokenize(model, tokens, n, 0, out, &bytes), SVQ_OK);
  EXPECT(bytes == strlen(sample) && memcmp(out, sample, bytes) == 0);
  {
    size_t need = 1;
    EXPECT_STATUS(svq_tokenize(model, sample, strlen(sample), 0, tokens, &need), SVQ_ERROR_BUFFER_TOO_SMALL);
    EXPECT(need == n);
    need = 1000; /* no buffer at all: the size */
    EXPECT_STATUS(svq_tokenize(model, sample, strlen(sample), 0, NULL, &need), SVQ_ERROR_BUFFER_TOO_SMALL);
    EXPECT(need == n);
  }
  n = 256;
  EXPECT_STATUS(svq_tokenize(model, NULL, 0, 0, tokens, &n), SVQ_OK);
  EXPECT(n == 0);
  EXPECT_INVALID(svq_tokenize(model, NULL, 5, 0, tokens, &n));
  EXPECT_INVALID(svq_tokenize(model, "a", 1, 64, tokens, &n));
  EXPECT_INVALID(svq_tokenize(model, "a", 1, 0, tokens, NULL));
  EXPECT_INVALID(svq_detokenize(model, NULL, 5, 0, out, &bytes));
  EXPECT_INVALID(svq_detokenize(model, tokens, 1, 0, out, NULL));

  messages[0].role = "user";
  messages[0].content = "say <|im_end|>";
  bytes = sizeof out;
  EXPECT_STATUS(svq_chat_format(model, messages, 1, 0, 1, out, &bytes), SVQ_OK);
  n = 256;
  EXPECT_STATUS(svq_chat_tokenize(model, messages, 1, 0, 1, tokens, &n), SVQ_OK);
  {
    size_t i, ends = 0;
    for (i = 0; i < n; ++i) ends += (size_t)svq_token_is_end(model, tokens[i]);
    EXPECT(ends == 2); /* of the system's and the user's turn: what the user wrote is text */
  }
  EXPECT(svq_token_is_end(model, -1) == 0);
  EXPECT(svq_token_is_end(model, 1 << 30) == 0);
  EXPECT_INVALID(svq_chat_format(model, NULL, 1, 0, 1, out, &bytes));
  EXPECT_INVALID(svq_chat_format(model, messages, 1, 0, 1, out, NULL));
  messages[1].role = NULL;
  messages[1].content = "x";
  EXPECT_INVALID(svq_chat_tokenize(model, messages, 2, 0, 1, tokens, &n));
  messages[1].role = "nobody";
  EXPECT_INVALID(svq_chat_tokenize(model, messages, 2, 0, 1, tokens, &n));
}

static void facts(const svq_model* model) {
  svq_model_info info;
  uint64_t counts[256], total = 0;
  size_t n = 256, i;
  char* json = NULL;
  EXPECT_STATUS(svq_model_get_info(model, &info), SVQ_OK);
  EXPECT(strcmp(info.name, "tiny") == 0 && strcmp(info.chat_format, "chatml") == 0 && info.isa[0] != '\0');
  EXPECT(info.hidden == 64 && info.n_layers == 2 && info.vocab == 272 && info.bits_per_weight > 2);
  EXPECT(info.decode_bytes > 0 && info.decode_bytes < info.file_bytes);
  EXPECT_INVALID(svq_model_get_info(model, NULL));
  EXPECT_STATUS(svq_model_describe(model, 1, &json), SVQ_OK);
  EXPECT(json != NULL && json[0] == '{' && strstr(json, "\"blocks.1.down.weight\"") != NULL);
  svq_string_free(json);
  EXPECT_STATUS(svq_model_verify(model), SVQ_OK);
  EXPECT_STATUS(svq_model_code_histogram(model, "blocks.0.q", counts, &n), SVQ_OK);
  EXPECT(n == 4);
  for (i = 0; i < n; ++i) total += counts[i];
  EXPECT(total == 64 * 64);
  n = 3;
  EXPECT_STATUS(svq_model_code_histogram(model, "blocks.0.q", counts, &n), SVQ_ERROR_BUFFER_TOO_SMALL);
  EXPECT_INVALID(svq_model_code_histogram(model, "blocks.9.q", counts, &n));
  EXPECT_INVALID(svq_model_code_histogram(model, NULL, counts, &n));
}

static int gather(const char* text, size_t bytes, svq_token token, void* user) {
  (void)token;
  strncat((char*)user, text, bytes);
  return 0;
}

static void grammar(svq_model* model) {
  const char* schema =
      "{\"type\": \"object\", \"properties\": {\"on\": {\"type\": \"boolean\"}}, \"required\": [\"on\"]}";
  const char* tools = "[{\"name\": \"stop\"}]";
  svq_grammar* g = (svq_grammar*)&failures;
  svq_model* other = NULL;
  svq_session* s = NULL;
  svq_generate_result result;
  svq_token tokens[1024], prompt = 5;
  size_t n = 1024;
  char text[2048] = "";
  char* json = NULL;
  svq_message message;
  EXPECT_STATUS(svq_grammar_create(model, SVQ_GRAMMAR_GBNF, "root ::= ", 4, &g), SVQ_ERROR_GRAMMAR);
  EXPECT(g == NULL);
  EXPECT_INVALID(svq_grammar_create(model, (svq_grammar_kind)99, "", 0, &g));
  EXPECT_INVALID(svq_grammar_create(model, SVQ_GRAMMAR_GBNF, NULL, 0, &g));
  EXPECT_STATUS(svq_grammar_create(model, SVQ_GRAMMAR_JSON_SCHEMA, schema, strlen(schema), &g), SVQ_OK);
  EXPECT(svq_grammar_memory(g) > 0);
  EXPECT_STATUS(svq_session_create(model, NULL, &s), SVQ_OK);
  EXPECT_STATUS(svq_session_set_grammar(s, g), SVQ_OK);
  svq_grammar_free(g); /* the session keeps it */
  EXPECT_STATUS(svq_session_generate(s, &prompt, 1, 120, gather, text, &result), SVQ_OK);
  EXPECT(result.stop == 0 && text[0] == '{' && strstr(text, "\"on\"") != NULL && text[strlen(text) - 1] == '}');
  EXPECT_STATUS(svq_session_set_grammar(s, NULL), SVQ_OK);

  message.role = "user";
  message.content = "Halt!";
  EXPECT_STATUS(svq_chat_tokenize_tools(model, &message, 1, tools, 0, 1, tokens, &n), SVQ_OK);
  EXPECT_INVALID(svq_chat_tokenize_tools(model, &message, 1, NULL, 0, 1, tokens, &n));
  EXPECT_STATUS(svq_chat_tokenize_tools(model, &message, 1, "[", 0, 1, tokens, &n), SVQ_ERROR_GRAMMAR);
  EXPECT_STATUS(svq_grammar_create(model, SVQ_GRAMMAR_TOOLS, tools, strlen(tools), &g), SVQ_OK);
  EXPECT_STATUS(svq_session_set_grammar(s, g), SVQ_OK);
  text[0] = '\0';
  EXPECT_STATUS(svq_session_generate(s, &prompt, 1, 120, gather, text, &result), SVQ_OK);
  EXPECT(result.stop == 0);
  EXPECT_STATUS(svq_tool_calls(model, text, strlen(text), &json), SVQ_OK);
  EXPECT(json != NULL && strncmp(json, "[{\"name\":\"stop\",\"arguments\":{", 29) == 0);
  svq_string_free(json);
  EXPECT_STATUS(svq_tool_calls(model, NULL, 0, &json), SVQ_OK);
  EXPECT(json != NULL && strcmp(json, "[]") == 0);
  svq_string_free(json);
  EXPECT_STATUS(svq_tool_calls(model, "<tool_call>", 11, &json), SVQ_ERROR_GRAMMAR);

  EXPECT_STATUS(svq_model_create_random("smollm2-135m", 2, 1, &other), SVQ_OK);
  svq_session_free(s);
  EXPECT_STATUS(svq_session_create(other, NULL, &s), SVQ_OK);
  EXPECT_INVALID(svq_session_set_grammar(s, g));
  svq_grammar_free(g);
  svq_session_free(s);
  EXPECT_STATUS(svq_grammar_create(other, SVQ_GRAMMAR_GBNF, "root ::= \"a\"", 12, &g), SVQ_ERROR_NO_TOKENIZER);
  svq_model_free(other);
}

static void state(svq_session* s) {
  svq_session* child = NULL;
  size_t n = 0, need = 0, position = svq_session_position(s);
  const char* path = "c_abi_state.svqk";
  char* bytes;
  EXPECT_STATUS(svq_session_save(s, NULL, &n), SVQ_ERROR_BUFFER_TOO_SMALL);
  EXPECT(n > 0);
  bytes = (char*)malloc(n);
  need = n - 1;
  EXPECT_STATUS(svq_session_save(s, bytes, &need), SVQ_ERROR_BUFFER_TOO_SMALL);
  EXPECT_STATUS(svq_session_save(s, bytes, &n), SVQ_OK);
  EXPECT_INVALID(svq_session_save(s, bytes, NULL));
  EXPECT_STATUS(svq_session_save_file(s, path), SVQ_OK);
  EXPECT_INVALID(svq_session_save_file(s, NULL));
  EXPECT_STATUS(svq_session_save_file(s, "/nonexistent/a"), SVQ_ERROR_IO);
  EXPECT_STATUS(svq_session_fork(s, NULL, &child), SVQ_OK);
  EXPECT(svq_session_position(child) == position && svq_session_context(child) == 32);
  EXPECT_STATUS(svq_session_truncate(child, 0), SVQ_OK);
  EXPECT_STATUS(svq_session_restore(child, bytes, n), SVQ_OK);
  EXPECT(svq_session_position(child) == position);
  EXPECT_INVALID(svq_session_restore(child, NULL, n));
  EXPECT_STATUS(svq_session_restore(child, bytes, 3), SVQ_ERROR_FORMAT);
  EXPECT_STATUS(svq_session_restore_file(child, path), SVQ_OK);
  EXPECT_STATUS(svq_session_restore_file(child, "/nonexistent/a"), SVQ_ERROR_IO);
  EXPECT_INVALID(svq_session_restore_file(child, NULL));
  EXPECT_INVALID(svq_session_set_limit(child, (svq_limit_parameter)99, 1));
  EXPECT_INVALID(svq_session_set_limit(child, SVQ_LIMIT_DEADLINE_US, -1));
  EXPECT_INVALID(svq_session_set_limit(child, SVQ_LIMIT_CANCEL_US, -1));
  EXPECT_INVALID(svq_session_set_limit(child, SVQ_LIMIT_DUTY_PERCENT, 0));
  EXPECT_INVALID(svq_session_set_limit(child, SVQ_LIMIT_DUTY_WINDOW_US, 0));
  EXPECT_STATUS(svq_session_set_limit(child, SVQ_LIMIT_DEADLINE_US, 1), SVQ_OK);
  EXPECT_STATUS(svq_session_truncate(child, 0), SVQ_OK);
  {
    svq_token tokens[30] = {0};
    svq_generate_result result;
    EXPECT_STATUS(svq_session_eval(child, tokens, 30), SVQ_ERROR_DEADLINE);
    EXPECT_STATUS(svq_session_generate(child, tokens, 30 - svq_session_position(child), 5, NULL, NULL, &result),
                  SVQ_OK);
    EXPECT(result.stop == 5);
  }
  remove(path);
  free(bytes);
  svq_session_free(child);
}

static void session(svq_model* model) {
  svq_session_params* params = svq_session_params_create();
  svq_session* s = NULL;
  svq_generate_result result;
  svq_size_estimate ignored;
  svq_token tokens[40], token = -1;
  float* logits = (float*)malloc(sizeof(float) * 40 * 272);
  int calls = 0, i;
  (void)ignored;
  for (i = 0; i < 40; ++i) tokens[i] = i;
  EXPECT_STATUS(svq_session_params_set(params, SVQ_SESSION_CONTEXT, 32), SVQ_OK);
  EXPECT_STATUS(svq_session_params_set(params, SVQ_SESSION_THREADS, 2), SVQ_OK);
  EXPECT_STATUS(svq_session_create(model, params, &s), SVQ_OK);
  svq_session_params_free(params);
  svq_model_free(model); /* the session keeps it alive */
  EXPECT(svq_session_logits(s) == NULL);
  EXPECT_STATUS(svq_session_sample(s, &token), SVQ_ERROR_STATE);
  EXPECT_STATUS(svq_session_eval(s, NULL, 0), SVQ_OK);
  EXPECT_INVALID(svq_session_eval(s, NULL, 3));
  EXPECT_INVALID(svq_session_eval_logits(s, tokens, 3, NULL));
  EXPECT_STATUS(svq_session_eval(s, tokens, 40), SVQ_ERROR_CONTEXT_FULL);
  EXPECT_STATUS(svq_session_eval_logits(s, tokens, 10, logits), SVQ_OK);
  EXPECT(svq_session_position(s) == 10 && svq_session_context(s) == 32 && svq_session_threads(s) == 2);
  EXPECT(svq_session_logits(s) != NULL && memcmp(svq_session_logits(s), logits + 9 * 272, 272 * sizeof(float)) == 0);
  EXPECT(svq_session_memory(s) > 0);
  EXPECT_INVALID(svq_session_truncate(s, 11));
  EXPECT_STATUS(svq_session_sample(s, &token), SVQ_OK);
  EXPECT(token >= 0 && token < 272);
  EXPECT_INVALID(svq_session_sample(s, NULL));
  EXPECT_INVALID(svq_session_set_sampler(s, (svq_sampler_parameter)99, 1));
  EXPECT_INVALID(svq_session_set_sampler(s, SVQ_SAMPLER_TEMPERATURE, -1));
  EXPECT_INVALID(svq_session_set_sampler(s, SVQ_SAMPLER_TEMPERATURE, strtod("nan", NULL)));
  EXPECT_INVALID(svq_session_set_sampler(s, SVQ_SAMPLER_TOP_K, 1.5));
  EXPECT_INVALID(svq_session_set_sampler(s, SVQ_SAMPLER_TOP_P, 0));
  EXPECT_INVALID(svq_session_set_sampler(s, SVQ_SAMPLER_MIN_P, 2));
  EXPECT_INVALID(svq_session_set_sampler(s, SVQ_SAMPLER_REPETITION_PENALTY, 0));
  EXPECT_INVALID(svq_session_set_sampler(s, SVQ_SAMPLER_SEED, -1));
  EXPECT_STATUS(svq_session_set_sampler(s, SVQ_SAMPLER_SEED, 7), SVQ_OK);
  EXPECT_STATUS(svq_session_generate(s, tokens, 2, 5, stop_at_once, &calls, &result), SVQ_OK);
  EXPECT(result.stop == 2 || result.stop == 0);
  EXPECT(calls == (result.stop == 2 ? 1 : 0) && result.n_prompt == 2);
  EXPECT_STATUS(svq_session_generate(s, NULL, 0, 2, NULL, NULL, NULL), SVQ_OK);
  EXPECT_INVALID(svq_session_generate(s, NULL, 2, 2, NULL, NULL, NULL));
  svq_session_cancel(s);
  EXPECT_STATUS(svq_session_eval(s, tokens, 1), SVQ_ERROR_CANCELLED);
  state(s);
  EXPECT_STATUS(svq_session_truncate(s, 0), SVQ_OK);
  EXPECT_STATUS(svq_session_generate(s, NULL, 0, 2, NULL, NULL, NULL), SVQ_ERROR_STATE);
  svq_session_free(s);
  free(logits);
}

int main(int argc, char** argv) {
  svq_model* model = NULL;
  if (argc != 2) {
    printf("usage: %s TINY.svq\n", argv[0]);
    return 2;
  }
  nulls();
  constants();
  missing_files(argv[0], argv[1]);
  parameters(argv[1]);
  svq_set_log(count_log, &messages_logged);
  EXPECT_STATUS(svq_model_load(argv[1], NULL, &model), SVQ_OK);
  EXPECT(messages_logged > 0);
  svq_set_log(NULL, NULL);
  if (model != NULL) {
    text(model);
    facts(model);
    grammar(model);
    session(model);
  }
  printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
