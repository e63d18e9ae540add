/* svqrt: runs .svq language models. C ABI of libsvqrt.
 *
 * Objects are opaque and reference nothing of the caller's after a call returns, unless a parameter says so.
 *   svq_model    one loaded file; immutable, may be used by any number of threads and sessions at once.
 *   svq_session  one conversation: KV cache, scratch memory, sampler state, worker threads. One thread at a time may
 *                use a session; only svq_session_cancel may be called from any thread at any time.
 *   svq_grammar  what a generation may be; immutable, made for one model.
 * Sessions and grammars keep their model alive: the handles may be freed in any order. Every *_free accepts NULL.
 * Functions that can fail return svq_status; svq_last_error() then holds one sentence naming file, field and what was
 * expected. No exception crosses this interface. After svq_session_create nothing is allocated by prefill, decode and
 * sampling, no file is touched and no lock is taken. Strings are UTF-8 and NUL-terminated unless a length is given.
 *
 * Results are deterministic: the logits depend on the tokens alone, not on how a prompt is split into calls or chunks,
 * nor on the number of threads. Different instruction sets and GPUs may differ in the last bits of their float arithmetic.
 */
#ifndef SVQRT_H
#define SVQRT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define SVQ_API
#elif defined(SVQRT_BUILD)
#define SVQ_API __attribute__((visibility("default")))
#else
#define SVQ_API
#endif

/* ------------------------------------------------------------------ version */

#define SVQ_VERSION_MAJOR 0
#define SVQ_VERSION_MINOR 1
#define SVQ_VERSION_PATCH 0
#define SVQ_VERSION_NUMBER (SVQ_VERSION_MAJOR * 10000 + SVQ_VERSION_MINOR * 100 + SVQ_VERSION_PATCH)

SVQ_API uint32_t svq_version_number(void);      /* of the library in use; compare with SVQ_VERSION_NUMBER */
SVQ_API const char* svq_version_string(void);   /* "0.1.0" */
/* Newest file format (major * 65536 + minor) this library reads. */
SVQ_API uint32_t svq_format_version(void);

/* ------------------------------------------------------------------ status */

/* Values are stable: new ones are added, none is renumbered. */
typedef enum svq_status {
  SVQ_OK = 0,
  SVQ_ERROR_INVALID_ARGUMENT = 1,   /* NULL where an object is needed, value out of range */
  SVQ_ERROR_IO = 2,                 /* the file cannot be opened, read or mapped */
  SVQ_ERROR_FORMAT = 3,             /* not a .svq file, truncated, or inconsistent */
  SVQ_ERROR_VERSION = 4,            /* written by a newer major version of the format */
  SVQ_ERROR_CHECKSUM = 5,           /* content differs from its checksum */
  SVQ_ERROR_UNSUPPORTED = 6,        /* valid, but not supported by this build or CPU */
  SVQ_ERROR_OUT_OF_MEMORY = 7,      /* allocation or locking failed, or a memory limit or budget would be exceeded */
  SVQ_ERROR_CONTEXT_FULL = 8,       /* the tokens do not fit in the session's context */
  SVQ_ERROR_CANCELLED = 9,          /* svq_session_cancel took effect */
  SVQ_ERROR_BUFFER_TOO_SMALL = 10,  /* the needed size is returned through the length argument */
  SVQ_ERROR_STATE = 11,             /* call out of order, e.g. sampling before any token was evaluated */
  SVQ_ERROR_NO_TOKENIZER = 12,      /* the file holds no tokenizer or no chat format */
  SVQ_ERROR_INTERNAL = 13,
  SVQ_ERROR_DEADLINE = 14,          /* SVQ_LIMIT_DEADLINE_US passed */
  SVQ_ERROR_MISMATCH = 15,          /* a saved session belongs to another model, or to another kind of KV cache */
  SVQ_ERROR_GRAMMAR = 16            /* a grammar, JSON Schema or list of tools that is wrong or not supported */
} svq_status;

SVQ_API const char* svq_status_name(svq_status status);   /* "SVQ_ERROR_IO"; never NULL */
/* One sentence on the last failure in the calling thread; "" if none. Valid until the thread's next svq_ call. */
SVQ_API const char* svq_last_error(void);

/* ------------------------------------------------------------------ log */

