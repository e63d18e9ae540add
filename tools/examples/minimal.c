/* minimal MODEL.svq "What is a gripper?": one answer, printed as it comes. cc minimal.c $(pkg-config --cflags --libs
 * svqrt) */
#include <stdio.h>
#include <svqrt/svqrt.h>

static int print(const char* text, size_t bytes, svq_token token, void* user) {
  (void)token, (void)user;
  fwrite(text, 1, bytes, stdout);
  return fflush(stdout); /* 0: go on */
}

static int fail(void) {
  fprintf(stderr, "%s\n", svq_last_error());
  return 1;
}

int main(int argc, char** argv) {
  svq_model* model;
  svq_session* session;
  svq_token tokens[1024];
  size_t n = 1024;
  if (argc != 3) return fprintf(stderr, "usage: minimal MODEL.svq QUESTION\n"), 2;
  svq_message question = {"user", argv[2]};

  if (svq_model_load(argv[1], NULL, &model) != SVQ_OK) return fail();
  if (svq_session_create(model, NULL, &session) != SVQ_OK) return fail();
  if (svq_chat_tokenize(model, &question, 1, 0, 1, tokens, &n) != SVQ_OK) return fail();
  if (svq_session_generate(session, tokens, n, 128, print, NULL, NULL) != SVQ_OK) return fail();
  printf("\n");
  svq_session_free(session);
  svq_model_free(model);
  return 0;
}
