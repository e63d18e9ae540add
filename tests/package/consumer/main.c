/* Loads a model, generates a few tokens greedily, prints their ids. */
#include <stdio.h>
#include <svqrt/svqrt.h>

static int print(const char* text, size_t bytes, svq_token token, void* user) {
  (void)text;
  (void)bytes;
  (void)user;
  printf("%d ", (int)token);
  return 0;
}

int main(int argc, char** argv) {
  svq_model* model = NULL;
  svq_session* session = NULL;
  const svq_token prompt[3] = {'a', 'b', 'c'};
  int ok;
  if (argc != 2 || svq_version_number() != SVQ_VERSION_NUMBER) return 2;
  ok = svq_model_load(argv[1], NULL, &model) == SVQ_OK && svq_session_create(model, NULL, &session) == SVQ_OK &&
       svq_session_set_sampler(session, SVQ_SAMPLER_TEMPERATURE, 0) == SVQ_OK &&
       svq_session_generate(session, prompt, 3, 8, print, NULL, NULL) == SVQ_OK;
  if (!ok) fprintf(stderr, "%s\n", svq_last_error());
  svq_session_free(session);
  svq_model_free(model);
  return ok ? 0 : 1;
}