typedef enum svq_log_level { SVQ_LOG_DEBUG = 0, SVQ_LOG_INFO = 1, SVQ_LOG_WARNING = 2, SVQ_LOG_ERROR = 3 } svq_log_level;
typedef void (*svq_log_fn)(svq_log_level level, const char* message, void* user);
/* The library prints nothing by itself. fn may be NULL (silence, the default). May be called from any thread. */
SVQ_API void svq_set_log(svq_log_fn fn, void* user);

/* ------------------------------------------------------------------ model */

typedef struct svq_model svq_model;
typedef struct svq_model_params svq_model_params;   /* settings for loading; copied by the call that takes them */

typedef enum svq_model_parameter {
  SVQ_MODEL_VERIFY = 1,         /* 0: structure and bounds only; 1: every tensor's checksum too (reads the whole file). Default 0 */
  SVQ_MODEL_MEMORY_LIMIT = 2,   /* bytes that the mapped file may take; 0 (default): no limit */
  SVQ_MODEL_PREFAULT = 3,       /* 1: read the file into the page cache while loading. Default 0 */
  SVQ_MODEL_MEMORY_BUDGET = 4,  /* bytes that file, model and all of its sessions may take together: a load or a session
                                   that would exceed it is refused before it takes anything, with a sentence that names
                                   the numbers; on a GPU the weights there count instead of the file. 0 (default): no budget */
  SVQ_MODEL_LOCK = 5,           /* 1: read the file into memory and keep it there (mlock): no page fault later; needs a
                                   RLIMIT_MEMLOCK of the file's size. Default 0. Not on a GPU, which has a copy of its own */
  SVQ_MODEL_DEVICE = 6,         /* an svq_device: where sessions of this model run. Default SVQ_DEVICE_CPU */
  SVQ_MODEL_GPU = 7,            /* which GPU, counted as CUDA does; default 0 */
  SVQ_MODEL_GPU_MAPPED = 8      /* 1: the GPU reads the mapped file in place (cudaHostRegister) instead of a copy; where it
                                   cannot, a copy is made and the log says so. Not every device can. Default 0 */
} svq_model_parameter;

typedef enum svq_device {
  SVQ_DEVICE_CPU = 0,
  SVQ_DEVICE_CUDA = 1,   /* an NVIDIA GPU; loading fails with SVQ_ERROR_UNSUPPORTED and says why if there is none to use */
  SVQ_DEVICE_AUTO = 2    /* the same if one can be used, otherwise the CPU, with a warning in the log that says why */
} svq_device;

SVQ_API svq_model_params* svq_model_params_create(void);   /* NULL when out of memory */
SVQ_API void svq_model_params_free(svq_model_params* params);
SVQ_API svq_status svq_model_params_set(svq_model_params* params, svq_model_parameter parameter, int64_t value);

/* What loading would take, read from the file's header and metadata alone. */
typedef struct svq_size_estimate {
  uint64_t file_bytes;           /* mapped, shared with other processes, evictable */
  uint64_t model_bytes;          /* heap of svq_model */
  uint64_t session_bytes;        /* heap of one session with the given parameters, KV cache included */
  uint64_t kv_bytes_per_token;   /* part of session_bytes */
  uint64_t gpu_model_bytes;      /* on SVQ_DEVICE_CUDA: GPU memory of the weights, beside model_bytes; no page cache stays */
  uint64_t gpu_session_bytes;    /* and of a session, KV cache included, at most; a session's heap is then small */
  uint64_t reserved[2];
} svq_size_estimate;

struct svq_session_params;
/* params and session_params may be NULL: defaults. */
SVQ_API svq_status svq_estimate_size(const char* path, const struct svq_session_params* session_params, svq_size_estimate* out);

/* Maps and checks the file. Safe on files from an untrusted source: whatever the bytes are, the result is a model
 * or an error, and no later call reads outside the mapping. The file must not be modified while it is in use. */
SVQ_API svq_status svq_model_load(const char* path, const svq_model_params* params, svq_model** out);
SVQ_API void svq_model_free(svq_model* model);

typedef struct svq_model_info {
  const char* name;              /* strings live as long as the model */
  const char* family;
  const char* method;            /* "unisvq", "gptq", "rtn", "float" */
  const char* chat_format;       /* "chatml", …, "none" */
  const char* isa;               /* kernels in use: "avx512", "dotprod", …, "cuda" */
  uint32_t n_layers, hidden, intermediate, n_heads, n_kv_heads, head_dim, vocab, context_length;
  uint64_t n_parameters;         /* weights of all linears, a tied embedding once */
  uint64_t file_bytes;
  uint64_t decode_bytes;         /* weight bytes that one decoded token reads */
  double bits_per_weight;        /* of the decoder blocks' linears, with scales and affine maps */
  int32_t bos;                   /* -1: none */
  uint32_t reserved[8];
} svq_model_info;
SVQ_API svq_status svq_model_get_info(const svq_model* model, svq_model_info* out);

/* Metadata as JSON (provenance, recipe, quality, tensors when with_tensors is not 0). The caller frees it with svq_string_free. */
SVQ_API svq_status svq_model_describe(const svq_model* model, int with_tensors, char** out_json);
SVQ_API void svq_string_free(char* string);
/* Recomputes every checksum. SVQ_ERROR_CHECKSUM names the first tensor that differs. */
SVQ_API svq_status svq_model_verify(const svq_model* model);
/* Histogram of the codes of the linear called `name` ("blocks.0.q"): counts[0 … 2^bits - 1]. *n in: capacity, out: 2^bits. */
SVQ_API svq_status svq_model_code_histogram(const svq_model* model, const char* name, uint64_t* counts, size_t* n);

/* ------------------------------------------------------------------ text */

typedef int32_t svq_token;

typedef enum svq_tokenize_flags {
  SVQ_TOKENIZE_ADD_SPECIAL = 1,    /* begin-of-text where the model wants one */
  SVQ_TOKENIZE_PARSE_SPECIAL = 2   /* recognise special tokens written in the text; off: they are plain text */
} svq_tokenize_flags;

/* *n in: capacity of tokens, out: number of tokens (also with SVQ_ERROR_BUFFER_TOO_SMALL). text need not be valid UTF-8. */
SVQ_API svq_status svq_tokenize(const svq_model* model, const char* text, size_t text_bytes, uint32_t flags,
                                svq_token* tokens, size_t* n);
/* Bytes of the tokens' text, not NUL-terminated; a character may be split between tokens. with_special: also the text of
 * control tokens. *n in: capacity of text, out: bytes. */
SVQ_API svq_status svq_detokenize(const svq_model* model, const svq_token* tokens, size_t n_tokens, int with_special,
                                  char* text, size_t* n);
/* 1 if the token ends a generation (end of text, end of turn), else 0. */
SVQ_API int svq_token_is_end(const svq_model* model, svq_token token);

typedef struct svq_message {
  const char* role;      /* "system", "user", "assistant", or "tool": what a tool call gave, as JSON */
  const char* content;
} svq_message;
/* Messages in the model's chat format; open_answer appends the start of the assistant's turn. Tokenize the result with
 * SVQ_TOKENIZE_PARSE_SPECIAL and without SVQ_TOKENIZE_ADD_SPECIAL. continued: the messages follow earlier turns of the
 * same conversation (no begin-of-text, no default system message). *n as in svq_detokenize. */
SVQ_API svq_status svq_chat_format(const svq_model* model, const svq_message* messages, size_t n_messages, int continued,
                                   int open_answer, char* text, size_t* n);
/* The same as tokens, with the text of the messages never read as special tokens: what an application should use. */
SVQ_API svq_status svq_chat_tokenize(const svq_model* model, const svq_message* messages, size_t n_messages, int continued,
                                     int open_answer, svq_token* tokens, size_t* n);
/* The same, and tells the model which tools it may call. tools: a JSON array of {"name", "description", "parameters": JSON
 * Schema}, also each as {"type": "function", "function": {…}}. Chat formats chatml, llama3 and mistral. */
SVQ_API svq_status svq_chat_tokenize_tools(const svq_model* model, const svq_message* messages, size_t n_messages,
                                           const char* tools, int continued, int open_answer, svq_token* tokens, size_t* n);
/* The calls in an answer as a JSON array [{"name": …, "arguments": {…}}, …], "[]" if there are none; SVQ_ERROR_GRAMMAR if one
 * is not well-formed (not with SVQ_GRAMMAR_TOOLS). The caller frees it with svq_string_free. */
SVQ_API svq_status svq_tool_calls(const svq_model* model, const char* answer, size_t bytes, char** out_json);

/* ------------------------------------------------------------------ session */

typedef struct svq_session svq_session;
typedef struct svq_session_params svq_session_params;

typedef enum svq_session_parameter {
  SVQ_SESSION_CONTEXT = 1,         /* positions the KV cache holds; 0 (default): min(model's context, 4096) */
  SVQ_SESSION_THREADS = 2,         /* threads that compute, the caller's among them; 0 (default): physical cores, at most 8.
                                      On a GPU the caller's alone, whatever this and the next two of threads say */
  SVQ_SESSION_KV_BITS = 3,         /* 16 (default): f16; 8: int8 with a scale per head and position, keys rotated */
  SVQ_SESSION_CHUNK = 4,           /* most tokens evaluated at a time; default 64, on a GPU 128 */
  SVQ_SESSION_ACTIVATIONS = 5,     /* 8 (default): int8 activations in packed linears; 32: float (slow; to measure the difference) */
  SVQ_SESSION_PIN_THREADS = 6,     /* 1: worker i runs on the i-th core of the affinity mask. Default 0 */
  SVQ_SESSION_AFFINITY = 7,        /* bit mask of the cores 0–63 that workers may use; 0 (default): any */
  SVQ_SESSION_SHIFT = 8,           /* what a full context does. 0 (default): SVQ_ERROR_CONTEXT_FULL, and a generation stops;
                                      1: the older half of the tokens behind the first SVQ_SESSION_KEEP makes room. The
                                      logits then no longer depend on the tokens in the context alone */
  SVQ_SESSION_KEEP = 9,            /* first tokens that are never shifted out, e.g. the system prompt's. Default 0 */
  SVQ_SESSION_PRIORITY = 10,       /* nice value of the workers, -20 to 19; 20: only when a core is idle otherwise.
                                      Default 0: that of the creating thread. The calling thread's is its own affair.
                                      Not on a GPU, which SVQ_SESSION_GPU_PRIORITY is for */
  SVQ_SESSION_LOCK = 11,           /* 1: all memory of the session is taken at once and stays resident (mlock). Default 0 */
  SVQ_SESSION_GPU_PRIORITY = 12    /* of the session's work among sessions on one GPU: 0 (default) to 5, larger goes first */
} svq_session_parameter;

SVQ_API svq_session_params* svq_session_params_create(void);
SVQ_API void svq_session_params_free(svq_session_params* params);
SVQ_API svq_status svq_session_params_set(svq_session_params* params, svq_session_parameter parameter, int64_t value);

SVQ_API svq_status svq_session_create(svq_model* model, const svq_session_params* params, svq_session** out);
SVQ_API void svq_session_free(svq_session* session);

/* A new session that holds what `session` holds: tokens, logits, sampler settings and random state. The pages of the KV
 * cache are shared, not copied, until one of the two writes to them: evaluate a system prompt once, then fork a session
 * per conversation. Of params (may be NULL) the context's size and KV_BITS are those of the session forked. */
SVQ_API svq_status svq_session_fork(svq_session* session, const svq_session_params* params, svq_session** out);

/* The context as bytes: tokens, KV cache, logits, random state, with a checksum and the model's fingerprint. *n in:
 * capacity of buffer, out: bytes (also with SVQ_ERROR_BUFFER_TOO_SMALL; buffer may then be NULL). */
SVQ_API svq_status svq_session_save(const svq_session* session, void* buffer, size_t* n);
/* Replaces the context by a saved one, and continues exactly as the saved session would have. Safe on untrusted bytes. On
 * failure nothing has changed: SVQ_ERROR_MISMATCH (names both models), _CHECKSUM, _FORMAT, _VERSION, _CONTEXT_FULL. */
SVQ_API svq_status svq_session_restore(svq_session* session, const void* data, size_t n);
/* The same with a file; it is written under a temporary name, synced and renamed. Neither holds the bytes in memory. A file
 * that is written to while it is read leaves the session without tokens (SVQ_ERROR_CHECKSUM). */
SVQ_API svq_status svq_session_save_file(const svq_session* session, const char* path);
SVQ_API svq_status svq_session_restore_file(svq_session* session, const char* path);

/* Manners beside a control loop; may be changed between two calls. While it works, every thread of a session looks at the
 * cancel flag and the clock after each piece of some tens of microseconds, and leaves the rest of a chunk that is cancelled
 * or late; the duty limit is kept after each layer. On a GPU a chunk is one piece. What no library can bound is time in which the
 * system runs something else on a thread's core: SVQ_SESSION_AFFINITY and _PRIORITY keep it short. */
typedef enum svq_limit_parameter {
  SVQ_LIMIT_DEADLINE_US = 1,    /* microseconds for one call of eval or generate; 0 (default): none. eval then returns
                                   SVQ_ERROR_DEADLINE with the chunks done so far in the context; generate returns SVQ_OK
                                   with what it has and stop = 5, and begins no token that the last one's time says it
                                   could not finish */
  SVQ_LIMIT_CANCEL_US = 2,      /* how long a cancel or deadline may go unnoticed: chunks are made so small, from the
                                   speed measured, that no piece of work takes longer (svq_generate_result.longest_step_us
                                   tells); on a CPU, whose pieces are short anyway, only far below a millisecond. 0
                                   (default): SVQ_SESSION_CHUNK */
  SVQ_LIMIT_DUTY_PERCENT = 3,   /* 1 to 100 (default): share of the time that the session's threads or GPU may work … */
  SVQ_LIMIT_DUTY_WINDOW_US = 4  /* … within each window of so many microseconds; default 10000 */
} svq_limit_parameter;
SVQ_API svq_status svq_session_set_limit(svq_session* session, svq_limit_parameter parameter, int64_t value);

/* Appends the tokens to the context and evaluates them. Afterwards the logits of the last one are available.
 * On SVQ_ERROR_CANCELLED the context holds the chunks completed so far (svq_session_position tells how many tokens). */
SVQ_API svq_status svq_session_eval(svq_session* session, const svq_token* tokens, size_t n_tokens);
/* The same, and writes the logits of every token: [n_tokens, vocab] row-major. */
SVQ_API svq_status svq_session_eval_logits(svq_session* session, const svq_token* tokens, size_t n_tokens, float* logits);
/* Appends tokens[i] to sessions[i], n ≤ 256 sessions of one model, and evaluates them together: the weights, which is what
 * decoding waits for, are read once for all. Each session gets exactly what svq_session_eval would give it. The first one's
 * threads work, under its limits and its cancel; nothing else may use any of them meanwhile. With SVQ_ERROR_CANCELLED and
 * _DEADLINE the first so many sessions are done (svq_session_position); with any other error nothing has changed.
 * SVQ_ERROR_UNSUPPORTED on a GPU. */
SVQ_API svq_status svq_sessions_eval(svq_session* const* sessions, const svq_token* tokens, size_t n);
/* [vocab], of the last evaluated token; owned by the session, valid until its next evaluation. NULL before the first. */
SVQ_API const float* svq_session_logits(const svq_session* session);

SVQ_API size_t svq_session_position(const svq_session* session);   /* tokens in the context */
SVQ_API size_t svq_session_context(const svq_session* session);    /* the most it holds */
/* Forgets every token from `position` on (position <= current). The next evaluation continues there. */
SVQ_API svq_status svq_session_truncate(svq_session* session, size_t position);
/* Makes the running or next evaluation or generation return SVQ_ERROR_CANCELLED after the current step. Any thread. */
SVQ_API void svq_session_cancel(svq_session* session);
SVQ_API uint64_t svq_session_memory(const svq_session* session);   /* heap bytes */
SVQ_API uint32_t svq_session_threads(const svq_session* session);

/* ------------------------------------------------------------------ sampling */

typedef enum svq_sampler_parameter {
  SVQ_SAMPLER_TEMPERATURE = 1,          /* 0: greedy */
  SVQ_SAMPLER_TOP_K = 2,                /* 0: off */
  SVQ_SAMPLER_TOP_P = 3,                /* 1: off */
  SVQ_SAMPLER_MIN_P = 4,                /* 0: off */
  SVQ_SAMPLER_REPETITION_PENALTY = 5,   /* 1: off; divides positive, multiplies negative logits of recent tokens */
  SVQ_SAMPLER_REPETITION_WINDOW = 6,    /* tokens looked back; default 64 */
  SVQ_SAMPLER_SEED = 7                  /* restarts the random numbers */
} svq_sampler_parameter;

/* Defaults are the model's own generation defaults, else temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, seed 0. */
SVQ_API svq_status svq_session_set_sampler(svq_session* session, svq_sampler_parameter parameter, double value);
/* Draws the next token from the current logits. The token is not evaluated. */
SVQ_API svq_status svq_session_sample(svq_session* session, svq_token* out);

/* Structured output. A grammar says what a generation may be; every token that could not lead to it is excluded before
 * sampling. It belongs to one model and may be used by any number of its sessions, and be freed while they use it. */
typedef struct svq_grammar svq_grammar;
typedef enum svq_grammar_kind {
  SVQ_GRAMMAR_GBNF = 1,          /* rules as llama.cpp writes them: root ::= "yes" | "no" */
  SVQ_GRAMMAR_JSON_SCHEMA = 2,   /* a JSON Schema. What cannot be enforced is refused with a sentence that names it: see
                                    runtime/docs/structured-output.md. Objects come with their properties in the schema's
                                    order; strings, numbers and white space are bounded so that every JSON reader takes them */
  SVQ_GRAMMAR_TOOLS = 3,         /* a JSON array of tools (svq_chat_tokenize_tools): one call or several, as the model's
                                    chat format writes them, with arguments that satisfy the tool's schema */
  SVQ_GRAMMAR_TOOLS_OR_TEXT = 4  /* the same, or an answer in words */
} svq_grammar_kind;
/* Takes from milliseconds to seconds: the tokens that each state of the grammar admits are worked out here, not later. */
SVQ_API svq_status svq_grammar_create(svq_model* model, svq_grammar_kind kind, const char* text, size_t text_bytes,
                                      svq_grammar** out);
SVQ_API void svq_grammar_free(svq_grammar* grammar);
SVQ_API uint64_t svq_grammar_memory(const svq_grammar* grammar);   /* heap bytes */
/* Holds for svq_session_sample (which takes it that the token drawn is used) and svq_session_generate (which starts from
 * the grammar's beginning at every call, and leaves itself enough of max_tokens and of the context to bring the text to its
 * end: unless a deadline, a cancel or the callback ends it, what comes out is whole). NULL: none. Not for the steady state:
 * it allocates. */
SVQ_API svq_status svq_session_set_grammar(svq_session* session, const svq_grammar* grammar);

/* Called after each token with the text it completes (whole UTF-8 characters; may be empty). Return 0 to go on,
 * anything else to stop. The text is valid during the call only. */
typedef int (*svq_stream_fn)(const char* text, size_t bytes, svq_token token, void* user);

typedef struct svq_generate_result {
  size_t n_prompt;          /* tokens evaluated for the prompt */
  size_t n_generated;       /* tokens drawn, the ending one excluded */
  double prompt_seconds;
  double generate_seconds;
  int32_t stop;             /* 0: end token, 1: max_tokens, 2: callback, 3: context full, 4: cancelled, 5: deadline */
  uint32_t longest_step_us; /* the longest time in which no cancel or deadline would have been noticed */
  uint32_t reserved[6];
} svq_generate_result;

/* Evaluates the prompt (may be empty when the context holds tokens), then draws and evaluates up to max_tokens tokens.
 * An end token is evaluated too, so that the context is a finished turn, but is not passed to the callback.
 * fn and result may be NULL. Cancelling returns SVQ_ERROR_CANCELLED with the result filled in. */
SVQ_API svq_status svq_session_generate(svq_session* session, const svq_token* prompt, size_t n_prompt, size_t max_tokens,
                                        svq_stream_fn fn, void* user, svq_generate_result* result);

/* ------------------------------------------------------------------ measuring */

/* A model of random weights in memory, to benchmark a shape without a file: "smollm2-135m", "qwen3-1.7b", …
 * (svq_shape_name lists them). bits: 2 to 8, or 16, for the blocks; the embedding and head take 4, or 16 with 16. */
SVQ_API svq_status svq_model_create_random(const char* shape, uint32_t bits, uint64_t seed, svq_model** out);
SVQ_API const char* svq_shape_name(size_t index);   /* NULL past the last */
/* Plain read bandwidth of this machine in bytes per second: `threads` threads stream `bytes` once, best of 3. */
SVQ_API double svq_measure_read_bandwidth(uint32_t threads, uint64_t bytes);

#ifdef __cplusplus
}
#endif
#endif /* SVQRT_H */
